"""What a person does with a request that stands: retry, cancel, reconcile, settle. Audited.

Each takes a reason. What may have been processed is neither sent again nor called unsent without
*force*: whoever forces it has looked at the gateway.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from django_cybs_jwt.exceptions import QueueError, WrongState
from django_cybs_jwt.models import ACTED_ON, OutboundRequest, Safety
from django_cybs_jwt.services import audit, doorbell
from django_cybs_jwt.services.queue import safety
from django_cybs_jwt.services.queue.states import TABLE, UNDOING, Step, move
from django_cybs_jwt.texts import Text

_CURE: Final = Text("Reconcile it; force this only after you have looked at the gateway.")
_REPEAT: Final = Text("Retry it, which does no harm, or cancel it by force.")
_TOO_LATE: Final = Text(
    "Its deadline has passed: look at the gateway, then settle it, or cancel it by force."
)
_WORD: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")
_ID: Final = re.compile(r"[A-Za-z0-9-]{0,64}\Z")


def listing() -> QuerySet[OutboundRequest]:
    """Requests with their organizations, the newest first; never what is sealed."""
    rows = OutboundRequest.objects.select_related("organization")
    return rows.defer("sealed_payload", "sealed_reply")


def find(request_id: str) -> OutboundRequest | None:
    """The request with that id."""
    try:
        return listing().filter(pk=UUID(request_id)).first()
    except ValueError:
        return None


def may_have_moved_money(request: OutboundRequest) -> bool:
    """True where sending it again could do its work twice."""
    return may_have_worked(request) and request.safety != Safety.REPEATABLE


def may_have_worked(request: OutboundRequest) -> bool:
    """True where calling it unsent could be a lie."""
    return request.maybe_sent and request.safety != Safety.SAFE


def _cure_of_doubt(request: OutboundRequest, now: datetime) -> Text:
    if safety.policy(request) != "repeat":
        return _CURE
    in_time = request.deadline is None or request.deadline > now
    return _REPEAT if in_time else _TOO_LATE


def retry(
    request: OutboundRequest, *, actor: str, now: datetime, reason: str, force: bool = False
) -> None:
    """Put a parked request back into the queue, with all its tries."""
    refusal = ""
    if request.deadline is not None and request.deadline <= now:
        refusal = Text("Its deadline has passed: nothing leaves after it. Settle it, or cancel it.")
    elif may_have_moved_money(request) and not force:
        refusal = Text(
            "It may have been processed: sent again it could charge twice. {cure}", cure=_CURE
        )
    told = _Told(actor=actor, now=now, reason=reason, refusal=refusal)
    _take(request, Step.RESUME, "retry-request", told, waiting_since=now, failures=0, rung_at=now)


def cancel(
    request: OutboundRequest, *, actor: str, now: datetime, reason: str, force: bool = False
) -> None:
    """End a request that was not sent."""
    risky = may_have_worked(request) and not force
    cure = _cure_of_doubt(request, now)
    refusal = Text("It may have been processed, and this undoes nothing. {cure}", cure=cure)
    told = _Told(actor=actor, now=now, reason=reason, refusal=refusal if risky else "")
    _take(request, Step.CANCEL, "cancel-request", told)


def reconcile(request: OutboundRequest, *, actor: str, now: datetime, reason: str) -> None:
    """Let the resolver look again at a parked request that may have been processed."""
    refusal = ""
    if not request.maybe_sent:
        refusal = Text("It was not sent: there is nothing to look for. Retry or cancel it.")
    elif safety.policy(request) == "repeat":
        cure = _cure_of_doubt(request, now)
        refusal = Text("It is sent again and never looked up by itself. {cure}", cure=cure)
    elif safety.policy(request) == "manual":
        refusal = Text(
            "{operation} cannot be looked up by itself. Look at the gateway, then "
            "settle, cancel or retry it.",
            operation=request.operation,
        )
    told = _Told(actor=actor, now=now, reason=reason, refusal=refusal)
    kept = UNDOING if request.reason == UNDOING else ""
    _take(request, Step.RECONCILE, "reconcile-request", told, looks=0, rung_at=now, reason=kept)


def settle(
    request: OutboundRequest,
    *,
    actor: str,
    now: datetime,
    reason: str,
    outcome: str,
    gateway_id: str = "",
) -> None:
    """Write down what somebody found at the gateway; *outcome* is its word, like AUTHORIZED."""
    refusal = ""
    if not _WORD.match(outcome) or not _ID.match(gateway_id):
        refusal = Text(
            "An outcome is the gateway's word in capitals, like AUTHORIZED; an id has letters, "
            "digits and hyphens."
        )
    told = _Told(actor=actor, now=now, reason=reason, refusal=refusal)
    found = {"outcome": outcome, "gateway_id": gateway_id, "found": True}
    _take(request, Step.SETTLE, "settle-request", told, **found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """Who wants a step, when and why; *refusal* says why it may not be taken, empty if it may."""

    actor: str
    now: datetime
    reason: str
    refusal: str


def _take(request: OutboundRequest, step: Step, action: str, told: _Told, **changes: Any) -> None:
    """The step and its audit row in one transaction; a refusal is audited as denied."""
    organization, before = request.organization, request.state
    with (
        audit.denials(action, actor=told.actor, organization=organization, now=told.now),
        transaction.atomic(),
    ):
        if not told.reason.strip():
            raise QueueError("Say why: a reason is kept in the audit trail.")
        if told.refusal and before in TABLE[step].sources:
            raise WrongState(
                "Request {request}: {refusal}", request=request.pk, refusal=told.refusal
            )
        if not move(request, step, now=told.now, **changes):
            raise WrongState(
                "Request {request} has moved on meanwhile. Look at it again.", request=request.pk
            )
        audit.record(
            audit.Entry(
                action=action,
                actor=told.actor,
                organization=str(organization),
                from_state=before,
                to_state=request.state,
                reason=f"{request.pk}: {told.reason}",
            ),
            now=told.now,
        )
        if request.state in ACTED_ON:
            doorbell.ring_after_commit(request)
