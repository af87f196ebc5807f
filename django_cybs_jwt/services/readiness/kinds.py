"""Merchants that nothing tells apart: the rules of `readiness` judge one of each kind.

Without a deciding key of their own, merchants are alike under one nearest owner of a key for all
descendants, or where the same slots select them. The few whose own keys compete, in a slot with a
name or with one that is scheduled, are judged one by one. Three queries, for however many.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeVar

from django.db.models import Q, QuerySet, UUIDField, Value
from django.db.models.functions import Cast

from django_cybs_jwt.models import (
    Coverage,
    Credential,
    GatewayCertificate,
    KeySlot,
    Organization,
    Purpose,
)
from django_cybs_jwt.services import force, readiness, resolution
from django_cybs_jwt.services.readiness import Readiness
from django_cybs_jwt.services.readiness.candidates import (
    CERTIFICATE_COLUMNS,
    KEY_COLUMNS,
    Candidates,
)

Selects: Final = KeySlot.merchants.through
K = TypeVar("K")
_OWNER_COLUMNS: Final = tuple(
    f"organization__{name}"
    for name in ("org_id", "host", "name", "active", "parent", "response_mle")
)


@dataclass(frozen=True, slots=True)
class Under:
    """Merchants without a key of their own that no slot selects, by the nearest such owner."""

    owner: uuid.UUID
    asks: bool


@dataclass(frozen=True, slots=True)
class Selected:
    """Merchants without a key of their own under one parent, that exactly these slots select."""

    slots: frozenset[uuid.UUID]
    parent: uuid.UUID | None
    asks: bool


@dataclass(frozen=True, slots=True)
class _Case:
    """A merchant to look at; *slots* that select it, with their owners."""

    parent: uuid.UUID | None
    grandparent: uuid.UUID | None
    response_mle: str
    slots: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)

    @property
    def asks(self) -> bool:
        return readiness.asks_for_replies(Organization(response_mle=self.response_mle))


class Kinds:
    """What the rules say at *now* of one of each kind; read at the first question."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    @cached_property
    def under(self) -> dict[Under, Readiness]:
        """By nearest owner of a signing key for all descendants."""
        nearest = {
            row.organization_id
            for rows in self._keys.values()
            for row in rows
            if row.slot.coverage == Coverage.ALL and row.slot.purpose == Purpose.SIGNING
        }
        return self._judged(
            {
                Under(owner, asks): _somebody(self._owners[owner], asks)
                for owner in nearest
                for asks in (True, False)
            }
        )

    @cached_property
    def selected(self) -> dict[Selected, Readiness]:
        """By selecting slots."""
        found, selecting = {}, {}
        for case in self._cases[0].values():
            kind = Selected(frozenset(case.slots), case.parent, case.asks)
            if kind not in found:
                found[kind] = _somebody(self._place(case), case.asks)
                selecting[found[kind].pk] = case.slots
        return self._judged(found, selecting)

    @cached_property
    def contested(self) -> dict[uuid.UUID, Readiness]:
        """Of each merchant whose own keys compete."""
        selected, contested = self._cases
        found, selecting = {}, {}
        for pk, case in contested.items():
            row = self._owners.get(pk) or Organization(pk=pk, response_mle=case.response_mle)
            row.parent = self._place(case)
            found[pk] = row
            selecting[pk] = selected[pk].slots if pk in selected else {}
        return self._judged(found, selecting)

    @cached_property
    def host_ends(self) -> dict[str, datetime]:
        """By host the last end of the certificates that serve all of it and are valid."""
        shared = [
            one for rows in self._certificates.values() for one in rows if not one.organization_id
        ]
        valid = [one for one in shared if one.not_before <= self.now < one.not_after]
        ends: dict[str, datetime] = {}
        for one in valid:
            ends[one.host] = max(one.not_after, ends.get(one.host, one.not_after))
        return ends

    def _judged(
        self,
        merchants: Mapping[K, Organization],
        selecting: Mapping[uuid.UUID, Mapping[uuid.UUID, uuid.UUID]] | None = None,
    ) -> dict[K, Readiness]:
        rows = Candidates(selecting or {}, self._keys, self._certificates)
        judged = readiness.judge(merchants.values(), rows, now=self.now)
        return dict(zip(merchants, judged, strict=True))

    def _place(self, case: _Case) -> Organization | None:
        """The parent of *case*; who owns no key that matters is an empty row."""
        if case.parent is None:
            return None
        above = self._owners.get(case.grandparent) if case.grandparent else None
        return self._owners.get(case.parent) or Organization(pk=case.parent, parent=above)

    @cached_property
    def _owners(self) -> dict[uuid.UUID, Organization]:
        """Owners of keys that matter, with those of them that stand above at hand."""
        owners = {pk: rows[0].organization for pk, rows in self._keys.items()}
        for rows in self._keys.values():
            for row in rows:
                row.organization = owners[row.organization_id]
        for owner in owners.values():
            if owner.parent_id is not None:
                owner.parent = owners.get(owner.parent_id) or Organization(pk=owner.parent_id)
        return owners

    @cached_property
    def _keys(self) -> dict[uuid.UUID, list[Credential]]:
        rows = Credential.objects.select_related("slot", "organization").order_by()
        found: dict[uuid.UUID, list[Credential]] = defaultdict(list)
        for row in rows.only(*KEY_COLUMNS, *_OWNER_COLUMNS).filter(
            resolution.COUNTS, organization__in=self._mattering()
        ):
            found[row.organization_id].append(row)
        return dict(found)

    @cached_property
    def _certificates(self) -> dict[uuid.UUID | str, list[GatewayCertificate]]:
        rows = GatewayCertificate.objects.only(*CERTIFICATE_COLUMNS).order_by()
        found: dict[uuid.UUID | str, list[GatewayCertificate]] = defaultdict(list)
        for row in rows.filter(Q(organization=None) | Q(organization__in=self._mattering())):
            found[row.organization_id or row.host].append(row)
        return dict(found)

    @cached_property
    def _cases(self) -> tuple[dict[uuid.UUID, _Case], dict[uuid.UUID, _Case]]:
        """Selected merchants without a deciding key of their own, and contested ones."""
        selected: dict[uuid.UUID, _Case] = {}
        contested: dict[uuid.UUID, _Case] = {}
        rows = self._links().union(self._contested(), all=True).order_by()
        for pk, slot, owner, *place in rows:
            if slot is None:
                contested[pk] = _Case(*place)
            else:
                selected.setdefault(pk, _Case(*place)).slots[slot] = owner
        return selected, contested

    def _links(self) -> QuerySet[Any, tuple[Any, ...]]:
        column = "organization"
        rows = Selects.objects.order_by().filter(
            ~force.has_active(column),
            ~force.has_due(column, self.now),
            ~force.has_stopping(column, self.now),
        )
        place = ("parent", "parent__parent", "response_mle")
        return rows.values_list(
            column, "keyslot", "keyslot__organization", *(f"{column}__{name}" for name in place)
        )

    def _contested(self) -> QuerySet[Any, tuple[Any, ...]]:
        rows = Organization.objects.order_by().filter(pk__in=self._competing())
        nothing = Cast(Value(None), UUIDField())
        return rows.values_list("pk", nothing, nothing, "parent", "parent__parent", "response_mle")

    def _competing(self) -> QuerySet[Any, Any]:
        """Owners of a slot with a name, or of a key whose time has come or decides later."""
        named = KeySlot.objects.exclude(name="").order_by().values("organization")
        return named.union(self._scheduled()).order_by()

    def _mattering(self) -> QuerySet[Any, Any]:
        """Those, and owners of slots that serve others."""
        slots = KeySlot.objects.exclude(name="", coverage=Coverage.OWN).order_by()
        return slots.values("organization").union(self._scheduled()).order_by()

    def _scheduled(self) -> QuerySet[Any, Any]:
        planned = Credential.objects.filter(state__in=force.WAITING, activate_at__isnull=False)
        # With an ACTIVE key of its own, one that comes later is that key's successor.
        rows = planned.filter(Q(activate_at__lte=self.now) | ~Q(force.has_active("organization")))
        return rows.order_by().values("organization")


def _somebody(parent: Organization | None, asks: bool) -> Organization:
    """Made up: he has no key."""
    return Organization(parent=parent, response_mle="ask" if asks else "never")
