"""Every kind of change to the audit chain, in every place of it: found of tried.

`pytest -s tests/unit/services/audit/test_mutations.py` prints the numbers; with DATABASE_URL those
of another database.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations, permutations
from typing import Any, Final, NamedTuple

import pytest
from django.db import connection, transaction

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import AuditHead, KeyEvent
from django_cybs_jwt.services import audit, organizations, rotation, withdrawal
from django_cybs_jwt.services.audit import chain
from django_cybs_jwt.services.audit.chain import Anchor
from tests.unit.services import enrolment
from tests.unit.services.tampering import exchange, move, set_head, shift, table

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

NOW: Final = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
LENGTH: Final = 8
EVERY_ROW: Final = range(1, LENGTH + 1)


class Change(NamedTuple):
    """Something that is done to the table; *anchored* if only a kept anchor can tell."""

    kind: str
    act: Callable[[], object]
    anchored: bool = False


def history() -> None:
    """Rows of every make: of organizations and keys, with states and reasons, one denied."""
    how: dict[str, Any] = {"actor": "anna", "now": NOW}
    acme = enrolment.organization()
    first = enrolment.shared_secret(acme, now=NOW)
    second = enrolment.shared_secret(acme, activate=False, now=NOW)
    with pytest.raises(CybsError):
        rotation.rotate(second, **how)
    withdrawal.suspend(first, reason="Grün, 'quoted'\n", **how)
    withdrawal.discard(second, reason="wrong file", **{**how, "actor": "tests"})
    organizations.disable("acme", actor="anna", reason="closed")


def forged(previous: str, row: KeyEvent, key: bytes) -> str:
    """What somebody who has everything but the audit key could put there."""
    covered = previous.encode() + audit._canonical(row)
    return hmac.new(key, covered, hashlib.sha256).hexdigest() if key else sha256(covered)


def sha256(covered: bytes) -> str:
    return hashlib.sha256(covered).hexdigest()


def insert(seq: int, *, key: bytes) -> None:
    before = table(seq=seq - 1).first()
    row = KeyEvent(seq=seq, at=NOW, actor="x", action="note", outcome="done", organization="acme@x")
    row.digest = forged(before.digest if before else "", row, key)
    row.save()


def copy(source: int, target: int) -> None:
    columns = [name for name in (*audit.CHAINED, "digest") if name not in ("id", "seq")]
    table(seq=target).update(**table(seq=source).values(*columns).get())


def rewrite(start: int, *, key: bytes) -> None:
    """Every digest from there on anew, and the head's, over rows that name another actor."""
    table(seq__gte=start).update(actor="somebody else")
    last = table(seq=start - 1).first()
    digest = last.digest if last else ""
    for row in table(seq__gte=start).order_by("seq"):
        digest = forged(digest, row, key)
        table(pk=row.pk).update(digest=digest)
    AuditHead.objects.update(digest=digest)


def rewrite_with_the_ring() -> None:
    table(seq=3).update(actor="somebody else")
    digest = ""
    for row in table().order_by("seq"):
        digest = audit.chain_digest(digest, row)
        table(pk=row.pk).update(digest=digest)
    AuditHead.objects.update(digest=digest)


# -- the table of kinds --


def edits() -> Iterator[Change]:
    for row in table():
        for column in (*audit.CHAINED, "digest"):
            for value in others(column, getattr(row, column)):
                yield Change(f"edit of {column}", edit(row, {column: value}))


def edit(row: KeyEvent, columns: dict[str, Any]) -> Callable[[], object]:
    return lambda: table(pk=row.pk).update(**columns)


def others(column: str, value: Any) -> list[Any]:
    """Other values that the column takes."""
    if column == "at":
        return [value + step * timedelta(microseconds=1) for step in (-1, 1, 10**6, 86400 * 10**6)]
    if column in ("id", "credential"):
        return [uuid.uuid4(), *([None] if column == "credential" and value else [])]
    if column == "seq":
        return [0, LENGTH + 1, 9999]
    return sorted({"", "x", value[:-1], value[1:], value.upper(), value.lower()} - {value})


def deletions() -> Iterator[Change]:
    places = {1: "the first", LENGTH: "the last"}
    for seq in EVERY_ROW:
        where = places.get(seq, "one in the middle")
        yield Change(f"deletion of {where}", table(seq=seq).delete)
        yield Change(
            f"deletion of {where}, closed up",
            lambda seq=seq: (table(seq=seq).delete(), shift(seq, -1)),
        )
        if seq < LENGTH:
            yield Change(
                f"deletion of {where}, closed up with the head's number",
                lambda seq=seq: (
                    table(seq=seq).delete(),
                    shift(seq, -1),
                    AuditHead.objects.update(seq=LENGTH - 1),
                ),
            )


def insertions() -> Iterator[Change]:
    for name, key in (("a plain hash", b""), ("another key", b"another key")):
        kind = f"insertion under {name}"
        yield Change(kind, lambda key=key: insert(0, key=key))
        for seq in (*EVERY_ROW, LENGTH + 1):
            yield Change(kind, lambda seq=seq, key=key: (shift(seq - 1, 1), insert(seq, key=key)))
            yield Change(
                f"{kind}, with the head's number",
                lambda seq=seq, key=key: (
                    shift(seq - 1, 1),
                    insert(seq, key=key),
                    AuditHead.objects.update(seq=LENGTH + 1),
                ),
            )


def orders() -> Iterator[Change]:
    for one, other in combinations(EVERY_ROW, 2):
        yield Change("swap of two", lambda one=one, other=other: exchange(one, other))
    for source, target in permutations(EVERY_ROW, 2):
        if abs(source - target) > 1:
            yield Change("move of one", lambda a=source, b=target: move(a, b))
        yield Change("copy of one over another", lambda a=source, b=target: copy(a, b))


def truncations() -> Iterator[Change]:
    for left in range(LENGTH):
        cut = table(seq__gt=left)
        yield Change("truncation", cut.delete)
        yield Change(
            "truncation with the head's number",
            lambda cut=cut, left=left: (cut.delete(), AuditHead.objects.update(seq=left)),
        )
        yield Change(
            "truncation with the head",
            lambda cut=cut, left=left: (cut.delete(), set_head(left)),
            anchored=True,
        )


def rewritings() -> Iterator[Change]:
    for start in EVERY_ROW:
        for name, key in (("a plain hash", b""), ("another key", os.urandom(32))):
            yield Change(
                f"rewriting under {name}", lambda start=start, key=key: rewrite(start, key=key)
            )
    yield Change("rewriting with the ring itself", rewrite_with_the_ring, anchored=True)


def heads() -> Iterator[Change]:
    for seq in range(LENGTH):
        yield Change("head set back", lambda seq=seq: set_head(seq))
    yield Change("head's number raised", lambda: AuditHead.objects.update(seq=LENGTH + 1))
    yield Change("head's digest edited", lambda: AuditHead.objects.update(digest="0" * 64))
    yield Change("head deleted", lambda: AuditHead.objects.all().delete())


def changes() -> Iterator[Change]:
    for kinds in (edits, deletions, insertions, orders, truncations, rewritings, heads):
        yield from kinds()


def is_found(change: Change, anchor: Anchor | None) -> bool:
    """Tried, looked for, and taken back."""
    with transaction.atomic():
        change.act()
        faults = chain.verify(anchor=anchor if change.anchored else None).faults
        transaction.set_rollback(True)
    return bool(faults)


def test_every_change_is_found_wherever_it_strikes() -> None:
    history()
    whole = chain.verify()
    assert (whole.rows, whole.faults) == (LENGTH, [])

    tried, found = Counter[str](), Counter[str]()
    for change in list(changes()):
        kind = f"{change.kind}{' (by the anchor)' if change.anchored else ''}"
        tried[kind] += 1
        found[kind] += is_found(change, whole.anchor)

    for kind, count in tried.items():
        print(f"{found[kind]:4} of {count:4}  {kind}")
    print(f"{found.total()} of {tried.total()} found on {connection.vendor}, {len(tried)} kinds")
    assert found == tried
    assert chain.verify() == whole
