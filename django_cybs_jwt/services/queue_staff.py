"""What a person does with a queued request: cancel, resume, reconcile, settle. Audited."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from django_cybs_jwt.exceptions import QueueError, WrongState
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services import audit, executing
from django_cybs_jwt.services.sending_states import Step, move


def cancel(request_id: UUID, *, actor: str, now: datetime, reason: str = "") -> OutboundRequest:
    """End a request that cannot have been processed; WrongState for any other."""
    request = _find(request_id)
    _refuse_maybe_sent(request, "Reconcile it instead.")
    return _take(request, Step.CANCEL, actor=actor, now=now, reason=reason)


def resume(
    request_id: UUID, *, actor: str, now: datetime, reason: str, force: bool = False
) -> OutboundRequest:
    """Send a parked request again; one that may have been processed only with *force*.

    It keeps its transactionId, so the gateway refuses it should it have been processed.
    """
    request = _find(request_id)
    if not force:
        _refuse_maybe_sent(request, "Reconcile it, or force it if you know that it was not.")
    return _take(request, Step.RESUME, actor=actor, now=now, reason=reason, failures=0)


def reconcile(request_id: UUID, *, actor: str, now: datetime, reason: str) -> OutboundRequest:
    """Let the resolver look at a parked request again, now."""
    request = _find(request_id)
    if request.fence_at is None:
        raise WrongState("It was never sent, so there is nothing to look for. Resume or cancel it.")
    return _take(request, Step.RECONCILE, actor=actor, now=now, reason=reason, looks=0, failures=0)


def settle(
    request_id: UUID, *, actor: str, now: datetime, reason: str, outcome: str
) -> OutboundRequest:
    """End a parked request with the *outcome* that a person found in the Business Center."""
    if not outcome.isidentifier() or len(outcome) > 64:
        raise QueueError("An outcome is one word of the gateway's, like AUTHORIZED.")
    request = _find(request_id)
    return _take(request, Step.SETTLE, actor=actor, now=now, reason=reason, outcome=outcome)


def _find(request_id: UUID) -> OutboundRequest:
    request = executing.find(request_id)
    if request is None:
        raise QueueError(f"There is no request {request_id}.")
    return request


def _refuse_maybe_sent(request: OutboundRequest, cure: str) -> None:
    if request.maybe_sent:
        raise WrongState(f"Request {request.pk} may have been processed. {cure}")


def _take(
    request: OutboundRequest, step: Step, *, actor: str, now: datetime, reason: str, **changes: Any
) -> OutboundRequest:
    if step != Step.CANCEL and not reason:
        raise QueueError("This takes a reason, for the audit trail.")
    before = request.state
    with (
        audit.denials(f"request-{step}"[:40], actor=actor, organization=request.organization),
        transaction.atomic(),
    ):
        if not move(request, step, now=now, **changes):
            raise WrongState(f"Request {request.pk} was changed meanwhile. Look at it again.")
        entry = audit.Entry(
            action=f"request-{step}",
            actor=actor,
            organization=str(request.organization),
            from_state=before,
            to_state=request.state,
            reason=f"{request.pk} {reason}".rstrip(),
        )
        audit.record(entry, now=now)
    return request
