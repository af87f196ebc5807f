"""Which merchants depend on one key now, and what happens to them when it is taken away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django_cybs_jwt.models import (
    Credential,
    GatewayCertificate,
    Organization,
    Purpose,
    State,
)
from django_cybs_jwt.services import coverage, gateway_certificates, readiness, resolution
from django_cybs_jwt.services.expiry.blast_radius import BlastRadius
from django_cybs_jwt.services.lifecycle import Action


def dependents(credential: Credential, *, now: datetime) -> list[str]:
    """The merchants, as `MID@HOST`, that use this key at *now*: its owner, and whom it serves.

    Empty for a key that is not in force; a portfolio itself is none, since it sends nothing.
    """
    if not resolution.in_force(credential, now):
        return []
    owner, radius = credential.organization, BlastRadius(now)
    own = [str(owner)] if _serves_its_owner(credential, radius) else []
    return [*own, *radius.of_key(owner.pk, credential.pk, at=now)]


def affected(action: str, credential: Credential, *, now: datetime) -> list[str]:
    """The merchants, as `MID@HOST`, whose requests are made in another way after *action*."""
    if action == Action.ACTIVATE:
        return served(credential, now=now)
    if action == Action.RESUME:
        return covered(credential) if credential.suspended_from == State.ACTIVE else []
    return dependents(credential, now=now)


def served(credential: Credential, *, now: datetime) -> list[str]:
    """The merchants that this key serves, or will from its planned time on, or if it is activated.

    For the first key of a slot, all that the slot speaks for.
    """
    if resolution.in_force(credential, now):
        return dependents(credential, now=now)
    if credential.activate_at is not None:
        return dependents(credential, now=credential.activate_at)
    rows = credential.slot.credentials.select_related("slot", "organization")
    before = resolution.in_slot(rows, now)
    return covered(credential) if before is None else dependents(before, now=now)


def losing_certificate(credential: Credential, *, now: datetime) -> list[str]:
    """The merchants whose requests can be encrypted only for what this key's file carried."""
    owner = credential.organization
    rows = gateway_certificates.candidates(owner)
    others = [row for row in rows if row.credential_id != credential.pk]
    if not _is_valid(rows, now) or _is_valid(others, now):
        return []
    radius = BlastRadius(now)
    own = owner.kind == Organization.Kind.MERCHANT and radius.own.signs(owner.pk, at=now)
    return [*([str(owner)] if own else []), *radius.of_owner(owner.pk, at=now)]


def covered(credential: Credential) -> list[str]:
    """The merchants, as `MID@HOST`, that a key's slot speaks for, whichever key signs now."""
    merchants = [credential.organization, *coverage.covered(credential.slot)]
    merchant = Organization.Kind.MERCHANT
    return [str(row) for row in merchants if row.kind == merchant and row.active]


def _is_valid(rows: Sequence[GatewayCertificate], now: datetime) -> bool:
    chosen = gateway_certificates.choose(rows, now=now)
    return chosen is not None and chosen.not_before <= now < chosen.not_after


def _serves_its_owner(credential: Credential, radius: BlastRadius) -> bool:
    owner = credential.organization
    if owner.kind != Organization.Kind.MERCHANT or not owner.active:
        return False
    if credential.slot.purpose == Purpose.RESPONSE_MLE and not readiness.asks_for_replies(owner):
        return False
    return radius.own.uses(owner.pk, credential.pk, at=radius.now)
