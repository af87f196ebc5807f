"""The states of an outbound request: the table of steps, and the one way to take one.

Every step is a compare-and-swap on state and attempt, so of two workers one succeeds and the
other learns it. docs/queue.md draws the table; a test holds the drawing against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import WrongState
from django_cybs_jwt.models import (
    ACTED_ON,
    OPEN,
    Attempt,
    OutboundRequest,
    RequestState,
    Safety,
    words,
)
from django_cybs_jwt.models.requests import RequestState as State
from django_cybs_jwt.services import statements
from django_cybs_jwt.services.queue import telling

TERMINAL: Final = frozenset(RequestState) - frozenset(OPEN)

UNDOING: Final = "undoing"
"""The reason of a row whose undoing was begun: that it was processed no longer says it stands."""
TWICE: Final = "processed_twice"


class Step(StrEnum):
    """What can happen to a request."""

    CLAIM = "claim"
    POSTPONE = "postpone"
    EXPIRE = "expire"
    CANCEL = "cancel"
    ANSWER = "answer"
    RETRY = "retry"
    DOUBT = "doubt"
    LOOK_AGAIN = "look-again"
    REPEAT = "repeat"
    VOID = "void"
    PROVE_ABSENT = "prove-absent"
    PARK = "park"
    RESUME = "resume"
    RECONCILE = "reconcile"
    SETTLE = "settle"


@dataclass(frozen=True, slots=True)
class Transition:
    """From any of *sources* to *target*."""

    sources: frozenset[State]
    target: State


def _to(target: State, *sources: State) -> Transition:
    return Transition(frozenset(sources), target)


TABLE: Final[dict[Step, Transition]] = {
    # Any worker, committed before the first byte.
    Step.CLAIM: _to(State.SENDING, State.QUEUED),
    Step.POSTPONE: _to(State.QUEUED, State.QUEUED),
    Step.EXPIRE: _to(State.EXPIRED, State.QUEUED),
    Step.CANCEL: _to(State.CANCELLED, State.QUEUED, State.PARKED),
    # A real answer beats a guess, so the owner's late one is taken as long as nothing has ended.
    Step.ANSWER: _to(State.ANSWERED, State.SENDING, State.IN_DOUBT, State.QUEUED, State.PARKED),
    # Proof only: not sent, or refused before processing.
    Step.RETRY: _to(State.QUEUED, State.SENDING),
    # From SENDING; from the others where a failover took back the claim under which it was sent.
    Step.DOUBT: _to(State.IN_DOUBT, State.SENDING, State.QUEUED, State.PARKED, State.IN_DOUBT),
    # The resolver.
    Step.LOOK_AGAIN: _to(State.IN_DOUBT, State.IN_DOUBT),
    Step.REPEAT: _to(State.QUEUED, State.IN_DOUBT),
    Step.VOID: _to(State.VOIDED, State.IN_DOUBT),
    Step.PROVE_ABSENT: _to(State.ABSENT, State.IN_DOUBT),
    Step.PARK: _to(State.PARKED, State.QUEUED, State.SENDING, State.IN_DOUBT),
    # A person, with a reason.
    Step.RESUME: _to(State.QUEUED, State.PARKED),
    Step.RECONCILE: _to(State.IN_DOUBT, State.PARKED),
    Step.SETTLE: _to(State.ANSWERED, State.PARKED),
}


def move(
    request: OutboundRequest,
    step: Step,
    *,
    now: datetime,
    as_due: bool = False,
    beside: Attempt | None = None,
    **changes: Any,
) -> bool:
    """Take *step* with *changes* if the row still is what was read; *as_due*: due as it was, too.

    *beside* is stored with it, or not at all.

    True when it was taken; the instance then says what the row says. False when somebody was
    faster: read it again. Raises WrongState for a step that the table does not have.
    """
    transition = TABLE[step]
    if request.state not in transition.sources:
        allowed = ", ".join(sorted(transition.sources))
        raise WrongState(
            "Request {request} is {state}; {step!r} is possible from {allowed}.",
            request=request.pk,
            state=request.state,
            step=words.action(step),
            allowed=allowed,
        )
    values = _consequences(transition.target, now) | changes | {"state": transition.target}
    read = {"id": request.pk, "state": request.state, "attempt": request.attempt}
    if request.state == State.SENDING and request.jti is not None:
        # After a failover another worker may hold a claim of the same number.
        read["jti"] = request.jti
    if as_due:
        read["due_at"] = request.due_at
    if not statements.update(OutboundRequest, read, values, beside=beside):
        return False
    before = request.state
    for name, value in values.items():
        setattr(request, name, value)
    telling.moved(request, before, now=now)
    return True


def expire(request: OutboundRequest, *, now: datetime) -> bool:
    """Its deadline has passed: an end where nothing was sent, else a person's business."""
    if request.maybe_sent and request.safety != Safety.SAFE:
        return move(request, Step.PARK, now=now, reason="deadline_passed")
    return move(request, Step.EXPIRE, now=now)


def begin_sending(request: OutboundRequest, **changes: Any) -> None:
    """Make a row that is not stored yet the write-ahead of its own first attempt."""
    for name, value in (changes | {"state": State.SENDING, "attempt": 1}).items():
        setattr(request, name, value)


def _consequences(target: State, now: datetime) -> dict[str, Any]:
    if target in ACTED_ON:
        # Whoever was rung before was rung for something else.
        return {"due_at": now, "reason": "", "rung_at": None, "rings": 0}
    if target == State.PARKED:
        return {"due_at": None}
    keep = conf.current()
    payload, reply = keep.KEEP_PAYLOAD_DAYS, keep.KEEP_REPLY_DAYS
    first = min(payload, reply) if payload else reply
    ending: dict[str, Any] = {"finished_at": now, "due_at": now + timedelta(days=first)}
    return ending if payload else ending | {"sealed_payload": None}
