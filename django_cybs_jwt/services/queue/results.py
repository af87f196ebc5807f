"""What a try came to, and what it changes: the step of the row, the next try, the attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

from django_cybs_jwt import conf
from django_cybs_jwt.models import Attempt, OutboundRequest, Safety
from django_cybs_jwt.services.queue import outcomes, payloads, retrying
from django_cybs_jwt.services.queue.outcomes import Then, Verdict
from django_cybs_jwt.services.queue.payloads import StoredReply
from django_cybs_jwt.services.queue.states import Step, move

_MOST_401: Final = 3
_MOST_429: Final = 30  # that are counted: the wait has grown to its longest by then


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


def take_step(
    row: OutboundRequest,
    result: Result,
    now: datetime,
    *,
    tried: Attempt | None = None,
    **claim: Any,
) -> bool:
    """The step that *result* asks for, with *tried* or not at all; False as `states.move` is."""
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


def of_attempt(request: OutboundRequest, result: Result, now: datetime) -> dict[str, Any]:
    """The columns of the attempt that say how it went."""
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
