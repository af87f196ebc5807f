"""The ends of signing and Response MLE keys, in order, streamed from the database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db.models import BooleanField, Case, Q, QuerySet, When

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
    # Not when it was stored: a secret may be years old then, and its end a few days away.
    Moment("not_before"),
    Moment("expires_at"),
    Moment("activate_at"),
    "in_force",
    "is_asked_for",
    "organization_id",
    "organization__org_id",
    "organization__kind",
    "organization__host",
    "organization__live",
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
    is_asked_for: bool
    organization_id: uuid.UUID
    organization: str
    organization_kind: str
    host: str
    live: bool

    @property
    def own_merchant(self) -> list[str]:
        """Its owner as one that stops, where that is a merchant."""
        if self.organization_kind != Organization.Kind.MERCHANT:
            return []
        return [merchant_name(self.organization, self.host)]


def stream(radius: BlastRadius, *, until: datetime = FAR) -> Iterator[Ending]:
    """Every key that is in force or waits to be, and ends by *until*, the earliest first."""
    ready = successors.in_slots(radius.now)
    for values in _rows(radius.now, until).iterator(chunk_size=CHUNK):
        yield _ending(_Row._make(values), radius, ready)


def _rows(now: datetime, until: datetime) -> QuerySet[Credential, Any]:
    return (
        Credential.objects.filter(expires_at__lte=until, organization__active=True)
        .filter(state__in=[State.ACTIVE, *force.WAITING])
        .annotate(in_force=_is(force.is_in_force(now)), is_asked_for=_is(_asked_for()))
        .order_by(Moment("expires_at"), "pk")
        .values_list(*_COLUMNS)
    )


def _is(condition: Q) -> Case:
    return Case(When(condition, then=True), default=False, output_field=BooleanField())


def _asked_for() -> Q:
    """Signing keys, and Response MLE keys whose owner wants encrypted replies."""
    policies = {"ask", "required"}
    if conf.current().RESPONSE_MLE in policies:
        policies.add("")
    return Q(slot__purpose=Purpose.SIGNING) | Q(organization__response_mle__in=policies)


def _ending(row: _Row, radius: BlastRadius, ready: Mapping[uuid.UUID, list[Ready]]) -> Ending:
    successor = Successor.NONE
    if row.in_force and row.slot in ready:
        successor = successors.best(ready[row.slot], row.ends)
    in_use, stops = _reliance(row, radius)
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
        in_use=in_use,
        successor=successor,
        stops=stops,
    )


def _reliance(row: _Row, radius: BlastRadius) -> tuple[bool, Sequence[str]]:
    """Whether somebody relies on it now, and who does at its end."""
    if radius.is_plain(row.organization_id):
        in_use = row.in_force and row.is_asked_for
        return in_use, row.own_merchant if in_use else ()
    return _is_in_use(row, radius), _stopping(row, radius)


def _is_in_use(row: _Row, radius: BlastRadius) -> bool:
    if not row.in_force:
        return False
    served = radius.serves(row.organization_id, row.id, at=radius.now)
    return served or _serves_owner(row, radius, radius.now)


def _stopping(row: _Row, radius: BlastRadius) -> Sequence[str]:
    """Who relies on it at its end: a switch that is planned before that happens by itself."""
    end = max(row.ends, radius.now)
    if not row.in_force and (row.activate_at is None or row.activate_at > end):
        return ()
    wards = radius.of_key(row.organization_id, row.id, at=end)
    own = row.own_merchant if _serves_owner(row, radius, end) else []
    return sorted([*wards, *own])


def _serves_owner(row: _Row, radius: BlastRadius, at: datetime) -> bool:
    return row.is_asked_for and radius.own.uses(row.organization_id, row.id, at=at)


def _artefact(row: _Row) -> Artefact:
    if row.purpose == Purpose.RESPONSE_MLE:
        return Artefact.RESPONSE_MLE_CERTIFICATE
    if row.kind == Credential.Kind.SHARED_SECRET:
        return Artefact.SHARED_SECRET
    return Artefact.SIGNING_CERTIFICATE
