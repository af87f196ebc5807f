"""Which merchants depend on one key now, and what happens to them when it is taken away."""

from __future__ import annotations

from datetime import datetime

from django_cybs_jwt.models import Credential, Organization
from django_cybs_jwt.services import coverage, resolution
from django_cybs_jwt.services.expiry.blast_radius import BlastRadius


def dependents(credential: Credential, *, now: datetime) -> list[str]:
    """The merchants, as `MID@HOST`, that use this key at *now*: its owner, and whom it serves.

    Empty for a key that is not in force; a portfolio itself is none, since it sends nothing.
    """
    if not resolution.in_force(credential, now):
        return []
    owner = credential.organization
    own = [str(owner)] if owner.kind == Organization.Kind.MERCHANT else []
    return [*own, *BlastRadius(now).of_key(owner.pk, credential.pk)]


def covered(credential: Credential) -> list[str]:
    """The merchants, as `MID@HOST`, that a key's slot speaks for, whichever key signs now."""
    merchants = coverage.affected(credential)
    return [str(row) for row in merchants if row.kind == Organization.Kind.MERCHANT]
