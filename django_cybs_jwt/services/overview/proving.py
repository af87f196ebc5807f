"""Which keys prove that somebody can send: his own, or those of who signs for him."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from django_cybs_jwt.models import Credential, Organization, Purpose
from django_cybs_jwt.services import resolution, verification
from django_cybs_jwt.services.batches import in_batches
from django_cybs_jwt.services.readiness import candidates
from django_cybs_jwt.services.readiness.candidates import Candidates
from django_cybs_jwt.services.scope import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A key to verify, for a meta key as the merchant *acting_as*."""

    credential: Credential
    acting_as: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Those whose owner the reader sees, and how many stand beside them."""

    seen: Sequence[Trial]
    hidden: int


def of(organization: Organization, *, scope: Scope, now: datetime) -> Trials:
    """The newest own key of each purpose; where there is none, the meta key that serves it."""
    own = {row.slot.purpose: row for row in verification.newest(organization)}
    meta = _serving(organization, resolution.candidates(organization), own, now=now)
    seen = [row for row in meta if scope.sees(row.organization)]
    return Trials(
        seen=[
            *(Trial(credential=row) for row in own.values()),
            *(Trial(credential=row, acting_as=organization.org_id) for row in seen),
        ],
        hidden=len(meta) - len(seen),
    )


def mark(
    organizations: QuerySet[Organization], *, actor: str, scope: Scope, now: datetime
) -> tuple[int, int]:
    """Have the same keys verified in the background, each once, whomever it serves.

    Returns how many keys were marked, and how many organizations have none that *scope* sees.
    """
    wanted: set[uuid.UUID] = set()
    without = 0
    for some in candidates.portions(organizations):
        for found in _keys(some, scope, now):
            wanted.update(found)
            without += not found
    marked = sum(
        verification.request(Credential.objects.filter(pk__in=ids), actor=actor, now=now)
        for ids in in_batches(sorted(wanted))
    )
    return marked, without


def _keys(some: Sequence[Organization], scope: Scope, now: datetime) -> Iterator[list[uuid.UUID]]:
    """For each of them the keys that `of` would try."""
    known, own = Candidates.of(some), _newest(some)
    for organization in some:
        mine = own.get(organization.pk, {})
        meta = _serving(organization, known.keys(organization), mine, now=now)
        yield [*mine.values(), *(row.pk for row in meta if scope.sees(row.organization))]


def _newest(some: Sequence[Organization]) -> dict[uuid.UUID, dict[str, uuid.UUID]]:
    """What `verification.newest` finds, for many: by owner and purpose."""
    rows = Credential.objects.filter(organization__in=some, state__in=verification.TRIED)
    found: dict[uuid.UUID, dict[str, uuid.UUID]] = {}
    columns = rows.order_by("staged_at").values_list("organization", "slot__purpose", "pk")
    for owner, purpose, pk in columns:
        found.setdefault(owner, {})[purpose] = pk
    return found


def _serving(
    merchant: Organization,
    rows: Sequence[Credential],
    own: dict[str, Credential] | dict[str, uuid.UUID],
    *,
    now: datetime,
) -> list[Credential]:
    """The meta keys in force for *merchant*, of the purposes that it has no key for."""
    signing = resolution.deciding_signing_key(merchant, rows, now=now)
    if not merchant.active or signing is None or signing.organization_id == merchant.pk:
        return []
    owner = signing.organization
    response = resolution.deciding_response_key(merchant, owner, rows, now=now)
    found = {Purpose.SIGNING.value: signing, Purpose.RESPONSE_MLE.value: response}
    return [
        row
        for purpose, row in found.items()
        if row is not None and purpose not in own and resolution.in_force(row, now)
    ]
