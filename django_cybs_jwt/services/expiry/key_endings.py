"""The ends of signing and Response MLE keys, in order, streamed from the database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db.models import BooleanField, Case, QuerySet, When
from django.db.models.functions import Coalesce

from django_cybs_jwt import conf
from django_cybs_jwt.models import Credential, Organization, Purpose, State
from django_cybs_jwt.services import force
from django_cybs_jwt.services.expiry import successors
from django_cybs_jwt.services.expiry.blast_radius import BlastRadius
from django_cybs_jwt.services.expiry.endings import (
    CHUNK,
    FAR,
    Artefact,
    Ending,
    Successor,
    merchant_name,
)
from django_cybs_jwt.services.expiry.moments import Moment
from django_cybs_jwt.services.expiry.successors import Ready

_COLUMNS: Final = (
    "id",
    "slot_id",
    "slot__purpose",
    "kind",
    "key_id",
    "state",
    # A typed end tells no beginning: as far as anybody knows it began when it was stored.
    Moment(Coalesce("not_before", "staged_at")),
    Moment("expires_at"),
    Moment("activate_at"),
    "in_force",
    "organization_id",
    "organization__org_id",
    "organization__kind",
    "organization__host",
    "organization__live",
    "organization__response_mle",
)


class _Row(NamedTuple):
    id: uuid.UUID
    slot: uuid.UUID
    purpose: str
    kind: str
    key_id: str
    state: str
    begins: datetime | None
    ends: datetime
    activate_at: datetime | None
    in_force: bool
    organization_id: uuid.UUID
    organization: str
    organization_kind: str
    host: str
    live: bool
    response_mle: str


def stream(radius: BlastRadius, *, until: datetime = FAR) -> Iterator[Ending]:
    """Every key that is in force or waits to be, and ends by *until*, the earliest first."""
    ready = successors.in_slots(radius.now)
    policy = conf.current().RESPONSE_MLE
    for values in _rows(radius.now, until).iterator(chunk_size=CHUNK):
        yield _ending(_Row._make(values), radius, ready, policy)


def _rows(now: datetime, until: datetime) -> QuerySet[Credential, Any]:
    in_force = When(force.is_in_force(now), then=True)
    return (
        Credential.objects.filter(expires_at__lte=until, organization__active=True)
        .filter(state__in=[State.ACTIVE, *force.WAITING])
        .annotate(in_force=Case(in_force, default=False, output_field=BooleanField()))
        .order_by(Moment("expires_at"), "pk")
        .values_list(*_COLUMNS)
    )


def _ending(
    row: _Row, radius: BlastRadius, ready: Mapping[uuid.UUID, list[Ready]], policy: str
) -> Ending:
    successor = Successor.NONE
    if row.in_force and row.slot in ready:
        successor = successors.best(ready[row.slot], row.ends)
    return Ending(
        artefact=_artefact(row),
        subject=row.id,
        key_id=row.key_id,
        begins=row.begins,
        ends=row.ends,
        organization_id=row.organization_id,
        organization=row.organization,
        host=row.host,
        live=row.live,
        state=row.state,
        in_use=_is_in_use(row, radius, policy),
        successor=successor,
        stops=_stopping(row, radius, policy),
    )


def _is_in_use(row: _Row, radius: BlastRadius, policy: str) -> bool:
    if not row.in_force:
        return False
    served = radius.serves(row.organization_id, row.id, at=radius.now)
    return served or _serves_owner(row, radius, policy, radius.now)


def _stopping(row: _Row, radius: BlastRadius, policy: str) -> Sequence[str]:
    """Who relies on it at its end: a switch that is planned before that happens by itself."""
    end = max(row.ends, radius.now)
    if not row.in_force and (row.activate_at is None or row.activate_at > end):
        return ()
    wards = radius.of_key(row.organization_id, row.id, at=end)
    is_merchant = row.organization_kind == Organization.Kind.MERCHANT
    if is_merchant and _serves_owner(row, radius, policy, end):
        return sorted([*wards, merchant_name(row.organization, row.host)])
    return wards


def _serves_owner(row: _Row, radius: BlastRadius, policy: str, at: datetime) -> bool:
    asked_for = row.purpose == Purpose.SIGNING or (row.response_mle or policy) != "never"
    return asked_for and radius.own.uses(row.organization_id, row.id, at=at)


def _artefact(row: _Row) -> Artefact:
    if row.purpose == Purpose.RESPONSE_MLE:
        return Artefact.RESPONSE_MLE_CERTIFICATE
    if row.kind == Credential.Kind.SHARED_SECRET:
        return Artefact.SHARED_SECRET
    return Artefact.SIGNING_CERTIFICATE
