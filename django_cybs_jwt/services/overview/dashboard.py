"""The numbers of the admin's front page, each with the condition that lists what it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Exists, OuterRef, Q

from django_cybs_jwt.models import (
    Approval,
    Credential,
    ExpiryAlert,
    GatewayCertificate,
    Organization,
    OutboundRequest,
    RequestState,
    State,
    Verdict,
)
from django_cybs_jwt.services import approvals, force, overlaps
from django_cybs_jwt.services.people import ACCOUNT, person
from django_cybs_jwt.services.queue import numbers as queue_numbers
from django_cybs_jwt.services.readiness.standing import BITS, Fact, Standing, joined
from django_cybs_jwt.services.scope import Scope

SOON: Final = (7, 30, 90)
"""Days for which ends are counted."""

_OUT: Final = (State.DESTROYED, State.COMPROMISED, State.RETIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchants:
    """Merchants that are not disabled, and of how many each fact is true."""

    total: int
    facts: dict[Fact, int]

    @property
    def rest(self) -> dict[Fact, int]:
        """Of how many it is not."""
        return {fact: self.total - count for fact, count in self.facts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """*ended* are in force past their end, *ending* end within so many days.

    *failed* were not accepted when they were last verified.
    """

    ended: int
    ending: dict[int, int]
    overlaps: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Request-MLE certificates that no other one outlasts: ended, or within so many days."""

    ended: int
    ending: dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Requests that have not ended; *oldest* is how many seconds the longest has been due."""

    queued: int
    sending: int
    in_doubt: int
    parked: int
    oldest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """None stands for what the visitor may not see. *granted* is what he may carry out."""

    merchants: Merchants | None
    keys: Keys | None
    certificates: Certificates | None
    queue: Queue | None
    unacknowledged: int | None
    waiting: int | None
    granted: int | None


def ends_within(now: datetime, days: int) -> Q:
    """Keys in force that end within *days*; those that have ended are not among them."""
    ends = Q(expires_at__gt=now, expires_at__lte=now + timedelta(days=days))
    return force.is_in_force(now) & ends & Q(organization__active=True)


def has_ended(now: datetime) -> Q:
    """Keys in force past their end: whoever needs one is stopped."""
    return force.is_in_force(now) & Q(expires_at__lte=now, organization__active=True)


def in_overlap(now: datetime) -> Q:
    """Keys that were replaced and still answer: the rotation can be rolled back."""
    return overlaps.is_open(now)


def was_not_accepted() -> Q:
    """Keys not out of use that the last verification did not prove.

    It failed at the gateway or before it got there, or nothing could be concluded.
    """
    failed = (Verdict.REFUSED, Verdict.INCONCLUSIVE)
    return Q(verify_outcome__in=failed) & ~Q(state__in=_OUT)


def certificate_ends_within(now: datetime, days: int) -> Q:
    """Certificates that encrypt until an end within *days*, and have nothing that goes on then."""
    ends = Q(not_after__gt=now, not_after__lte=now + timedelta(days=days))
    return ends & _is_last_certificate(now)


def certificate_has_ended(now: datetime) -> Q:
    """Certificates past their end in whose place there is no other."""
    return Q(not_after__lte=now) & _is_last_certificate(now)


def to_acknowledge(now: datetime) -> Q:
    """Alerts that stand, that nobody acknowledged and nobody put off."""
    heard = Q(acknowledged_at__isnull=False) | Q(snoozed_until__gt=now)
    return Q(resolved_at=None) & ~heard


def waits_for(actor: str) -> Q:
    """Requests that *actor* may decide: neither his own nor of a key he uploaded."""
    who = person(actor)
    uploaded = Q(credential__uploaded_by__iexact=who)
    uploaded |= Q(credential__uploaded_by__iexact=f"{ACCOUNT}{who}")
    return ~Q(requester=who) & ~uploaded


def of(
    scope: Scope,
    *,
    actor: str,
    now: datetime,
    may_view: Callable[[str], bool],
    may_approve: bool,
) -> Dashboard:
    """What *scope* sees at *now* of the models, named in lower case, that *may_view* allows."""
    told = scope.visible(ExpiryAlert.objects.filter(to_acknowledge(now)))
    waiting, granted = _approvals(scope, actor, now) if may_view("approval") else (None, None)
    return Dashboard(
        merchants=_merchants(scope, now) if may_view("organization") else None,
        keys=_keys(scope, now) if may_view("credential") else None,
        certificates=_certificates(scope, now) if may_view("gatewaycertificate") else None,
        queue=_queue(scope, now) if may_view("outboundrequest") else None,
        unacknowledged=told.count() if may_view("expiryalert") else None,
        waiting=waiting if may_approve else None,
        granted=granted,
    )


def _approvals(scope: Scope, actor: str, now: datetime) -> tuple[int, int]:
    """How many *actor* may decide, and how many were granted to him."""
    waits = Q(status=Approval.Status.REQUESTED) & waits_for(actor)
    granted = Q(status=Approval.Status.GRANTED, requester=person(actor))
    rows = scope.visible(approvals.usable(now=now)).order_by()
    found = rows.aggregate(waiting=Count("pk", filter=waits), granted=Count("pk", filter=granted))
    return found["waiting"], found["granted"]


def _merchants(scope: Scope, now: datetime) -> Merchants:
    seen = scope.visible(joined(Organization.objects.all())).order_by()
    rows = seen.filter(kind=Organization.Kind.MERCHANT, active=True)
    kinds = rows.values(bits=Standing(now).bits()).annotate(size=Count("pk"))
    sizes = dict(kinds.values_list("bits", "size"))
    return Merchants(
        total=sum(sizes.values()),
        facts={
            fact: sum(size for bits, size in sizes.items() if bits & bit)
            for fact, bit in BITS.items()
        },
    )


def _keys(scope: Scope, now: datetime) -> Keys:
    ends = {f"in_{days}": ends_within(now, days) for days in SOON}
    others = {"ended": has_ended(now), "overlaps": in_overlap(now), "failed": was_not_accepted()}
    numbers = {name: Count("pk", filter=test) for name, test in {**ends, **others}.items()}
    rows = scope.visible(Credential.objects.exclude(state__in=_OUT)).order_by()
    found = rows.aggregate(**numbers)
    return Keys(
        ended=found["ended"],
        ending={days: found[f"in_{days}"] for days in SOON},
        overlaps=found["overlaps"],
        failed=found["failed"],
    )


def _certificates(scope: Scope, now: datetime) -> Certificates:
    ends = {f"in_{days}": certificate_ends_within(now, days) for days in SOON}
    tests = {"ended": certificate_has_ended(now), **ends}
    numbers = {name: Count("pk", filter=test) for name, test in tests.items()}
    near = GatewayCertificate.objects.filter(not_after__lte=now + timedelta(days=max(SOON)))
    found = scope.visible(near).order_by().aggregate(**numbers)
    ending = {days: found[f"in_{days}"] for days in SOON}
    return Certificates(ended=found["ended"], ending=ending)


def _is_last_certificate(now: datetime) -> Q:
    """As `expiry.certificate_endings` has it: no other takes over, of the owner or of the host."""
    owner, end = OuterRef("organization"), OuterRef("not_after")
    others = GatewayCertificate.objects.filter(Q(not_before__lte=end) | Q(not_before__lte=now))
    # Each file of an owner carries the same certificate; the row that was there first speaks.
    first = Q(created_at__lt=OuterRef("created_at")) | Q(
        created_at=OuterRef("created_at"), pk__lt=OuterRef("pk")
    )
    longer = Q(not_after__gt=end)
    own = others.filter(longer | (Q(not_after=end) & first), organization=owner)
    shared = others.filter(longer, organization=None, host=OuterRef("host"))
    is_of_active = Q(organization=None) | Q(organization__active=True)
    return is_of_active & ~Exists(own) & ~Exists(shared)


def _queue(scope: Scope, now: datetime) -> Queue:
    waits = queue_numbers.waiting(scope.visible(OutboundRequest.objects.all()), now)
    open_now = queue_numbers.Numbers.of_waits(waits, now)
    return Queue(
        queued=open_now.counts[RequestState.QUEUED],
        sending=open_now.counts[RequestState.SENDING],
        in_doubt=open_now.counts[RequestState.IN_DOUBT],
        parked=open_now.counts[RequestState.PARKED],
        oldest=open_now.oldest(RequestState.QUEUED),
    )
