"""What `readiness` says of merchants, as conditions for the database: for lists and counts.

A merchant with a key of its own is judged by SQL, which joins that key once for each merchant.
For the others `kinds` has the rules judge one of each kind, and SQL finds its fellows, so 100,000
merchants cost as much as their portfolios.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from functools import cached_property, reduce
from operator import add, and_
from typing import Final

from django.db.models import (
    Case,
    Exists,
    F,
    FilteredRelation,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.expressions import CombinedExpression

from django_cybs_jwt import conf
from django_cybs_jwt.models import (
    Credential,
    GatewayCertificate,
    Organization,
    Purpose,
    Verdict,
)
from django_cybs_jwt.services import force, proven
from django_cybs_jwt.services.readiness import Readiness
from django_cybs_jwt.services.readiness.kinds import Kinds, Selects

_NOBODY: Final = Q(pk=None)
_SIGNING_SLOT: Final = "signing_slot"
_RESPONSE_SLOT: Final = "response_slot"
_SIGNING: Final = f"{_SIGNING_SLOT}__active"
_RESPONSE: Final = f"{_RESPONSE_SLOT}__active"


class Fact(StrEnum):
    """What a merchant can be asked for; the names are those of `readiness.Readiness`."""

    READY = "ready"
    JWT_V2 = "jwt_v2"
    REQUEST_MLE = "request_mle"
    RESPONSE_MLE = "response_mle"
    VERIFIED = "verified"


BITS: Final = {fact: 1 << place for place, fact in enumerate(Fact)}


def joined(rows: QuerySet[Organization]) -> QuerySet[Organization]:
    """*rows*, ready to be asked with the conditions of `Standing`; costs nothing until then."""
    return rows.alias(
        signing_slot=_plain_slot(Purpose.SIGNING), response_slot=_plain_slot(Purpose.RESPONSE_MLE)
    )


def _plain_slot(purpose: str) -> FilteredRelation:
    # One at most, so that the join makes no row twice.
    return FilteredRelation("slots", condition=Q(slots__purpose=purpose, slots__name=""))


class Standing:
    """Conditions at *now* on organizations that are `joined`; reads nothing before it is asked."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._kinds = Kinds(now)

    def has(self, fact: Fact) -> Q:
        """Organizations of which *fact* is true; of disabled ones none is."""
        return self._where(self._own(fact), lambda row: bool(getattr(row, fact)))

    def bits(self) -> Case:
        """All facts of an organization as the sum of their BITS, for counting.

        A condition for each fact would be judged five times, and compiled by PostgreSQL too.
        """
        contested: dict[int, list[uuid.UUID]] = defaultdict(list)
        for pk, row in self._kinds.contested.items():
            contested[_bits_of(row)].append(pk)
        return Case(
            When(active=False, then=Value(0)),
            *(When(pk__in=some, then=Value(bits)) for bits, some in contested.items()),
            When(_is_there(_SIGNING), then=self._own_bits),
            When(~self._is_passed, then=Value(0)),
            *self._alike_bits(),
            default=Value(0),
        )

    def ends_by(self, until: datetime) -> Q:
        """Organizations that something stops between now and *until*."""
        days = (until - self.now).days
        own = self._own(Fact.JWT_V2) & (self._key_ends(until) | self._certificate_ends(until))
        return self._where(own, lambda row: row.days_left is not None and row.days_left < days)

    def _where(self, own: Q, test: Callable[[Readiness], bool]) -> Q:
        """*own*, true only of those whose own key decides, and *test* for the others."""
        contested = self._kinds.contested
        lone = Q(pk__in=[pk for pk, row in contested.items() if test(row)])
        rule = Case(
            When(Q(pk__in=list(contested)), then=_truth(lone)),
            When(_is_there(_SIGNING), then=_truth(own)),
            default=_truth(self._alike(test) & self._is_passed),
        )
        return Q(active=True) & Q(rule)

    @property
    def _own_bits(self) -> Case | CombinedExpression:
        terms = (
            Case(When(self._own(fact), then=Value(bit)), default=Value(0))
            for fact, bit in BITS.items()
        )
        return reduce(add, terms)

    def _alike_bits(self) -> Iterator[When]:
        kinds = (*self._kinds.under.values(), *self._kinds.selected.values())
        for bits in sorted({_bits_of(row) for row in kinds}):
            alike = self._alike(lambda row, bits=bits: _bits_of(row) == bits)  # type: ignore[misc]
            yield When(alike, then=Value(bits))

    @cached_property
    def _is_passed(self) -> Q:
        """No key of their own ends the search, of those who have no ACTIVE one."""
        # The whole set at once: PostgreSQL looks each merchant up in a hash of it.
        return ~Q(pk__in=force.stopping(self.now).order_by().values("organization"))

    def _alike(self, test: Callable[[Readiness], bool]) -> Q:
        """All merchants of the kinds that pass."""
        under = {kind for kind, row in self._kinds.under.items() if test(row)}
        nearest = {kind.owner for kind in self._kinds.under}
        found = _NOBODY
        for asks, policy in ((True, ~self._never), (False, self._never)):
            owners = [kind.owner for kind in under if kind.asks == asks]
            above = ~Q(parent__in=nearest) & Q(parent__parent__in=owners)
            found |= policy & (Q(parent__in=owners) | above)
        return (
            found & _selected_by(frozenset()) | self._selected(test)
            if self._kinds.selected
            else found
        )

    def _selected(self, test: Callable[[Readiness], bool]) -> Q:
        """Places are listed: 1,000 parents cost as one."""
        parents: dict[tuple[frozenset[uuid.UUID], bool], set[uuid.UUID | None]] = defaultdict(set)
        for kind in (kind for kind, row in self._kinds.selected.items() if test(row)):
            parents[kind.slots, kind.asks].add(kind.parent)
        found = _NOBODY
        for (slots, asks), some in parents.items():
            place = Q(parent__in=[pk for pk in some if pk is not None])
            if None in some:
                place |= Q(parent=None)
            found |= (~self._never if asks else self._never) & place & _selected_by(slots)
        return found

    def _own(self, fact: Fact) -> Q:
        signs, answers = self._lasts(_SIGNING), ~self._never & self._lasts(_RESPONSE)
        verified = signs & _accepted(_SIGNING) & (self._never | answers & _accepted(_RESPONSE))
        if fact == Fact.JWT_V2:
            return signs
        if fact == Fact.REQUEST_MLE:
            return signs & self._certified(self.now)
        if fact == Fact.RESPONSE_MLE:
            return signs & answers
        return verified & self._certified(self.now) if fact == Fact.READY else verified

    def _lasts(self, key: str) -> Q:
        """*key* is there and has not ended."""
        endless = Q(**{f"{key}__expires_at__isnull": True})
        return _is_there(key) & (endless | Q(**{f"{key}__expires_at__gt": self.now}))

    @cached_property
    def _never(self) -> Q:
        policy = Q(response_mle="never")
        return policy | Q(response_mle="") if conf.current().RESPONSE_MLE == "never" else policy

    def _certified(self, moment: datetime) -> Q:
        """Own or host-wide, valid now and at *moment*."""
        hosts = {host for host, end in self._kinds.host_ends.items() if end > moment}
        valid = GatewayCertificate.objects.filter(not_before__lte=self.now, not_after__gt=moment)
        return Q(host__in=hosts) | Q(Exists(valid.filter(organization=OuterRef("pk"))))

    def _certificate_ends(self, until: datetime) -> Q:
        return self._certified(self.now) & ~self._certified(until)

    def _key_ends(self, until: datetime) -> Q:
        """A key in use, now or by a plan, that no accepted one is planned to replace in time."""
        return self._ends(_SIGNING_SLOT, until) | (~self._never & self._ends(_RESPONSE_SLOT, until))

    def _ends(self, slot: str, until: datetime) -> Q:
        end = f"{slot}__active__expires_at"
        in_time = self._planned.filter(slot=OuterRef(slot), activate_at__lte=OuterRef(end))
        replaced = Exists(in_time.filter(proven.ACCEPTED))
        in_use = Q(**{f"{end}__gt": self.now, f"{end}__lte": until}) & ~Q(replaced)
        # Plans are few: PostgreSQL looks each slot up in a hash of theirs.
        return in_use | Q(**{f"{slot}__in": self._planned_that_end(until).values("slot")})

    def _planned_that_end(self, until: datetime) -> QuerySet[Credential]:
        """Planned keys that are in force at their end in some future, if that comes by *until*."""
        later = self._planned.filter(
            slot=OuterRef("slot"),
            activate_at__gt=OuterRef("activate_at"),
            activate_at__lte=OuterRef("expires_at"),
        )
        last = ~Exists(later) | proven.ACCEPTED & ~Exists(later.filter(proven.ACCEPTED))
        rows = self._planned.filter(expires_at__gte=F("activate_at"), expires_at__lte=until)
        return rows.filter(last)

    @property
    def _planned(self) -> QuerySet[Credential]:
        return Credential.objects.order_by().filter(force.is_planned(), activate_at__gt=self.now)


def _bits_of(row: Readiness) -> int:
    return sum(bit for fact, bit in BITS.items() if getattr(row, fact))


def _is_there(key: str) -> Q:
    # Its slot and not its id, so that an index answers.
    return Q(**{f"{key}__active_slot__isnull": False})


def _accepted(key: str) -> Q:
    return Q(**{f"{key}__verify_outcome": Verdict.ACCEPTED})


def _truth(condition: Q) -> Case:
    """True or False, where SQL would say that it does not know."""
    return Case(When(condition, then=Value(True)), default=Value(False))


def _selected_by(slots: frozenset[uuid.UUID]) -> Q:
    """Merchants that these slots select, and no other."""
    selected = Selects.objects.filter(organization=OuterRef("pk"))
    each = [Q(Exists(selected.filter(keyslot=slot))) for slot in slots]
    others = selected.exclude(keyslot__in=slots) if slots else selected
    return reduce(and_, each, ~Q(Exists(others)))
