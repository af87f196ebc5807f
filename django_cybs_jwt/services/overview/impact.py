"""Which merchants depend on one key now, and what happens to them when it is taken away."""

from __future__ import annotations

from datetime import datetime

from django_cybs_jwt.models import Credential, Organization, Purpose
from django_cybs_jwt.services import coverage, readiness, resolution
from django_cybs_jwt.services.expiry.blast_radius import BlastRadius


def dependents(credential: Credential, *, now: datetime) -> list[str]:
    """The merchants, as `MID@HOST`, that use this key at *now*: its owner, and whom it serves.

    Empty for a key that is not in force; a portfolio itself is none, since it sends nothing.
    """
    if not resolution.in_force(credential, now):
        return []
    owner, radius = credential.organization, BlastRadius(now)
    own = [str(owner)] if _serves_its_owner(credential, radius) else []
    return [*own, *radius.of_key(owner.pk, credential.pk, at=now)]


def covered(credential: Credential) -> list[str]:
    """The merchants, as `MID@HOST`, that a key's slot speaks for, whichever key signs now."""
    merchants = coverage.affected(credential)
    return [str(row) for row in merchants if row.kind == Organization.Kind.MERCHANT]


def _serves_its_owner(credential: Credential, radius: BlastRadius) -> bool:
    owner = credential.organization
    if owner.kind != Organization.Kind.MERCHANT or not owner.active:
        return False
    if credential.slot.purpose == Purpose.RESPONSE_MLE and not readiness.asks_for_replies(owner):
        return False
    return radius.own.uses(owner.pk, credential.pk, at=radius.now)
