"""Clear up a request in doubt: never by guessing, and never by sending money again unasked."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.client import Phase
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services import sending
from django_cybs_jwt.services.queue import failpoints, gateway_lookup, outcomes, payloads, safety
from django_cybs_jwt.services.queue.executing import refuse_open_transaction
from django_cybs_jwt.services.queue.gateway_lookup import Hit
from django_cybs_jwt.services.queue.outcomes import Facts, Then
from django_cybs_jwt.services.queue.payloads import StoredReply
from django_cybs_jwt.services.queue.states import Step, move
from django_cybs_jwt.tracebacks import forgetful

logger = logging.getLogger(__name__)


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
    elif _take_turn(request, now):
        refuse_open_transaction()
        try:
            _clear_up(request, policy, now)
        except CybsError as error:
            # A search that failed is not a search that found nothing.
            logger.warning("Request %s stays in doubt: %s", request.pk, type(error).__name__)
            if request.looks >= conf.current().queue.looks and _past_fence(request, now):
                move(request, Step.PARK, now=now, reason=f"unclear:{type(error).__name__}"[:40])


def _repeat(request: OutboundRequest, now: datetime) -> None:
    if request.failures >= conf.current().queue.tries:
        move(request, Step.PARK, now=now, reason=request.reason or "exhausted")
    else:
        move(request, Step.REPEAT, now=now, reason=request.reason)


def _take_turn(request: OutboundRequest, now: datetime) -> bool:
    """Plan the next look before this one: one resolver at a time, and none is missed."""
    times = conf.current().queue
    delay = min(times.longest_retry, max(times.first_look, 1.0) * 2.0 ** min(request.looks, 20))
    due = now + timedelta(seconds=delay)
    if request.fence_at is not None and now < request.fence_at:
        due = min(due, request.fence_at)
    as_read = Q(due_at=request.due_at)
    changes = {"looks": request.looks + 1, "due_at": due, "reason": request.reason}
    return move(request, Step.LOOK_AGAIN, now=now, only=as_read, **changes)


def _past_fence(request: OutboundRequest, now: datetime) -> bool:
    return request.fence_at is not None and now >= request.fence_at


def _clear_up(request: OutboundRequest, policy: safety.Policy, now: datetime) -> None:
    if _opens_now(request, now):
        return
    payload = payloads.open_payload(request)
    document = payload.document
    found = gateway_lookup.hits(request, document)
    if found:
        _found(request, found, now)
    elif _past_fence(request, now):
        _absent(request, policy, document, now)


def _opens_now(request: OutboundRequest, now: datetime) -> bool:
    """A reply that was kept unread may open under a key that was imported since."""
    kept = payloads.open_reply(request)
    if kept is None or kept.readable:
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
    )
    verdict = outcomes.judge(facts, now=timezone.now())
    if verdict.then != Then.END:
        return False
    reply = StoredReply(status_code=kept.status_code, content=plain)
    told = {"outcome": verdict.outcome, "gateway_id": verdict.gateway_id}
    return _answer(request, reply, now=now, **told)


def _found(request: OutboundRequest, found: list[Hit], now: datetime) -> None:
    originals = [hit for hit in found if not hit.undoes]
    if any(hit.undoes and hit.succeeded for hit in found) or any(hit.undone for hit in originals):
        move(request, Step.VOID, now=now, outcome="VOIDED", found=True)
    elif len(originals) == 1:
        hit = originals[0]
        reply = StoredReply(status_code=200, content=hit.content)
        _answer(request, reply, now=now, outcome=hit.status, gateway_id=hit.id[:64], found=True)
    elif originals:
        logger.error("Request %s was processed %d times", request.pk, len(originals))
        move(request, Step.PARK, now=now, reason="processed_twice")


def _absent(
    request: OutboundRequest, policy: safety.Policy, document: dict[str, Any], now: datetime
) -> None:
    if policy == "resend":
        # Under the same transactionId: should it be there after all, the gateway refuses this one.
        move(request, Step.REPEAT, now=now, reason="absent")
        return
    undone = policy == "void" and gateway_lookup.undo(request, document)
    failpoints.reached("undone")
    if undone:
        move(request, Step.VOID, now=now, outcome="VOIDED")
    else:
        move(request, Step.PROVE_ABSENT, now=now)


def _answer(request: OutboundRequest, reply: StoredReply, *, now: datetime, **facts: Any) -> bool:
    sealed = payloads.seal_reply(request, reply)
    if not facts.get("found"):
        facts["http_status"] = reply.status_code
    return move(request, Step.ANSWER, now=now, sealed_reply=sealed, **facts)
