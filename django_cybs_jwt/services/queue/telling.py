"""Tell the world, after commit, that a request has ended, is in doubt, parked, or answered late."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.dispatch import Signal

from django_cybs_jwt import signals
from django_cybs_jwt.models import OPEN, OutboundRequest, RequestState
from django_cybs_jwt.services.languages import house_language
from django_cybs_jwt.services.queue import request_facts, telemetry
from django_cybs_jwt.signals import RequestEvent

logger = logging.getLogger(__name__)

_LOUD: Final[dict[str, Signal]] = {
    RequestState.IN_DOUBT: signals.request_in_doubt,
    RequestState.PARKED: signals.request_parked,
}


def moved(request: OutboundRequest, before: str, *, now: datetime) -> None:
    """Tell of a step from *before*, once what it is part of has committed."""
    ended = request.state not in OPEN
    signal = signals.request_ended if ended else _LOUD.get(request.state)
    if signal is None or request.state == before:
        return
    told, event = request_facts.as_extra(request), _event(request, now)
    level = logging.INFO if ended else logging.WARNING
    # The usual end is told in the line of its attempt.
    usual = before == RequestState.SENDING and event.state == RequestState.ANSWERED

    def committed() -> None:  # a partial has no name for Django to report
        text = "Request %s: %s -> %s %s"
        if not usual:
            logger.log(level, text, event.request_id, before, event.state, event.reason, extra=told)
        telemetry.moved(event)
        # A receiver that fails is logged by Django, and fails nobody else.
        with house_language():
            signal.send_robust(sender=OutboundRequest, event=event)

    transaction.on_commit(committed, robust=True)


def answered_late(request: OutboundRequest, *, now: datetime, **answer: Any) -> None:
    """Tell of an answer that no longer changes its request; *answer* is what it says."""
    told, event = request_facts.as_extra(request), replace(_event(request, now), **answer)

    def committed() -> None:
        text = "Request %s is %s, and its try %d was answered late: %s %s"
        answered = (event.attempt, event.outcome, event.gateway_id)
        logger.error(text, event.request_id, event.state, *answered, extra=told)
        with house_language():
            signals.request_answered_late.send_robust(sender=OutboundRequest, event=event)

    transaction.on_commit(committed, robust=True)


def _event(request: OutboundRequest, now: datetime) -> RequestEvent:
    return RequestEvent(
        request_id=request.pk,
        organization=str(request.organization),
        host=request.host,
        operation=request.operation,
        idempotency_key=request.idempotency_key,
        transaction_id=request.transaction_id or "",
        state=str(request.state),
        reason=request.reason,
        outcome=request.outcome,
        http_status=request.http_status,
        gateway_id=request.gateway_id,
        correlation_id=request.correlation_id,
        caller_id=request.caller_id,
        attempt=request.attempt,
        at=now,
    )
