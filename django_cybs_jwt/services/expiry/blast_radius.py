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
from typing import NamedTuple, TypeAlias

from django.db.models import Q, QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.models import Coverage, Credential, KeySlot, Organization
from django_cybs_jwt.services import force, resolution
from django_cybs_jwt.services.expiry import spans
from django_cybs_jwt.services.expiry.endings import CHUNK, FAR, merchant_name
from django_cybs_jwt.services.expiry.own_keys import SECRET, OwnKeys
from django_cybs_jwt.services.expiry.spans import Span

Decision: TypeAlias = tuple[Credential | None, Credential | None]


class Selection(NamedTuple):
    """A slot that selects a merchant."""

    owner: uuid.UUID
    slot: uuid.UUID


class Family(NamedTuple):
    """What decides which meta keys serve: ancestors, the slots that select, the MLE policy.

    A merchant that a key of its own may decide about later is one for itself.
    """

    own: uuid.UUID | None
    parent: uuid.UUID | None
    grandparent: uuid.UUID | None
    selecting: frozenset[Selection]
    response_mle: str


@dataclass(frozen=True, slots=True)
class Reliance:
    """The merchants of all families that rely on a key, and on an owner's keys; when they do."""

    by_key: Mapping[uuid.UUID, list[Span[list[str]]]]
    by_owner: Mapping[uuid.UUID, list[Span[list[str]]]]


class BlastRadius:
    """Whom keys serve from *now* on: of all merchants, or of some *merchants*.

    Nothing is read before the first question that needs it.
    """

    def __init__(self, now: datetime, merchants: QuerySet[Organization] | None = None) -> None:
        self.now = now
        self._merchants = Organization.objects.all() if merchants is None else merchants
        self.own = OwnKeys(now)

    def is_plain(self, owner: uuid.UUID) -> bool:
        """True if *owner*, and nobody else, relies on each key of its own that is in force.

        So it is with most, and a scan need not ask anything else about them.
        """
        return owner not in self._unusual

    @cached_property
    def _unusual(self) -> frozenset[uuid.UUID]:
        return self.owners | self.own.unusual

    def serves(self, owner: uuid.UUID, key: uuid.UUID, *, at: datetime) -> bool:
        """True if `of_key` would name anybody."""
        return any(span.holds(at) for span in self._of_key(owner, key))

    def of_key(self, owner: uuid.UUID, key: uuid.UUID, *, at: datetime) -> list[str]:
        """The merchants, other than *owner*, that `resolution` gives this key of *owner* then."""
        return _sorted(self._of_key(owner, key), at)

    def of_owner(self, owner: uuid.UUID, *, at: datetime) -> list[str]:
        """The merchants, other than *owner*, that sign with any key of *owner* then."""
        return _sorted(self._reliance.by_owner.get(owner, ()), at) if owner in self.owners else []

    def is_relied_on(self, owner: uuid.UUID, *, at: datetime) -> bool:
        """True if *owner* signs with a key of its own then, or anybody else does."""
        return self.own.signs(owner, at=at) or bool(self.of_owner(owner, at=at))

    def _of_key(self, owner: uuid.UUID, key: uuid.UUID) -> Sequence[Span[list[str]]]:
        return self._reliance.by_key.get(key, ()) if owner in self.owners else ()

    @cached_property
    def owners(self) -> frozenset[uuid.UUID]:
        """Who owns a slot that covers others."""
        covering = KeySlot.objects.exclude(coverage=Coverage.OWN)
        return frozenset(covering.values_list("organization", flat=True))

    @cached_property
    def _reliance(self) -> Reliance:
        by_key: dict[uuid.UUID, list[Span[list[str]]]] = defaultdict(list)
        by_owner: dict[uuid.UUID, list[Span[list[str]]]] = defaultdict(list)
        keys = self._keys()
        for family, merchants in self._families().items():
            for span in _decisions(family, keys, self.now):
                signing, response = span.value
                serving = Span(span.begins, span.ends, merchants)
                if signing is not None:
                    by_owner[signing.organization_id].append(serving)
                    by_key[signing.pk].append(serving)
                if response is not None:
                    by_key[response.pk].append(serving)
        return Reliance(by_key, by_owner)

    def _keys(self) -> dict[uuid.UUID, list[Credential]]:
        keys: dict[uuid.UUID, list[Credential]] = defaultdict(list)
        covering = KeySlot.objects.exclude(coverage=Coverage.OWN).values("organization")
        rows = Credential.objects.select_related("slot", "organization").filter(
            Q(organization__in=covering) | Q(organization__in=self._changing), resolution.COUNTS
        )
        for row in rows.defer(*SECRET).order_by():
            keys[row.organization_id].append(row)
        return keys

    def _families(self) -> dict[Family, list[str]]:
        families: dict[Family, list[str]] = defaultdict(list)
        selecting = _selections()
        nobody: frozenset[Selection] = frozenset()
        for pk, org_id, host, parent, grandparent, response_mle in self._undecided():
            own = pk if pk in self._changing else None
            family = Family(own, parent, grandparent, selecting.get(pk, nobody), response_mle)
            families[family].append(merchant_name(org_id, host))
        return families

    def _undecided(self) -> Iterator[tuple[uuid.UUID, str, str, uuid.UUID, uuid.UUID, str]]:
        """The active merchants that no key of their own decides about for good."""
        columns = ("pk", "org_id", "host", "parent", "parent__parent", "response_mle")
        rows = self._undecided_for_good().filter(kind=Organization.Kind.MERCHANT, active=True)
        return rows.values_list(*columns).iterator(chunk_size=CHUNK)

    @cached_property
    def _changing(self) -> frozenset[uuid.UUID]:
        """Those of them about whom a planned key of their own, or one in its overlap, has a say."""
        undecided = self._undecided_for_good()
        planned = undecided.filter(force.has_planned("pk")).values_list("pk", flat=True)
        stopping = undecided.filter(force.has_stopping("pk", self.now)).values_list("pk", flat=True)
        return frozenset(planned.union(stopping).order_by())

    def _undecided_for_good(self) -> QuerySet[Organization]:
        return self._merchants.order_by().filter(
            ~force.has_active("pk"),
            ~force.has_due("pk", self.now),
            ~force.has_stopping("pk", FAR),
        )


def _sorted(spans: Iterable[Span[list[str]]], at: datetime) -> list[str]:
    return sorted(name for span in spans if span.holds(at) for name in span.value)


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


def _decisions(
    family: Family, keys: Mapping[uuid.UUID, Sequence[Credential]], now: datetime
) -> Iterator[Span[Decision]]:
    """The signing key and the Response MLE key that `resolution` gives a family, and when."""
    merchant = _representative(family)
    near = {family.own, family.parent, family.grandparent, *(one for one, _ in family.selecting)}
    rows = [row for owner in near if owner is not None for row in keys.get(owner, ())]
    slots = {slot for _, slot in family.selecting}
    for row in rows:
        row.selects = row.slot_id in slots  # type: ignore[attr-defined]  # as `candidates` does
    asks = (family.response_mle or conf.current().RESPONSE_MLE) != "never"
    return spans.decided(rows, now, lambda at: _decide(merchant, rows, asks=asks, at=at))


def _decide(
    merchant: Organization, rows: Sequence[Credential], *, asks: bool, at: datetime
) -> Decision:
    signing = resolution.deciding_signing_key(merchant, rows, now=at)
    if signing is None or not resolution.in_force(signing, at) or not signing.organization.active:
        return None, None
    if not asks:
        return signing, None
    response = resolution.deciding_response_key(merchant, signing.organization, rows, now=at)
    if response is None or not resolution.in_force(response, at):
        return signing, None
    return signing, response


def _representative(family: Family) -> Organization:
    grandparent = Organization(pk=family.grandparent) if family.grandparent else None
    parent = Organization(pk=family.parent, parent=grandparent) if family.parent else None
    return Organization(pk=family.own or uuid.uuid4(), parent=parent)
