"""What `resolution` says of one key, as conditions for the database: for scans over all keys.

The three `Exists` stand in a query one by one, joined by AND: then PostgreSQL makes joins of them
at any size. Joined by OR it would look each owner up.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet

from django_cybs_jwt.models import Credential, Purpose, State
from django_cybs_jwt.services import overlaps
from django_cybs_jwt.services.resolution import COUNTS, STOPS

WAITING: Final = (State.STAGED, State.VERIFIED, State.RETIRING)
"""From these states a scheduled activation leads; beside ACTIVE they are the keys that end."""


def is_planned() -> Q:
    """Keys with a time to come into force, reached or not."""
    return Q(state__in=WAITING, activate_at__isnull=False)


def is_due(now: datetime) -> Q:
    """Keys whose scheduled time has come, ticked or not."""
    return Q(state__in=WAITING, activate_at__lte=now)


def is_in_force(now: datetime) -> Q:
    """What `resolution.in_force` says."""
    return Q(state=State.ACTIVE) | is_due(now)


def has_active(owner: str) -> Exists:
    """Owners with an ACTIVE signing key; *owner* names the column of the outer query."""
    # Through the slot of the active key, which PostgreSQL answers from an index alone.
    return Exists(
        Credential.objects.filter(
            active_slot__organization=OuterRef(owner), active_slot__purpose=Purpose.SIGNING
        )
    )


def has_due(owner: str, now: datetime) -> Exists:
    """Owners with a signing key that is due."""
    return Exists(
        Credential.objects.filter(
            is_due(now), organization=OuterRef(owner), slot__purpose=Purpose.SIGNING
        )
    )


def has_planned(owner: str) -> Exists:
    """Owners with a signing key that has a time to come into force, reached or not."""
    return Exists(
        Credential.objects.filter(
            is_planned(), organization=OuterRef(owner), slot__purpose=Purpose.SIGNING
        )
    )


def has_stopping(owner: str, now: datetime) -> Exists:
    """Owners with a signing slot whose newest activated key ends the search for another."""
    return Exists(stopping(now).filter(organization=OuterRef(owner)))


def stopping(now: datetime) -> QuerySet[Credential]:
    """The newest activated key of a signing slot, where it ends the search for another."""
    rows = Credential.objects.filter(activated_at__isnull=False)
    newer = rows.filter(slot=OuterRef("slot"), activated_at__gt=OuterRef("activated_at"))
    return rows.filter(
        COUNTS,
        ~Exists(newer.filter(COUNTS)),
        ~overlaps.is_over(now),
        state__in=STOPS,
        retired_at=None,
        slot__purpose=Purpose.SIGNING,
    )
