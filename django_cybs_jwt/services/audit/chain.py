"""Read the audit chain: prove that it is whole, and export it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db.models import Q, QuerySet

from django_cybs_jwt.models import AuditHead, KeyEvent
from django_cybs_jwt.services import audit, keyset
from django_cybs_jwt.services.audit import origins
from django_cybs_jwt.texts import Text

MOST: Final = 100
"""Faults that are told; a chain under another audit key has one in every row."""

_ANCHOR: Final = re.compile(r"([1-9]\d{0,17}):([0-9a-f]{64})")
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Anchor:
    """A row's number and digest, kept outside of the database: what was cut off before it shows."""

    seq: int
    digest: str

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """Read `SEQ:DIGEST`, or raise ValueError."""
        match = _ANCHOR.fullmatch(text)
        if match is None:
            raise ValueError("An anchor is SEQ:DIGEST, as `cybs_audit verify` prints it.")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.seq}:{self.digest}"


@dataclass(slots=True)
class Verification:
    """How many *rows* were read, what is wrong, and the newest row's anchor of a whole chain."""

    rows: int = 0
    faults: list[str] = field(default_factory=list)
    more: int = 0
    anchor: Anchor | None = None

    def add(self, fault: str) -> None:
        """Note a fault; beyond MOST they are counted in *more*."""
        if len(self.faults) < MOST:
            self.faults.append(fault)
        else:
            self.more += 1


def verify(*, anchor: Anchor | None = None, since: Anchor | None = None) -> Verification:
    """Recompute the chain, and say where a row was changed, deleted, inserted, moved or cut off.

    *anchor* is a row that the chain must contain: without it, a chain cut off together with its
    head shows only where keys or organizations are left without a beginning. *since* is a row that
    is trusted: only what follows it is read.
    """
    found = Verification()
    head = AuditHead.objects.filter(pk=1).first()
    last = _walk(found, head, anchor, since or Anchor(0, ""))
    if anchor is not None and anchor.seq > last.seq:
        found.add(Text("Row {seq} of the anchor is missing: the end was cut off.", seq=anchor.seq))
    if head is not None and (head.seq, head.digest) != (last.seq, last.digest):
        found.add(
            Text(
                "The head says {seq} rows, the last one is {last}: cut off or changed.",
                seq=head.seq,
                last=last.seq,
            )
        )
    for fault in origins.missing() if since is None else ():
        found.add(fault)
    if not found.faults and last.seq:
        found.anchor = last
    return found


def is_of_this_ring() -> bool:
    """True where the newest row was made with this ring's audit key, or there is none yet."""
    newest = list(KeyEvent.objects.order_by("-seq")[:2])
    if not newest:
        return True
    before = newest[1].digest if len(newest) > 1 else ""
    return audit.chain_digest(before, newest[0]) == newest[0].digest


def mentions(organization: str) -> bool:
    """True where a row is about `ORG_ID` or `ORG_ID@HOST`."""
    return KeyEvent.objects.filter(_named(organization)).exists()


def export(
    *,
    actor: str,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    organization: str = "",
) -> Iterator[dict[str, Any]]:
    """The rows from *since* until before *until*, oldest first; that they were taken is audited.

    *organization* is `ORG_ID` or `ORG_ID@HOST`. Each is ready for JSON, and complete: whoever has
    the audit key can recompute its digest from the one before.
    """
    rows = KeyEvent.objects.all()
    if since is not None:
        rows = rows.filter(at__gte=since)
    if until is not None:
        rows = rows.filter(at__lt=until)
    if organization:
        rows = rows.filter(_named(organization))
    limits = {"since": since, "until": until, "organization": organization}
    told = " ".join(f"{name}={limit}" for name, limit in limits.items() if limit)
    return export_rows(rows, actor=actor, now=now, told=told)


def export_rows(
    rows: QuerySet[KeyEvent], *, actor: str, now: datetime, told: str
) -> Iterator[dict[str, Any]]:
    """The same of *rows* as somebody has chosen them, in words *told*; that is audited at once."""
    reason = told or "everything"
    entry = audit.Entry(action="audit-export", actor=actor, organization="", reason=reason)
    audit.record(entry, now=now)
    return (
        {**audit.chained(row), "digest": row.digest}
        for page in keyset.pages(rows, by="seq", size=_PAGE)
        for row in page
    )


def _named(organization: str) -> Q:
    return Q(organization=organization) | Q(organization__startswith=f"{organization}@")


def _walk(
    found: Verification, head: AuditHead | None, anchor: Anchor | None, start: Anchor
) -> Anchor:
    """Up to the head that was read before: what is appended meanwhile is not judged."""
    last = start
    end = head.seq if head is not None else 0
    rows = KeyEvent.objects.filter(Q(seq__gt=start.seq) | Q(seq__lte=0))
    for page in keyset.pages(rows.filter(seq__lte=end), by="seq", size=_PAGE):
        for row in page:
            _check(found, row, last)
            last = Anchor(row.seq, row.digest)
            if anchor is not None and anchor.seq == row.seq and anchor != last:
                found.add(
                    Text("Row {seq} is not the anchor's: the chain was written anew.", seq=row.seq)
                )
    _check_nothing_behind(found, head)
    return last


def _check(found: Verification, row: KeyEvent, previous: Anchor) -> None:
    found.rows += 1
    if row.seq != previous.seq + 1:
        found.add(
            Text(
                "Row {seq} follows row {before}: what was between is missing.",
                seq=row.seq,
                before=previous.seq,
            )
        )
    if audit.chain_digest(previous.digest, row) != row.digest:
        found.add(
            Text("Row {seq} does not match its digest: changed, moved or put there.", seq=row.seq)
        )


def _check_nothing_behind(found: Verification, head: AuditHead | None) -> None:
    newest = KeyEvent.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    # Read after the row: the head is never behind, as both are written in one transaction.
    now = AuditHead.objects.filter(pk=1).values_list("seq", flat=True).first()
    if now is None and newest:
        found.add(Text("The head is missing and there are rows up to {newest}.", newest=newest))
    elif now is not None and newest > now:
        found.add(
            Text(
                "Row {newest} stands behind the head, which is {now}: inserted.",
                newest=newest,
                now=now,
            )
        )
    elif head is not None and now is not None and now < head.seq:
        found.add(Text("The head went back while it was read."))
