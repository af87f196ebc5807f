"""The rows that decide about many merchants' keys, read at once.

`resolution.candidates` and `gateway_certificates.candidates` ask once for each merchant; this
asks four times for all. What is found goes to the same pure rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from uuid import UUID

from django.db.models import Q, QuerySet

from django_cybs_jwt.models import (
    Credential,
    GatewayCertificate,
    KeySlot,
    Organization,
)
from django_cybs_jwt.models.organizations import DEEPEST
from django_cybs_jwt.services import resolution

AT_ONCE: Final = 2000

# What the rules look at and a report shows: of a key a third of its columns, nothing sealed.
KEY_COLUMNS: Final = (
    "organization_id",
    "kind",
    "key_id",
    "algorithm",
    "state",
    "expires_at",
    "activated_at",
    "activate_at",
    "retiring_at",
    "retired_at",
    "overlap_until",
    "verify_outcome",
    "slot__purpose",
    "slot__coverage",
)
CERTIFICATE_COLUMNS: Final = ("organization_id", "host", "not_before", "not_after", "preferred")


def portions(wanted: QuerySet[Organization]) -> Iterator[list[Organization]]:
    """Two thousand organizations at a time, by id and host.

    From the last one seen onward: no cursor stays open, and memory does not grow.
    """
    ordered = wanted.order_by("org_id", "host")
    found = list(ordered[:AT_ONCE])
    while found:
        yield found
        last = found[-1]
        further = Q(org_id__gt=last.org_id) | Q(org_id=last.org_id, host__gt=last.host)
        found = list(ordered.filter(further)[:AT_ONCE])


class Candidates:
    """All keys and request-MLE certificates that matter for some merchants.

    *selecting*: by merchant, the slots that select it and their owners. *keys*: by owner, those
    that count. *certificates*: by owner, and by host where they serve the whole host.
    """

    def __init__(
        self,
        selecting: Mapping[UUID, Mapping[UUID, UUID]],
        keys: Mapping[UUID, Sequence[Credential]],
        certificates: Mapping[UUID | str, Sequence[GatewayCertificate]],
    ) -> None:
        """What was read, by `of` or by who has it at hand."""
        self._selecting = selecting
        self._keys = keys
        self._certificates = certificates

    @classmethod
    def of(cls, merchants: Sequence[Organization]) -> Candidates:
        """Four queries, three where all owners are at hand; *merchants* get their parents set."""
        selecting = _selecting(merchants)
        owners = _owners(merchants, selecting)
        return cls(selecting, _keys(owners), _certificates(owners.values()))

    def has_own_key(self, merchant: Organization) -> bool:
        """True when any key, in whatever state, is the merchant's own."""
        return merchant.pk in self._keys

    def selecting_slots(self, merchant: Organization) -> frozenset[UUID]:
        """The slots whose list of merchants names this one."""
        return frozenset(self._selecting.get(merchant.pk, ()))

    def keys(self, merchant: Organization) -> list[Credential]:
        """What `resolution.candidates` reads, marked the same way; valid until the next call."""
        selecting = self._selecting.get(merchant.pk, {})
        owners = dict.fromkeys([*(row.pk for row in merchant.chain()), *selecting.values()])
        rows = [row for owner in owners for row in self._keys.get(owner, ())]
        for row in rows:
            row.selects = row.slot_id in selecting  # type: ignore[attr-defined]
        return rows

    def certificates(self, owner: Organization) -> list[GatewayCertificate]:
        """What `gateway_certificates.candidates` reads: the owner's own and its host's."""
        return [*self._certificates.get(owner.pk, ()), *self._certificates.get(owner.host, ())]


def _owners(
    merchants: Sequence[Organization], selecting: Mapping[UUID, Mapping[UUID, UUID]]
) -> dict[UUID, Organization]:
    """The merchants, whatever stands above them, and the owners of slots that select them."""
    found = {one.pk: one for merchant in merchants for one in _loaded_above(merchant)}
    wanted = {merchant.parent_id for merchant in merchants if merchant.parent_id}
    wanted |= {owner for slots in selecting.values() for owner in slots.values()}
    if missing := wanted - found.keys():
        above = Organization.objects.select_related("parent__parent").filter(pk__in=missing)
        found |= {one.pk: one for row in above for one in row.chain()}
    for merchant in merchants:
        if merchant.parent_id is not None:
            merchant.parent = found[merchant.parent_id]
    return found | {merchant.pk: merchant for merchant in merchants}


def _loaded_above(merchant: Organization) -> list[Organization]:
    """Who stands above *merchant*, where the query that read it has joined the whole chain."""
    row: Organization | None = merchant
    for _ in range(DEEPEST - 1):
        if row is not None and not Organization.parent.is_cached(row):
            return []
        row = row and row.parent
    return merchant.chain()[1:]


def _selecting(merchants: Sequence[Organization]) -> dict[UUID, dict[UUID, UUID]]:
    """By merchant, each slot that selects it and that slot's owner."""
    links = KeySlot.merchants.through.objects.filter(organization__in=merchants)
    found: dict[UUID, dict[UUID, UUID]] = defaultdict(dict)
    for merchant, slot, owner in links.values_list(
        "organization_id", "keyslot_id", "keyslot__organization_id"
    ):
        found[merchant][slot] = owner
    return found


def _keys(owners: dict[UUID, Organization]) -> dict[UUID, list[Credential]]:
    """By owner, every key that counts, without what is sealed."""
    rows = (
        Credential.objects.select_related("slot")
        .only(*KEY_COLUMNS)
        .filter(resolution.COUNTS, organization__in=list(owners))
        .order_by()
    )
    found: dict[UUID, list[Credential]] = defaultdict(list)
    for row in rows:
        row.organization = owners[row.organization_id]
        found[row.organization_id].append(row)
    return found


def _certificates(owners: Iterable[Organization]) -> dict[UUID | str, list[GatewayCertificate]]:
    """By owner, and by host where they serve the whole host."""
    pks, hosts = [owner.pk for owner in owners], {owner.host for owner in owners}
    rows = GatewayCertificate.objects.only(*CERTIFICATE_COLUMNS).filter(
        Q(organization__in=pks) | Q(organization=None, host__in=hosts)
    )
    found: dict[UUID | str, list[GatewayCertificate]] = defaultdict(list)
    for row in rows:
        found[row.organization_id or row.host].append(row)
    return found
