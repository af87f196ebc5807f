"""What `readiness` says of merchants, as conditions for the database: for lists and counts.

A merchant with a key of its own is judged by SQL. Others are alike where parent, selecting slots
and MLE policy are the same: `readiness` judges one of each kind, and SQL finds its fellows, so
100,000 merchants cost as much as their portfolios. The few whose own keys compete, in a slot with
a name or with one that is due, are judged one by one.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property, reduce
from operator import and_, or_
from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.models import (
    Credential,
    GatewayCertificate,
    KeySlot,
    Organization,
    Purpose,
    Verdict,
)
from django_cybs_jwt.services import force, readiness
from django_cybs_jwt.services.batches import in_batches
from django_cybs_jwt.services.endings import CHUNK
from django_cybs_jwt.services.readiness import Readiness

_NOBODY: Final = Q(pk=None)
_Selects = KeySlot.merchants.through


class Fact(StrEnum):
    """What a merchant can be asked for; the names are those of `readiness.Readiness`."""

    READY = "ready"
    JWT_V2 = "jwt_v2"
    REQUEST_MLE = "request_mle"
    RESPONSE_MLE = "response_mle"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class _Kind:
    """Merchants without a key of their own that nothing tells apart."""

    parent: uuid.UUID | None
    host: str
    response_mle: str
    slots: frozenset[uuid.UUID] = frozenset()


def _fellows(kinds: Mapping[_Kind, Readiness], test: Callable[[Readiness], bool]) -> Q:
    """All merchants of the kinds that pass. Places are listed: 1,000 parents cost as one."""
    is_plain = not any(kind.slots for kind in kinds)
    parents: dict[tuple[frozenset[uuid.UUID], str, str], set[uuid.UUID | None]] = defaultdict(set)
    for kind in (kind for kind, row in kinds.items() if test(row)):
        parents[kind.slots, kind.host, kind.response_mle].add(kind.parent)
    found: dict[frozenset[uuid.UUID], Q] = defaultdict(lambda: _NOBODY)
    for (slots, host, policy), some in parents.items():
        place = Q(parent__in=[pk for pk in some if pk is not None])
        if None in some:
            place |= Q(parent=None)
        found[slots] |= Q(host=host, response_mle=policy) & place
    if is_plain:  # then nobody needs to be asked who selects him, which costs the planner dearly
        return found[frozenset()]
    return reduce(or_, (_selected_by(slots) & places for slots, places in found.items()), _NOBODY)


def _selected_by(slots: frozenset[uuid.UUID]) -> Q:
    """Merchants that these slots select, and no other."""
    selected = _Selects.objects.filter(organization=OuterRef("pk"))
    each = [Q(Exists(selected.filter(keyslot=slot))) for slot in slots]
    others = selected.exclude(keyslot__in=slots) if slots else selected
    return reduce(and_, each, ~Q(Exists(others)))


class Standing:
    """Conditions on `Organization` at *now*; reads nothing before the first question."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def has(self, fact: Fact) -> Q:
        """Organizations of which *fact* is true; of disabled ones none is."""
        return self._where(self._own(fact), lambda row: bool(getattr(row, fact)))

    def ends_by(self, until: datetime) -> Q:
        """Organizations that something stops between now and *until*."""
        days = (until - self.now).days

        own = self._own(Fact.JWT_V2) & (self._key_ends(until) | self._certificate_ends(until))
        return self._where(own, lambda row: row.days_left is not None and row.days_left < days)

    def _where(self, own: Q, test: Callable[[Readiness], bool]) -> Q:
        """*own*, true only of those whose own key decides, and *test* for the others."""
        alike = _fellows(self._kinds, test)
        lone = Q(pk__in=[pk for pk, row in self._contested.items() if test(row)])
        ruled = own | (~self._decides & alike)
        return Q(active=True) & (lone | (~Q(pk__in=list(self._contested)) & ruled))

    @cached_property
    def _contested(self) -> dict[uuid.UUID, Readiness]:
        """Those whose own keys compete."""
        named = KeySlot.objects.exclude(name="").order_by()
        due = Credential.objects.filter(force.is_due(self.now)).order_by()
        pks = named.values_list("organization").union(due.values_list("organization"))
        found: dict[uuid.UUID, Readiness] = {}
        for chunk in in_batches([pk for (pk,) in pks]):
            some = list(Organization.objects.filter(pk__in=chunk))
            judged = readiness.of(some, now=self.now)
            found |= {row.pk: one for row, one in zip(some, judged, strict=True)}
        return found

    @cached_property
    def _decides(self) -> Q:
        """Whose own key decides, for good or ill."""
        conditions = (
            force.has_active("pk"),
            force.has_due("pk", self.now),
            force.has_stopping("pk"),
        )
        return reduce(or_, map(Q, conditions))

    def _own(self, fact: Fact) -> Q:
        signing = self._in_force(Purpose.SIGNING)
        response = self._in_force(Purpose.RESPONSE_MLE)
        accepted = Q(verify_outcome=Verdict.ACCEPTED)
        verified = Q(Exists(signing.filter(accepted))) & (
            self._never | Q(Exists(response.filter(accepted)))
        )
        if fact == Fact.JWT_V2:
            return Q(Exists(signing))
        if fact == Fact.REQUEST_MLE:
            return Q(Exists(signing)) & self._has_certificate
        if fact == Fact.RESPONSE_MLE:
            return Q(Exists(signing)) & ~self._never & Q(Exists(response))
        return verified & self._has_certificate if fact == Fact.READY else verified

    def _in_force(self, purpose: str) -> QuerySet[Credential]:
        """Keys of the outer query's organization that may be used."""
        lasting = Q(expires_at=None) | Q(expires_at__gt=self.now)
        rows = Credential.objects.filter(organization=OuterRef("pk"), slot__purpose=purpose)
        return rows.filter(force.is_in_force(self.now), lasting)

    @cached_property
    def _never(self) -> Q:
        policy = Q(response_mle="never")
        return policy | Q(response_mle="") if conf.current().RESPONSE_MLE == "never" else policy

    @cached_property
    def _has_certificate(self) -> Q:
        return self._certified(self.now)

    def _certified(self, moment: datetime) -> Q:
        """Own or host-wide, valid now and at *moment*."""
        valid = GatewayCertificate.objects.filter(not_before__lte=self.now, not_after__gt=moment)
        hosts = valid.filter(organization=None).order_by().values_list("host", flat=True).distinct()
        return Q(host__in=list(hosts)) | Q(Exists(valid.filter(organization=OuterRef("pk"))))

    def _certificate_ends(self, until: datetime) -> Q:
        return self._has_certificate & ~self._certified(until)

    def _key_ends(self, until: datetime) -> Q:
        """A key in use that nothing scheduled replaces in time."""
        following = Credential.objects.filter(
            slot=OuterRef("slot"),
            activate_at__gt=self.now,
            activate_at__lte=OuterRef("expires_at"),
        )
        signing = self._in_force(Purpose.SIGNING).filter(expires_at__lte=until)
        response = self._in_force(Purpose.RESPONSE_MLE).filter(expires_at__lte=until)
        lone = ~Exists(following)
        return Q(Exists(signing.filter(lone))) | (~self._never & Q(Exists(response.filter(lone))))

    @cached_property
    def _kinds(self) -> dict[_Kind, Readiness]:
        """What `readiness` says of one of each kind."""
        kinds = {**self._unselected(), **self._selected()}
        judged = readiness.of(list(kinds.values()), now=self.now)
        return dict(zip(kinds, judged, strict=True))

    def _unselected(self) -> dict[_Kind, Organization]:
        """Somebody made up for each place: he has no key and no slot selects him."""
        places = Organization.objects.order_by().values_list("parent", "host", "response_mle")
        return {
            _Kind(parent, host, policy): Organization(
                parent_id=parent, host=host, response_mle=policy
            )
            for parent, host, policy in places.distinct()
        }

    def _selected(self) -> dict[_Kind, Organization]:
        """Somebody real for each set of slots that selects merchants."""
        slots: dict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)
        facts: dict[uuid.UUID, tuple[uuid.UUID | None, str, str]] = {}
        for merchant, slot, *place in self._links().iterator(chunk_size=CHUNK):
            slots[merchant].add(slot)
            facts[merchant] = (place[0], place[1], place[2])
        found = {}
        for merchant, (parent, host, policy) in facts.items():
            kind = _Kind(parent, host, policy, frozenset(slots[merchant]))
            found[kind] = Organization(
                pk=merchant, parent_id=parent, host=host, response_mle=policy
            )
        return found

    def _links(self) -> QuerySet[Any, tuple[Any, ...]]:
        """Merchants without a key of their own, and the slots that select them."""
        column = "organization"
        rows = _Selects.objects.order_by().filter(
            ~force.has_active(column),
            ~force.has_due(column, self.now),
            ~force.has_stopping(column),
        )
        place = (f"{column}__{name}" for name in ("parent", "host", "response_mle"))
        return rows.values_list(column, "keyslot", *place)
