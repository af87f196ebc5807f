"""Which merchants live on other organizations' keys: the blast radius of meta keys.

Merchants with the same ancestors and the same slots that select them form a family;
`resolution` is asked once for each family, so 100,000 merchants cost as much as their portfolios.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from django.db.models import QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.models import Coverage, Credential, KeySlot, Organization, State
from django_cybs_jwt.services import force, resolution
from django_cybs_jwt.services.expiry.endings import CHUNK, merchant_name
from django_cybs_jwt.services.expiry.own_keys import SECRET, OwnKeys


class Selection(NamedTuple):
    """A slot that selects a merchant."""

    owner: uuid.UUID
    slot: uuid.UUID


class Family(NamedTuple):
    """What decides which meta keys serve: ancestors, the slots that select, the MLE policy."""

    parent: uuid.UUID | None
    grandparent: uuid.UUID | None
    selecting: frozenset[Selection]
    response_mle: str


@dataclass(frozen=True, slots=True)
class Reliance:
    """The merchants of all families that rely on a key, and of those on an owner's keys."""

    by_key: Mapping[uuid.UUID, list[list[str]]]
    by_owner: Mapping[uuid.UUID, list[list[str]]]


class BlastRadius:
    """Whom keys serve at *now*: of all merchants, or of some *merchants*.

    Nothing is read before the first question that needs it.
    """

    def __init__(self, now: datetime, merchants: QuerySet[Organization] | None = None) -> None:
        self.now = now
        self._merchants = Organization.objects.all() if merchants is None else merchants
        self.own = OwnKeys(now)

    def of_key(self, owner: uuid.UUID, key: uuid.UUID) -> list[str]:
        """The merchants, other than *owner*, that `resolution` gives this key of *owner*."""
        return _sorted(self._reliance.by_key.get(key, ())) if owner in self.owners else []

    def of_owner(self, owner: uuid.UUID) -> list[str]:
        """The merchants, other than *owner*, that sign with any key of *owner*."""
        return _sorted(self._reliance.by_owner.get(owner, ())) if owner in self.owners else []

    @cached_property
    def owners(self) -> frozenset[uuid.UUID]:
        """Who owns a slot that covers others."""
        covering = KeySlot.objects.exclude(coverage=Coverage.OWN)
        return frozenset(covering.values_list("organization", flat=True))

    @cached_property
    def _reliance(self) -> Reliance:
        by_key: dict[uuid.UUID, list[list[str]]] = defaultdict(list)
        by_owner: dict[uuid.UUID, list[list[str]]] = defaultdict(list)
        keys = self._keys()
        for family, merchants in self._families().items():
            signing, response = _decide(family, keys, self.now)
            if signing is None:
                continue
            by_owner[signing.organization_id].append(merchants)
            by_key[signing.pk].append(merchants)
            if response is not None:
                by_key[response.pk].append(merchants)
        return Reliance(by_key, by_owner)

    def _keys(self) -> dict[uuid.UUID, list[Credential]]:
        keys: dict[uuid.UUID, list[Credential]] = defaultdict(list)
        rows = Credential.objects.select_related("slot", "organization").filter(
            organization__in=KeySlot.objects.exclude(coverage=Coverage.OWN).values("organization")
        )
        for row in rows.defer(*SECRET).exclude(state=State.DESTROYED).order_by():
            keys[row.organization_id].append(row)
        return keys

    def _families(self) -> dict[Family, list[str]]:
        families: dict[Family, list[str]] = defaultdict(list)
        selecting = _selections()
        nobody: frozenset[Selection] = frozenset()
        for pk, org_id, host, parent, grandparent, response_mle in self._undecided():
            family = Family(parent, grandparent, selecting.get(pk, nobody), response_mle)
            families[family].append(merchant_name(org_id, host))
        return families

    def _undecided(self) -> Iterator[tuple[uuid.UUID, str, str, uuid.UUID, uuid.UUID, str]]:
        """The active merchants that no key of their own decides about."""
        rows = (
            self._merchants.filter(kind=Organization.Kind.MERCHANT, active=True)
            .filter(
                ~force.has_active("pk"),
                ~force.has_due("pk", self.now),
                ~force.has_stopping("pk", self.now),
            )
            .order_by()
        )
        columns = ("pk", "org_id", "host", "parent", "parent__parent", "response_mle")
        return rows.values_list(*columns).iterator(chunk_size=CHUNK)


def _sorted(lists: Iterable[list[str]]) -> list[str]:
    return sorted(name for merchants in lists for name in merchants)


def _selections() -> dict[uuid.UUID, frozenset[Selection]]:
    slots = KeySlot.objects.filter(coverage=Coverage.SELECTED, merchants__isnull=False).order_by()
    found: dict[uuid.UUID, set[Selection]] = defaultdict(set)
    for merchant, *slot in slots.values_list("merchants", "organization", "pk").iterator(
        chunk_size=CHUNK
    ):
        found[merchant].add(Selection(*slot))
    same: dict[frozenset[Selection], frozenset[Selection]] = {}
    frozen = ((merchant, frozenset(slots)) for merchant, slots in found.items())
    return {merchant: same.setdefault(slots, slots) for merchant, slots in frozen}


def _decide(
    family: Family, keys: Mapping[uuid.UUID, Sequence[Credential]], now: datetime
) -> tuple[Credential | None, Credential | None]:
    """The signing key and the Response MLE key that `resolution` gives a family."""
    merchant = _representative(family)
    near = {family.parent, family.grandparent, *(owner for owner, _ in family.selecting)}
    rows = [row for owner in near if owner is not None for row in keys.get(owner, ())]
    slots = {slot for _, slot in family.selecting}
    for row in rows:
        row.selects = row.slot_id in slots  # type: ignore[attr-defined]  # as `candidates` does
    signing = resolution.deciding_signing_key(merchant, rows, now=now)
    if signing is None or not resolution.in_force(signing, now) or not signing.organization.active:
        return None, None
    if (family.response_mle or conf.current().RESPONSE_MLE) == "never":
        return signing, None
    response = resolution.deciding_response_key(merchant, signing.organization, rows, now=now)
    if response is None or not resolution.in_force(response, now):
        return signing, None
    return signing, response


def _representative(family: Family) -> Organization:
    grandparent = Organization(pk=family.grandparent) if family.grandparent else None
    parent = Organization(pk=family.parent, parent=grandparent) if family.parent else None
    return Organization(parent=parent)
