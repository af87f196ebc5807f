"""Write down what a try came to: the row and its attempt, both or neither."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any, Final, TypeVar

import django.db
from django.db import connection, transaction

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import CybsError, OutcomeUnknown, QueueError
from django_cybs_jwt.models import Attempt, OutboundRequest, RequestState, Safety
from django_cybs_jwt.services.queue import (
    breakers,
    bulkheads,
    database_clock,
    failpoints,
    outcomes,
    payloads,
    request_facts,
    retrying,
    telemetry,
    telling,
)
from django_cybs_jwt.services.queue.outcomes import Then, Verdict
from django_cybs_jwt.services.queue.payloads import StoredReply
from django_cybs_jwt.services.queue.states import TABLE, TERMINAL, TWICE, UNDOING, Step, move

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_MOST_401: Final = 3
_MOST_429: Final = 30  # that are counted: the wait has grown to its longest by then
_PAUSE: Final = 0.5  # seconds between two tries to write a result down
# The last is PostgreSQL's for a server that is read-only until its failover is over.
_AWAY: Final = (django.db.OperationalError, django.db.InterfaceError, django.db.InternalError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One try, judged. *reply* is what is kept of the answer; *report* explains a 401."""

    verdict: Verdict
    phase: str
    reused: bool = False
    key_id: str = ""
    status: int | None = None
    correlation_id: str = ""
    error: str = ""
    report: str = ""
    elapsed_ms: int | None = None
    request_encrypted: bool | None = None
    reply_encrypted: bool | None = None
    reply: StoredReply | None = field(default=None, repr=False)


def settle(request: OutboundRequest, result: Result) -> None:
    """Record *result* for the attempt that *request* is in; it then says where it stands.

    A database that is away is waited for until the lease ends; then the sweeper takes over.
    """
    failpoints.reached("recording")
    settled = insist(partial(_record, request, result), until=request.due_at)
    request.__dict__.update(settled.__dict__)
    failpoints.reached("recorded")
    try:
        _pass_on_what_was_learnt(request, result)
    except Exception:
        # The row says what became of it, and who sent it must hear that.
        logger.exception("What follows from request %s failed", request.pk)


def _pass_on_what_was_learnt(request: OutboundRequest, result: Result) -> None:
    if result.verdict.then == Then.END:
        retrying.budget.give(request.host)
    breakers.learn(request, result.verdict)
    logger.info(
        "Request %s attempt %d: %s%s -> %s",
        request.pk,
        request.attempt,
        result.verdict.kind,
        f" ({result.verdict.reason})" if result.verdict.reason else "",
        request.state,
        extra=request_facts.as_extra(request),
    )
    telemetry.tried(request, kind=result.verdict.kind, elapsed_ms=result.elapsed_ms)
    bulkheads.pass_on(request)


def insist(ask: Callable[[], Answer], *, until: datetime | None) -> Answer:
    """What *ask* returns, asked again until then while the database is away, or a standby."""
    while True:
        try:
            return ask()
        except _AWAY:
            # A COMMIT whose reply was lost may have worked: writing it again changes nothing.
            if until is None or database_clock.carried() >= until:
                raise
            logger.warning("The database is away and a result waits for it; trying again")
            connection.close()
            time.sleep(_PAUSE)


def _record(request: OutboundRequest, result: Result) -> OutboundRequest:
    now = database_clock.now()
    row = copy(request)  # what a failed statement made of it must not stay
    tried = Attempt(
        request=row,
        number=row.attempt,
        jti=row.jti or "",
        owner=row.owner,
        started_at=row.sent_at or now,
        **_of_attempt(row, result, now),
    )
    if not _step(row, result, now, tried=tried):
        try:
            with transaction.atomic():
                _record_late(row, result, now, tried)
        except OutboundRequest.DoesNotExist:
            _store_again(row, result, now, tried)
    return row


def _record_late(row: OutboundRequest, result: Result, now: datetime, tried: Attempt) -> None:
    """The owner of a lease that has ended comes back: a real answer beats a guess."""
    number, before, fence = row.attempt, row.state, row.fence_at
    # Locked: who begins to undo it meanwhile must see the answer, or the answer the undoing.
    row.refresh_from_db(from_queryset=OutboundRequest.objects.select_for_update())
    kind = row.attempts.filter(jti=tried.jti).values_list("kind", flat=True).first()
    if kind is None:
        _record_forgotten(row, result, now, tried, fence)
    elif kind != Attempt.Kind.LOST:
        # Recorded before, by a COMMIT that was not acknowledged: nobody was told of it then.
        telling.moved(row, before, now=now)
    elif _says_something(result):
        ends = result.verdict.then == Then.END
        if not (ends and _beats(row, number) and _step(row, result, now)):
            _keep(row, result, number, now)
        row.attempts.filter(number=number).update(**_of_attempt(row, result, now))


def _says_something(result: Result) -> bool:
    """An answer; or a 2xx, which says that it was processed where it does not say what it is."""
    return result.verdict.then == Then.END or 200 <= (result.status or 0) < 300


def _record_forgotten(
    row: OutboundRequest, result: Result, now: datetime, tried: Attempt, fence: datetime | None
) -> None:
    """A standby that was promoted does not know the claim under which this was sent.

    So it is one try more, whatever became of the row since. It ends a row that nothing else can
    have been sent for; else all of them are looked up together.
    """
    logger.error("The database has forgotten try %d of request %s", tried.number, row.pk)
    if result.verdict.then not in (Then.END, Then.DOUBT):
        return  # it was not processed
    tried.request, tried.number = row, row.attempt + 1
    if row.state in TERMINAL or row.reason in (UNDOING, TWICE):
        _record_in_vain(row, result, now, tried)
        return
    waits = row.state == RequestState.QUEUED
    if not waits and not (row.state == RequestState.PARKED and not row.maybe_sent):
        result = _doubted(row, result, now, tried)
    fences = [each for each in (fence, row.fence_at) if each is not None]
    claim = {"attempt": tried.number, "jti": tried.jti or None, "owner": tried.owner}
    _step(row, result, now, tried=tried, **claim, fence_at=max(fences, default=None))


def _doubted(row: OutboundRequest, result: Result, now: datetime, tried: Attempt) -> Result:
    """An answer, told aloud, and no end: another try may be processed, or has been."""
    if result.verdict.then == Then.END:
        _tell_late(row, result, tried.number, now)
    doubt = replace(result.verdict, then=Then.DOUBT, reason=result.verdict.reason or "forgotten")
    return replace(result, verdict=doubt)


def _record_in_vain(row: OutboundRequest, result: Result, now: datetime, tried: Attempt) -> None:
    """It has ended, perhaps as one that was never sent."""
    if row.state in TERMINAL:
        tried.save(force_insert=True)
        OutboundRequest.objects.filter(pk=row.pk).update(maybe_sent=True)
    _keep(row, result, tried.number, now)


def _store_again(row: OutboundRequest, result: Result, now: datetime, tried: Attempt) -> None:
    """The same, where it does not know the row either."""
    logger.error("The database has forgotten request %s: it is stored again", row.pk)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            _step(row, result, now, tried=tried)
    except django.db.IntegrityError:
        with transaction.atomic():
            _record_beside(row, result, now, tried)


def _record_beside(row: OutboundRequest, result: Result, now: datetime, tried: Attempt) -> None:
    """Its caller has made it again: then the try is one of that row's."""
    same = {"idempotency_key": row.idempotency_key, "fingerprint": row.fingerprint}
    locked = OutboundRequest.objects.select_for_update()
    made = locked.filter(organization=row.organization_id, **same).first()
    if made is None:
        raise _lost(row, result)
    made.organization = row.organization
    if not made.attempts.filter(jti=tried.jti).exists():  # by a COMMIT that was not acknowledged
        _record_forgotten(made, result, now, tried, row.fence_at)
    row.__dict__.update(made.__dict__)


def _lost(row: OutboundRequest, result: Result) -> CybsError:
    if result.verdict.then == Then.RETRY:
        return QueueError(
            "The database has lost request {request} and does not take it again. It was not "
            "processed: make it anew.",
            request=row.pk,
        )
    return OutcomeUnknown(
        "The database has lost request {request}, whose outcome was {outcome!r}, and does not "
        "take it again. Look it up at the gateway.",
        request=row.pk,
        outcome=result.verdict.outcome,
        gateway_id=result.verdict.gateway_id,
    )


def _beats(row: OutboundRequest, number: int) -> bool:
    """True where the answer to try *number* still says how it stands."""
    current = row.attempt == number and row.state in TABLE[Step.ANSWER].sources
    return current and row.reason not in (UNDOING, TWICE)


def _keep(row: OutboundRequest, result: Result, number: int, now: datetime) -> None:
    """It changes the row no more: kept where nothing is, and told aloud where it is news."""
    if row.safety == Safety.SAFE or _is_no_news(row, result.verdict.gateway_id):
        return
    if result.reply is not None:
        stored = OutboundRequest.objects.filter(pk=row.pk)
        sealed = payloads.seal_reply(row, result.reply)
        stored.filter(sealed_reply=None).update(sealed_reply=sealed)
        # To be shredded with the others of its day.
        stored.filter(state__in=TERMINAL, due_at=None).update(due_at=now)
    if row.state == RequestState.IN_DOUBT and result.verdict.then != Then.END:
        return  # who clears it up reads it
    _tell_late(row, result, number, now)


def _is_no_news(row: OutboundRequest, gateway_id: str) -> bool:
    same = row.state == RequestState.ANSWERED and row.gateway_id == gateway_id
    # Two payouts without an id may be two.
    return same and (bool(gateway_id) or row.safety == Safety.REPEATABLE)


def _tell_late(row: OutboundRequest, result: Result, number: int, now: datetime) -> None:
    told = {"outcome": result.verdict.outcome, "gateway_id": result.verdict.gateway_id}
    telling.answered_late(row, now=now, attempt=number, http_status=result.status, **told)


def _step(
    row: OutboundRequest,
    result: Result,
    now: datetime,
    *,
    tried: Attempt | None = None,
    **claim: Any,
) -> bool:
    step, changes = following(row, result.verdict, now=now)
    if result.reply is not None:
        changes["sealed_reply"] = payloads.seal_reply(row, result.reply)
    changes |= {
        "reason": result.verdict.reason,
        "http_status": result.status,
        "outcome": result.verdict.outcome,
        "gateway_id": result.verdict.gateway_id,
        "correlation_id": result.correlation_id[:64],
    }
    return move(row, step, now=now, beside=tried, **changes, **claim)


def following(
    request: OutboundRequest, verdict: Verdict, *, now: datetime
) -> tuple[Step, dict[str, Any]]:
    """The step that a verdict asks for, and what changes with it."""
    if verdict.then == Then.END:
        return Step.ANSWER, {}
    if verdict.then == Then.PARK:
        return Step.PARK, {}
    if verdict.then == Then.DOUBT:
        return Step.DOUBT, {"maybe_sent": True, **_in_doubt(request, now)}
    if verdict.reason == outcomes.UNAUTHORIZED and _refused_before(request) >= _MOST_401 - 1:
        # The gateway locks out who knocks for ever with a key that it refuses.
        return Step.PARK, {}
    changes = again(request, verdict, now=now)
    return (Step.PARK, {}) if changes is None else (Step.RETRY, changes)


def _refused_before(request: OutboundRequest) -> int:
    return request.attempts.filter(reason=outcomes.UNAUTHORIZED).count()


def again(request: OutboundRequest, verdict: Verdict, *, now: datetime) -> dict[str, Any] | None:
    """What changes for another try; None when there were enough."""
    failures = request.failures + verdict.counts
    if failures >= conf.current().queue.tries:
        return None
    due = now + timedelta(seconds=_delay(request, verdict, failures))
    if request.deadline is not None:
        # To be marked as expired then, not to be sent.
        due = min(due, max(request.deadline, now))
    return {"failures": failures, "due_at": due}


def _delay(request: OutboundRequest, verdict: Verdict, failures: int) -> float:
    """Seconds until the next try."""
    if verdict.reason == outcomes.TOO_MANY:
        # No failure of the request, nor of the host, whose budget others share; but a gateway
        # that has had enough must not be asked for ever at the same pace.
        return verdict.after + retrying.spread(retrying.longest(_slowed_before(request) + 1))
    if not verdict.counts:
        return verdict.after + retrying.spread(0.4)
    return retrying.wait(request.host, failures, at_least=verdict.after)


def _slowed_before(request: OutboundRequest) -> int:
    """How many of its last tries were told 429, one after another."""
    last = request.attempts.order_by("-number").values_list("reason", flat=True)[:_MOST_429]
    return len(list(takewhile(lambda reason: reason == outcomes.TOO_MANY, last)))


def _in_doubt(request: OutboundRequest, now: datetime) -> dict[str, Any]:
    """When it is looked at first: money once the search may know of it."""
    if request.safety not in (Safety.SAFE, Safety.REPEATABLE):
        return {"due_at": now + timedelta(seconds=conf.current().queue.first_look)}
    failures = request.failures + 1
    # The usual cause is a connection that had ended while it was idle: once, at once.
    delay = 0.0 if failures == 1 else retrying.wait(request.host, failures, at_least=0.0)
    return {"failures": failures, "due_at": now + timedelta(seconds=delay)}


def _of_attempt(request: OutboundRequest, result: Result, now: datetime) -> dict[str, Any]:
    started = request.sent_at or now
    elapsed = result.elapsed_ms
    return {
        "kind": result.verdict.kind,
        "reason": result.verdict.reason,
        "phase": result.phase,
        "reused": result.reused,
        "key_id": result.key_id,
        "http_status": result.status,
        "correlation_id": result.correlation_id[:64],
        "error": result.error[:60],
        "report": result.report,
        "request_encrypted": result.request_encrypted,
        "reply_encrypted": result.reply_encrypted,
        "elapsed_ms": elapsed
        if elapsed is not None
        else max(0, int((now - started).total_seconds() * 1000)),
    }
