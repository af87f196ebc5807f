"""Which key signs for one merchant and why, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django_cybs_jwt.exceptions import KeyResolutionError
from django_cybs_jwt.models import Credential, GatewayCertificate, Organization, Purpose
from django_cybs_jwt.services import gateway_certificates, resolution
from django_cybs_jwt.services.scope import Scope
from django_cybs_jwt.texts import Text


class Role(StrEnum):
    """What a place that was looked at came to."""

    SIGNS = "signs"
    STOPS = "stops"
    PASSED = "passed"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Place:
    """One place, in the order of the search; *keys* are those found there, or none shown.

    *where* is empty, and *hidden* counts keys, where the reader does not see the owner.
    """

    where: str
    role: Role
    keys: tuple[Credential, ...]
    hidden: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChoice:
    """*problem* is the error that a send would raise; empty where a key signs.

    Keys and certificate are None where there is none, or where the reader does not see the owner.
    """

    places: tuple[Place, ...]
    problem: str
    signing: Credential | None
    response: Credential | None
    certificate: GatewayCertificate | None
    is_foreign: bool


def of(merchant: Organization, *, scope: Scope, now: datetime) -> KeyChoice:
    """As a send at *now* would choose; three queries. Names nothing outside of *scope*."""
    rows = resolution.candidates(merchant)
    deciding = resolution.deciding_signing_key(merchant, rows, now=now)
    signing, response, problem = None, None, Text("")
    try:
        signing = resolution.signing_key(merchant, rows, now=now)
        response = resolution.response_key(merchant, signing.organization, rows, now=now)
    except KeyResolutionError as error:
        # The full message names every place that was looked at.
        problem = (error if all(map(scope.sees, merchant.chain())) else type(error)()).text
    owner = deciding.organization if deciding else merchant
    is_foreign = not scope.sees(owner)
    certificates = gateway_certificates.candidates(owner, signing) if signing else []
    return KeyChoice(
        places=_places(merchant, rows, deciding, signing, scope),
        problem="" if is_foreign and not signing else problem,
        signing=None if is_foreign else signing,
        response=None if is_foreign else response,
        certificate=None if is_foreign else gateway_certificates.choose(certificates, now=now),
        is_foreign=is_foreign,
    )


def _places(
    merchant: Organization,
    rows: Sequence[Credential],
    deciding: Credential | None,
    signing: Credential | None,
    scope: Scope,
) -> tuple[Place, ...]:
    found, is_over = [], False
    for level in resolution.levels(merchant, rows, Purpose.SIGNING):
        decides = deciding is not None and deciding in level.credentials
        role = Role.PASSED
        if is_over:
            role = Role.NOT_REACHED
        elif decides:
            role, is_over = (Role.SIGNS if signing is not None else Role.STOPS), True
        seen = tuple(row for row in level.credentials if scope.sees(row.organization))
        where = level.where if level.owner is None or scope.sees(level.owner) else ""
        found.append(Place(where, role, seen, len(level.credentials) - len(seen)))
    return tuple(found)
