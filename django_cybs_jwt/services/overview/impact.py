"""Which merchants depend on one key now, and what happens to them when it is taken away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import Final

from django_cybs_jwt.models import (
    Credential,
    GatewayCertificate,
    Organization,
    Purpose,
    State,
)
from django_cybs_jwt.services import (
    coverage,
    gateway_certificates,
    overlaps,
    readiness,
    resolution,
)
from django_cybs_jwt.services.expiry.blast_radius import BlastRadius
from django_cybs_jwt.services.lifecycle import Action


class Stake(Enum):
    """What merchants have of a key, and lose when it is taken away."""

    USE = auto()
    """It is in force."""
    WAY_BACK = auto()
    """Its successor is in force; inside the overlap one step switches back to this key."""
    WAY_OUT = auto()
    """The same, while the successor is not in force either."""
    STOP = auto()
    """It is out of force, and so requests fail: taking it away brings no other key."""
    REPLIES = auto()
    """Replies that still come in under its key ID."""


_WITHDRAWS: Final = (
    Action.SUSPEND,
    Action.COMPROMISE,
    Action.RETIRE,
    Action.DESTROY,
    Action.DISCARD,
)


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
    if action in _WITHDRAWS:
        return sorted(
            {name for names in lost(action, credential, now=now).values() for name in names}
        )
    return dependents(credential, now=now)


def lost(action: str, credential: Credential, *, now: datetime) -> Mapping[Stake, list[str]]:
    """What *action* takes away with the key at *now*, and the merchants, as `MID@HOST`, it is of.

    Empty for a key that nobody has anything of: one that was never in use, or that was given up.
    """
    return {
        stake: names
        for stake, names in _stakes(credential, now)
        if names and not (action == Action.RETIRE and stake == Stake.REPLIES)
    }


def _stakes(credential: Credential, now: datetime) -> Iterator[tuple[Stake, list[str]]]:
    if resolution.in_force(credential, now):
        yield Stake.USE, dependents(credential, now=now)
        return
    rows = list(credential.slot.credentials.select_related("slot", "organization"))
    if overlaps.is_open_of(credential, now):
        successor = resolution.in_slot(rows, now)
        way = Stake.WAY_OUT if successor is None else Stake.WAY_BACK
        yield way, dependents(successor, now=now) if successor else covered(credential)
    if credential.slot.purpose == Purpose.RESPONSE_MLE:
        if _may_open_replies(credential):
            yield Stake.REPLIES, _signing_with_keys_of(credential.organization, now)
    elif resolution.stops_slot(credential, rows, now):
        yield Stake.STOP, covered(credential)


def _may_open_replies(credential: Credential) -> bool:
    """One that was in use once opens them, or will again when it is resumed."""
    opens = credential.state in (*resolution.OPENS_REPLIES, State.SUSPENDED)
    return opens and credential.activated_at is not None


def _signing_with_keys_of(owner: Organization, now: datetime) -> list[str]:
    """The merchants that take keys for replies from *owner*: all that sign with a key of his."""
    radius = BlastRadius(now)
    own = owner.kind == Organization.Kind.MERCHANT and radius.own.signs(owner.pk, at=now)
    return [*([str(owner)] if own else []), *radius.of_owner(owner.pk, at=now)]


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
    return _signing_with_keys_of(owner, now)


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
