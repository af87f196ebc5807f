"""Ends that stop no merchant: the key-encryption key's age, open overlaps, open approvals."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from django.db.models import Q

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.models import Approval, Credential
from django_cybs_jwt.services import overlaps
from django_cybs_jwt.services.expiry.endings import FAR, Artefact, Ending

KEK_NAMESPACE: Final = uuid.UUID("0b7a8f43-5c0e-4f0a-9a55-6d2f1b8f7e10")
"""A key-encryption key has no row; this makes a UUID of its id."""


def listing(now: datetime, *, until: datetime = FAR) -> list[Ending]:
    """All of them that end by *until*, the earliest first."""
    found = [*_kek(), *_overlaps(now), *_approvals(now)]
    return sorted(
        (ending for ending in found if ending.ends <= until), key=lambda ending: ending.ends
    )


def _kek() -> Iterator[Ending]:
    """The KEK that seals: twelve months after it was made it is due for rotation."""
    try:
        ring = conf.keyring()
    except ConfigurationError:
        return  # the system checks speak of it
    created = ring.created(ring.primary_id)
    if created is not None:
        yield Ending(
            artefact=Artefact.KEK,
            subject=uuid.uuid5(KEK_NAMESPACE, ring.primary_id),
            key_id=ring.primary_id,
            begins=_midnight(created),
            ends=_midnight(_a_year_after(created)),
            live=conf.current().LIVE,
            in_use=True,
        )


def _overlaps(now: datetime) -> Iterator[Ending]:
    rows = Credential.objects.filter(overlaps.is_open(now))
    for row in rows.select_related("organization").only(*_KEY_COLUMNS, "overlap_until"):
        if row.overlap_until is not None:
            yield _about(row, Artefact.OVERLAP, row.pk, row.overlap_until, begins=row.retiring_at)


def _approvals(now: datetime) -> Iterator[Ending]:
    waiting = Q(status=Approval.Status.REQUESTED) | Q(status=Approval.Status.GRANTED)
    rows = Approval.objects.filter(waiting, expires_at__gt=now)
    for row in rows.select_related("credential__organization").defer(*_SECRET):
        yield _about(
            row.credential,
            Artefact.APPROVAL,
            row.pk,
            row.expires_at,
            begins=row.requested_at,
        )


_SECRET: Final = (
    "credential__sealed_secret",
    "credential__sealed_p12",
    "credential__certificate",
)
_KEY_COLUMNS: Final = (
    "key_id",
    "state",
    "retiring_at",
    "organization__org_id",
    "organization__host",
    "organization__live",
)


def _about(
    credential: Credential,
    artefact: Artefact,
    subject: uuid.UUID,
    ends: datetime,
    *,
    begins: datetime | None,
) -> Ending:
    owner = credential.organization
    return Ending(
        artefact=artefact,
        subject=subject,
        key_id=credential.key_id,
        begins=begins,
        ends=ends,
        organization_id=owner.pk,
        organization=owner.org_id,
        host=owner.host,
        live=owner.live,
        state=credential.state,
    )


def _a_year_after(day: date) -> date:
    try:
        return day.replace(year=day.year + 1)
    except ValueError:  # 29 February
        return day + timedelta(days=366)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
