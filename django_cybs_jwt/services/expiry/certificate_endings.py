"""The ends of request-MLE certificates: nothing stops but with the last one that an owner has.

From a certificate that another one outlasts without a gap `gateway_certificates.choose` passes to
the other by itself. People see it listed, as out of use, until it has ended; a scan leaves it out.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db.models import Exists, OuterRef, Q, QuerySet, Value

from django_cybs_jwt.models import GatewayCertificate, Organization
from django_cybs_jwt.services import force
from django_cybs_jwt.services.expiry import successors
from django_cybs_jwt.services.expiry.blast_radius import BlastRadius
from django_cybs_jwt.services.expiry.endings import CHUNK, FAR, Artefact, Ending, merchant_name
from django_cybs_jwt.services.expiry.moments import Moment

_COLUMNS: Final = ("pk", "host", "key_id", Moment("not_before"), Moment("not_after"))
_OWNER: Final = (
    "organization",
    "organization__org_id",
    "organization__kind",
    "organization__live",
)


class _Row(NamedTuple):
    id: uuid.UUID
    host: str
    key_id: str
    begins: datetime
    ends: datetime

    def outlasts(self, other: _Row | _OwnRow, now: datetime) -> bool:
        lasts_longer = (self.ends, self.id) > (other.ends, other.id)
        return lasts_longer and self.begins <= max(other.ends, now)


class _OwnRow(NamedTuple):
    id: uuid.UUID
    host: str
    key_id: str
    begins: datetime
    ends: datetime
    owner: uuid.UUID
    org_id: str
    kind: str
    live: bool
    is_last: bool


def stream(
    radius: BlastRadius, *, until: datetime = FAR, outlasted: bool = False
) -> Iterator[Ending]:
    """The last certificates out of owners' own files that end by *until*, the earliest first.

    With *outlasted* those too that have not ended and are not the last.
    """
    shared, ready = _shared(), successors.of_certificates(radius.now)
    for values in _own(radius.now, until, outlasted=outlasted).iterator(chunk_size=CHUNK):
        row = _OwnRow(*values)
        is_last = row.is_last and not any(
            other.ends > row.ends and other.outlasts(row, radius.now) for other in shared[row.host]
        )
        in_use, stops = _reliance(row, radius)
        if not (in_use or stops):
            continue
        if not is_last:
            if not outlasted or row.ends <= radius.now:
                continue
            in_use, stops = False, ()
        yield Ending(
            artefact=Artefact.REQUEST_MLE_CERTIFICATE,
            subject=row.id,
            key_id=row.key_id,
            begins=row.begins,
            ends=row.ends,
            organization_id=row.owner,
            organization=row.org_id,
            host=row.host,
            live=row.live,
            in_use=in_use,
            successor=successors.best(ready.get(row.owner, ()), row.ends),
            stops=stops,
        )


def shared_ones(
    radius: BlastRadius, *, until: datetime = FAR, outlasted: bool = False
) -> list[Ending]:
    """The last host-wide certificates, as far as an owner depends on one, the earliest first.

    With *outlasted* those too that have not ended and are not the last.
    """
    found: list[Ending] = []
    for rows in _shared().values():
        for row in rows:
            longer = [other for other in rows if other.outlasts(row, radius.now)]
            twice = any(other.ends == row.ends for other in longer)
            replaced = bool(longer) and (not outlasted or twice or row.ends <= radius.now)
            if row.ends <= until and not replaced:
                found.extend(_host_wide(row, radius, in_use=not longer))
    return sorted(found, key=lambda ending: ending.ends)


def _reliance(row: _OwnRow, radius: BlastRadius) -> tuple[bool, Sequence[str]]:
    """Whether somebody signs with a key of the owner now, and who does when it ends."""
    is_merchant = row.kind == Organization.Kind.MERCHANT
    own = [merchant_name(row.org_id, row.host)] if is_merchant else []
    if radius.is_plain(row.owner):
        return True, own
    end = max(row.ends, radius.now)
    others = radius.of_owner(row.owner, at=end)
    stops = [*others, *own] if radius.own.signs(row.owner, at=end) else others
    return radius.is_relied_on(row.owner, at=radius.now), sorted(stops)


def _shared() -> dict[str, list[_Row]]:
    rows: dict[str, list[_Row]] = defaultdict(list)
    for values in GatewayCertificate.objects.filter(organization=None).values_list(*_COLUMNS):
        row = _Row(*values)
        rows[row.host].append(row)
    return rows


def _own(now: datetime, until: datetime, *, outlasted: bool) -> QuerySet[GatewayCertificate, Any]:
    others = GatewayCertificate.objects.filter(
        Q(not_before__lte=OuterRef("not_after")) | Q(not_before__lte=now),
        organization=OuterRef("organization"),
    )
    # Each file of an owner carries the same certificate; the row that was there first speaks.
    first = Q(created_at__lt=OuterRef("created_at")) | Q(
        created_at=OuterRef("created_at"), pk__lt=OuterRef("pk")
    )
    twice = Q(not_after=OuterRef("not_after")) & first
    later = Q(not_after__gt=OuterRef("not_after"))
    rows = GatewayCertificate.objects.filter(organization__active=True, not_after__lte=until)
    if outlasted:
        chosen = rows.filter(~Exists(others.filter(twice)))
        chosen = chosen.annotate(is_last=~Exists(others.filter(later)))
    else:
        chosen = rows.filter(~Exists(others.filter(later | twice)))
        chosen = chosen.annotate(is_last=Value(True))
    order = (Moment("not_after"), "pk")
    return chosen.order_by(*order).values_list(*_COLUMNS, *_OWNER, "is_last")


def _depending(row: _Row, radius: BlastRadius) -> list[tuple[uuid.UUID, str, str, bool]]:
    """Owners on the host that sign at its end, and have no certificate that lasts as long."""
    end = max(row.ends, radius.now)
    longer = GatewayCertificate.objects.filter(
        organization=OuterRef("pk"), not_after__gte=row.ends, not_before__lte=end
    )
    owners = Organization.objects.filter(host=row.host, active=True).filter(~Exists(longer))
    columns = owners.order_by().values_list("pk", "org_id", "kind", "live")
    signing = (force.has_active("pk"), force.has_due("pk", end))
    found = {own for condition in signing for own in columns.filter(condition)}
    return [own for own in found if radius.is_relied_on(own[0], at=end)]


def _host_wide(row: _Row, radius: BlastRadius, *, in_use: bool) -> Iterator[Ending]:
    owners = _depending(row, radius)
    if not owners:
        return
    end = max(row.ends, radius.now)
    stops = [name for pk, _, _, _ in owners for name in radius.of_owner(pk, at=end)]
    merchants = [own for own in owners if own[2] == Organization.Kind.MERCHANT]
    stops += [merchant_name(org_id, row.host) for _, org_id, _, _ in merchants]
    yield Ending(
        artefact=Artefact.REQUEST_MLE_CERTIFICATE,
        subject=row.id,
        key_id=row.key_id,
        begins=row.begins,
        ends=row.ends,
        host=row.host,
        live=any(own[3] for own in owners),
        in_use=in_use,
        stops=sorted(stops) if in_use else (),
    )
