"""Clear up a request in doubt: never by guessing, and never by sending money again unasked."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.client import Phase
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import Attempt, OutboundRequest, RequestState
from django_cybs_jwt.services import sending
from django_cybs_jwt.services.queue import (
    breakers,
    database_clock,
    failpoints,
    gateway_lookup,
    hits,
    outcomes,
    payloads,
    retrying,
    safety,
)
from django_cybs_jwt.services.queue.executing import (
    may_have_landed_before,
    refuse_open_transaction,
)
from django_cybs_jwt.services.queue.gateway_lookup import (
    ContradictedError,
    LookupFailedError,
    UndecidedError,
)
from django_cybs_jwt.services.queue.hits import Finding
from django_cybs_jwt.services.queue.outcomes import Facts, Then
from django_cybs_jwt.services.queue.payloads import StoredReply
from django_cybs_jwt.services.queue.states import TWICE, UNDOING, Step, move
from django_cybs_jwt.tracebacks import forgetful

logger = logging.getLogger(__name__)

_TAKEN: Final = (Attempt.Kind.MAYBE, Attempt.Kind.ANSWERED)


@forgetful
def resolve(request: OutboundRequest, *, now: datetime) -> None:
    """Look at a row in doubt that is due; it then says where it stands.

    Before the fence a search can find, and never prove that there is nothing.
    """
    policy = safety.policy(request)
    if policy == "repeat":
        _repeat(request, now)
    elif policy == "manual":
        move(request, Step.PARK, now=now, reason="in_doubt")
    else:
        refuse_open_transaction()
        pause = breakers.wait(request, looking=True)
        if pause:
            due = database_clock.now() + timedelta(seconds=pause + retrying.spread(1.0))
            _step(request, Step.LOOK_AGAIN, due_at=due, reason=request.reason)
        else:
            _take_turn(request, policy, now)


def _take_turn(request: OutboundRequest, policy: safety.Policy, now: datetime) -> None:
    try:
        if _hold(request, looks=request.looks + 1):
            _look(request, policy, now)
    finally:
        breakers.give_back(request)  # where nothing was asked


def _repeat(request: OutboundRequest, now: datetime) -> None:
    if request.failures >= conf.current().queue.tries:
        move(request, Step.PARK, now=now, reason=request.reason or "exhausted")
    else:
        move(request, Step.REPEAT, now=now, reason=request.reason)


def _hold(request: OutboundRequest, **changes: Any) -> bool:
    """Take the turn, or prove that it is still ours: nobody else looks for a whole lease."""
    ends = database_clock.now() + timedelta(seconds=conf.current().queue.lease)
    return _step(request, Step.LOOK_AGAIN, due_at=ends, **{"reason": request.reason} | changes)


def _step(request: OutboundRequest, step: Step, **changes: Any) -> bool:
    """Take *step* unless another resolver has the turn."""
    return move(request, step, now=database_clock.now(), as_due=True, **changes)


def _look(request: OutboundRequest, policy: safety.Policy, now: datetime) -> None:
    late, asked_to_wait = _past_fence(request, now), 0.0
    try:
        _clear_up(request, policy, late=late)
    except Exception as error:
        # A search that failed is not a search that found nothing.
        told = error.english if isinstance(error, LookupFailedError) else type(error).__name__
        logger.warning("Request %s stays in doubt: %s", request.pk, told)
        if late and request.looks >= conf.current().queue.looks:
            is_undoing = request.reason == UNDOING and not isinstance(error, ContradictedError)
            unclear = UNDOING if is_undoing else f"unclear:{type(error).__name__}"
            _step(request, Step.PARK, reason=unclear[:40])
        if isinstance(error, LookupFailedError):
            asked_to_wait = error.after
        elif not isinstance(error, CybsError):
            raise
    finally:
        if request.state == RequestState.IN_DOUBT:
            _plan_next_look(request, at_least=asked_to_wait)


def _plan_next_look(request: OutboundRequest, *, at_least: float) -> None:
    now, times = database_clock.now(), conf.current().queue
    pause = max(times.first_look, 1.0) * 2.0 ** min(request.looks - 1, 20)
    pause = max(min(times.longest_retry, pause), at_least)
    due = now + timedelta(seconds=pause)
    if not at_least and request.fence_at is not None and now < request.fence_at:
        due = min(due, request.fence_at)
    _step(request, Step.LOOK_AGAIN, due_at=due, reason=request.reason)


def _past_fence(request: OutboundRequest, now: datetime) -> bool:
    return request.fence_at is not None and now >= request.fence_at


def _clear_up(request: OutboundRequest, policy: safety.Policy, *, late: bool) -> None:
    if _opens_now(request):
        return
    document = payloads.open_payload(request).document
    finding, hit = hits.weigh(gateway_lookup.hits(request, document))
    # Before the fence, the last of several tries may still be processed after an earlier one was
    # declined or undone.
    is_last_word = late or request.attempt == 1
    if finding == Finding.UNDONE:
        if is_last_word:
            _step(request, Step.VOID, outcome="VOIDED", found=True)
    elif finding == Finding.TWICE:
        logger.error("Request %s was processed twice", request.pk)
        _step(request, Step.PARK, reason=TWICE)
    elif hit is not None:
        if is_last_word or finding == Finding.STANDS:
            _found(request, hit, late=late)
    elif late:
        _not_found(request, policy, document, undecided=finding == Finding.UNDECIDED)


def _opens_now(request: OutboundRequest) -> bool:
    """A reply that was kept unread may open under a key that was imported since."""
    kept = payloads.open_reply(request)
    if kept is None or kept.readable or not _is_of_the_last_try(request, kept):
        return False
    try:
        plain = sending.decrypt(str(request.organization), kept.content, status=kept.status_code)
    except CybsError:
        return False
    facts = Facts(
        safety=request.safety,
        phase=Phase.ANSWERING,
        sent=True,
        status=kept.status_code,
        body=plain,
        earlier=may_have_landed_before(request),
    )
    verdict = outcomes.judge(facts, now=timezone.now())
    if verdict.then != Then.END:
        return False
    reply = StoredReply(status_code=kept.status_code, content=plain)
    told = {"outcome": verdict.outcome, "gateway_id": verdict.gateway_id}
    return _answer(request, reply, http_status=reply.status_code, **told)


def _is_of_the_last_try(request: OutboundRequest, kept: StoredReply) -> bool:
    """What an earlier one was told says nothing of the last, nor of what is being undone."""
    unread = {"reason__in": outcomes.UNREAD, "http_status": kept.status_code}
    last = request.attempts.filter(number=request.attempt, **unread)
    return request.reason != UNDOING and last.exists()


def _found(request: OutboundRequest, hit: hits.Hit, *, late: bool) -> None:
    if request.reason == UNDOING and not late:
        return  # what undoes it may still be on its way
    reply = StoredReply(status_code=200, content=hit.content)
    _answer(request, reply, outcome=hit.outcome, gateway_id=hit.id, found=True)


def _not_found(
    request: OutboundRequest, policy: safety.Policy, document: dict[str, Any], *, undecided: bool
) -> None:
    taken = request.attempts.filter(kind__in=_TAKEN, http_status__range=(200, 299))
    told = taken.filter(reason__in=outcomes.TAKEN).last()
    doubt = UndecidedError() if undecided else _doubt_of(taken)
    if told is not None:
        _step(request, Step.PARK, reason=told.reason)
    elif policy == "void":
        _undo(request, document, doubt)
    elif doubt is not None:
        raise doubt
    elif policy == "resend" and request.attempt >= conf.current().queue.tries:
        _step(request, Step.PARK, reason="exhausted")
    elif policy == "resend":
        # Under the same transactionId: should it be there after all, the gateway refuses this one.
        _step(request, Step.REPEAT, reason="absent")
    else:
        _step(request, Step.PROVE_ABSENT, outcome="")


def _doubt_of(taken: QuerySet[Attempt]) -> LookupFailedError | None:
    """That nothing is there contradicts a 2xx, whose body was lost, or that did not know."""
    known = Q(kind=Attempt.Kind.ANSWERED) | Q(reason=outcomes.REPLY_LOST)
    if taken.filter(known).exists():
        return ContradictedError()
    return UndecidedError() if taken.exists() else None


def _undo(
    request: OutboundRequest, document: dict[str, Any], doubt: LookupFailedError | None
) -> None:
    """Once it was begun, no answer of before says any more that the payment stands."""
    if not _hold(request, reason=UNDOING, fence_at=_fence_of_undoing(request)):
        return
    undone = gateway_lookup.undo(request, document)
    failpoints.reached("undone")
    if undone:
        _step(request, Step.VOID, outcome="VOIDED")
    elif doubt is not None:
        raise doubt  # the search has just shown it, or its answer did: it is not absent
    else:
        _step(request, Step.PROVE_ABSENT, outcome="")


def _fence_of_undoing(request: OutboundRequest) -> datetime:
    """Until then what undoes it may still be processed, should its answer be lost."""
    settings = conf.current()
    times, lifetime = settings.queue, settings.profile(request.host).lifetime
    return database_clock.now() + timedelta(seconds=lifetime + times.gateway + times.skew)


def _answer(request: OutboundRequest, reply: StoredReply, **facts: Any) -> bool:
    sealed = payloads.seal_reply(request, reply)
    return _step(request, Step.ANSWER, sealed_reply=sealed, **facts)
