"""Carry out one row: prepare, claim, send, judge, record.

`work` is what every worker calls, whoever told it the id. It may be called twice at once or long
after the row has ended; only one call sends.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.client import Client, Parcel, Reply
from django_cybs_jwt.client.outcome import Trace
from django_cybs_jwt.exceptions import (
    BodyNotEncryptable,
    ConfigurationError,
    CybsError,
    EncryptionImpossible,
    KeyBlocked,
    KeyMismatch,
    KeyNotUsable,
    KeyUnavailable,
    LiveRefused,
    MessageError,
    NoKey,
    NotSent,
    OpenTransaction,
    OrganizationInactive,
    OutcomeUnknown,
    ReplyUnreadable,
    SecretIntegrityError,
)
from django_cybs_jwt.models import Attempt, OutboundRequest
from django_cybs_jwt.services import sending
from django_cybs_jwt.services.queue import (
    breakers,
    database_clock,
    durability,
    failpoints,
    outcomes,
    payloads,
    retrying,
    telemetry,
)
from django_cybs_jwt.services.queue.outcomes import Facts, Then, Verdict
from django_cybs_jwt.services.queue.payloads import Payload, StoredReply
from django_cybs_jwt.services.queue.results import Result, again
from django_cybs_jwt.services.queue.settling import insist, settle
from django_cybs_jwt.services.queue.states import Step, expire, move
from django_cybs_jwt.tracebacks import forgetful

logger = logging.getLogger(__name__)

_HOPELESS: Final = (MessageError, SecretIntegrityError, KeyMismatch)
"""They come back unchanged at every try: a person must look."""

_OF_THIS_WORKER: Final = (ConfigurationError, LiveRefused, KeyUnavailable, KeyBlocked)
_OF_THE_MERCHANT: Final = (NoKey, KeyNotUsable, OrganizationInactive, EncryptionImpossible)
_WAITS: Final = (*_OF_THIS_WORKER, *_OF_THE_MERCHANT)
"""They say nothing against the request: another worker may be configured well, and a key, a
certificate or the merchant itself may come back."""


@forgetful
def send_due(request: OutboundRequest, *, now: datetime) -> None:
    """Send a queued row that is due; it then says where it stands.

    Raises OpenTransaction inside a transaction: what is sent could not be rolled back.
    """
    refuse_open_transaction()
    durability.require()
    parcel = take(request, now=now)
    if parcel is not None:
        deliver(request, parcel)


def take(request: OutboundRequest, *, now: datetime) -> Parcel | None:
    """The sealed message of a queued row that is now ours alone; None where there is none.

    Sealed first: the token's end is what limits how late the message can still be processed,
    however long this process then stands still.
    """
    if request.deadline is not None and request.deadline <= now:
        expire(request, now=now)
        return None
    if _must_wait(request, now):
        return None
    try:
        parcel = prepare(request, payloads.open_payload(request))
    except Exception as error:  # noqa: BLE001  # whatever it is, nothing was sent
        breakers.give_back(request)
        _put_off(request, error, now)
        return None
    failpoints.reached("prepared")
    if _claim(request, parcel):
        return parcel
    breakers.give_back(request)
    return None


def prepare(request: OutboundRequest, payload: Payload) -> Parcel:
    """Sign and encrypt; a new token each time. Raises CybsError, and then nothing was sent."""
    parcel = sending.pack(
        str(request.organization),
        payload.method,
        payload.path,
        payloads.body_to_send(request, payload),
        mle=payload.mle,
        headers=payload.headers,
    )
    if failpoints.ARMED:
        parcel.trace = Trace(failpoints.on_the_wire)
    return parcel


def client_of(request: OutboundRequest) -> Client:
    """A client for the row's merchant."""
    return sending.client(str(request.organization))


def mark(parcel: Parcel, *, attempt: int, now: datetime) -> dict[str, Any]:
    """What a row says while this message may be on the wire."""
    times = conf.current().queue
    # By both clocks: the gateway holds the token's end against its own.
    left = parcel.expires_at - timezone.now()
    ends = max(parcel.expires_at, now + left) + timedelta(seconds=times.gateway + times.skew)
    return {
        "attempt": attempt,
        "jti": parcel.sealed.jti,
        "owner": _owner(),
        "sent_at": now,
        "due_at": now + timedelta(seconds=times.lease),
        "fence_at": ends,
        "looks": 0,
    }


def _claim(request: OutboundRequest, parcel: Parcel) -> bool:
    """Compare and swap; what names the token is committed before its first byte leaves."""
    now = database_clock.now()
    if not _is_due(request, now):
        return False
    failpoints.reached("claiming")
    refuse_open_transaction()  # so this one statement commits by itself
    facts = mark(parcel, attempt=request.attempt + 1, now=now)
    return move(request, Step.CLAIM, now=now, as_due=True, **facts)


def _is_due(request: OutboundRequest, now: datetime) -> bool:
    if request.due_at is None or request.due_at > now:
        return False
    return request.deadline is None or request.deadline > now


def deliver(request: OutboundRequest, parcel: Parcel) -> None:
    """Send a claimed message once and record what came of it, whatever that is."""
    with telemetry.attempt(request):
        _exchange(request, parcel)


def _exchange(request: OutboundRequest, parcel: Parcel) -> None:
    failpoints.reached("claimed")
    started = time.monotonic()
    try:
        with client_of(request) as http:
            reply = Reply.of(http.dispatch(parcel), received_at=timezone.now())
    except BaseException as error:
        # A worker that is told to stop, a soft time limit, a bug: the bytes may have left.
        settle(request, of_error(request, parcel, error, started=started))
        if isinstance(error, CybsError):
            return
        raise
    failpoints.reached("answered")
    settle(request, of_reply(request, parcel, reply, started=started))


def of_reply(request: OutboundRequest, parcel: Parcel, reply: Reply, *, started: float) -> Result:
    """What an answer comes to."""
    facts = Facts(
        safety=request.safety,
        phase=parcel.trace.phase,
        sent=True,
        reused=parcel.trace.reused,
        status=reply.status_code,
        body=reply.content,
        retry_after=reply.headers.get("retry-after"),
        earlier=reply.status_code == 400 and may_have_landed_before(request),
    )
    verdict = outcomes.judge(facts, now=timezone.now())
    keep = StoredReply(status_code=reply.status_code, content=reply.content)
    return Result(
        verdict=verdict,
        phase=facts.phase,
        reused=facts.reused,
        key_id=parcel.sealed.kid,
        status=facts.status,
        correlation_id=reply.headers.get("v-c-correlation-id", ""),
        report=_report(reply) if reply.status_code == 401 else "",
        elapsed_ms=_since(started),
        request_encrypted=reply.request_encrypted,
        reply_encrypted=reply.encrypted,
        reply=keep if verdict.then != Then.RETRY else None,
    )


def of_error(
    request: OutboundRequest, parcel: Parcel, error: BaseException, *, started: float
) -> Result:
    """What a try without a usable answer comes to."""
    unread = isinstance(error, ReplyUnreadable) and parcel.trace.status is not None
    facts = Facts(
        safety=request.safety,
        phase=parcel.trace.phase,
        sent=_may_have_left(parcel.trace, error),
        reused=parcel.trace.reused,
        error=_name(error),
        status=parcel.trace.status,
    )
    correlation_id = error.facts.get("correlation_id") if isinstance(error, CybsError) else None
    return Result(
        verdict=outcomes.judge(facts, now=timezone.now()),
        phase=facts.phase,
        reused=facts.reused,
        key_id=parcel.sealed.kid,
        status=facts.status,
        correlation_id=correlation_id or "",
        error=facts.error,
        elapsed_ms=_since(started),
        request_encrypted=parcel.sealed.request_encrypted,
        # Another of the owner's keys may open it yet.
        reply=StoredReply(
            status_code=parcel.trace.status or 0, content=parcel.unread, readable=False
        )
        if unread
        else None,
    )


def refuse_open_transaction() -> None:
    """OpenTransaction where the database would take back what the wire cannot."""
    if not connection.in_atomic_block:
        if not connection.get_autocommit():
            raise OpenTransaction
        return
    try:
        # Django knows the transaction of a TestCase from one that may really roll back.
        with transaction.atomic(durable=True):
            pass
    except RuntimeError:
        raise OpenTransaction from None


def _must_wait(request: OutboundRequest, now: datetime) -> bool:
    pause = breakers.wait(request)
    if not pause:
        return False
    due = now + timedelta(seconds=pause + retrying.spread(1.0))
    if request.deadline is not None:
        due = min(due, request.deadline)
    move(request, Step.POSTPONE, now=now, due_at=due, reason="breaker_open")
    return True


def _put_off(request: OutboundRequest, error: Exception, now: datetime) -> None:
    logger.warning("Request %s cannot be prepared: %s", request.pk, type(error).__name__)
    reason = type(error).__name__[:40]
    waits = isinstance(error, _WAITS) and not isinstance(error, BodyNotEncryptable)
    hopeless = isinstance(error, _HOPELESS) and not waits
    verdict = Verdict(
        kind=Attempt.Kind.NOT_SENT,
        then=Then.RETRY,
        reason=reason,
        after=60.0 if waits else 1.0,
        counts=not waits,
    )
    changes = None if hopeless else again(request, verdict, now=now)
    if changes is None:
        move(request, Step.PARK, now=now, reason=reason)
    else:
        move(request, Step.POSTPONE, now=now, reason=reason, **changes)


def _may_have_left(trace: Trace, error: BaseException) -> bool:
    if isinstance(error, NotSent):
        return False
    if isinstance(error, CybsError) and not isinstance(error, OutcomeUnknown):
        return trace.sent
    return not trace.proves_not_sent(error)


def may_have_landed_before(request: OutboundRequest) -> bool:
    """True where a try before this one may have been processed."""
    earlier = request.attempts.filter(number__lt=request.attempt)
    earlier = earlier.exclude(kind=Attempt.Kind.NOT_SENT)
    # The answer is in hand and must not be lost to a database that is away.
    return request.attempt > 1 and insist(earlier.exists, until=request.due_at)


def _name(error: BaseException) -> str:
    """The class of what failed below; never its text, which may quote the request."""
    below = error.facts.get("error") if isinstance(error, CybsError) else None
    return below or type(error).__name__


def _report(reply: Reply) -> str:
    """Why a 401 came back; empty where that cannot be told, which costs no verdict."""
    try:
        told = str(reply.explain())
    except Exception as error:  # noqa: BLE001  # whatever it is, the answer is in hand
        logger.warning("A 401 cannot be explained: %s", type(error).__name__)
        return ""
    # A path may carry a token or a card number, and a report is kept in clear.
    return "\n".join(line for line in told.splitlines() if "request-resource-path" not in line)


def _owner() -> str:
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{threading.get_ident()}"


def _since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
