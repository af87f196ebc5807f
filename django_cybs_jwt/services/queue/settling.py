"""Write down what a try came to: the row and its attempt, both or neither."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from copy import copy
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import django.db
from django.db import connection

from django_cybs_jwt.models import Attempt, OutboundRequest
from django_cybs_jwt.services.queue import (
    breakers,
    bulkheads,
    database_clock,
    failpoints,
    late_results,
    request_facts,
    retrying,
    telemetry,
)
from django_cybs_jwt.services.queue.outcomes import Then
from django_cybs_jwt.services.queue.results import Result, of_attempt, take_step

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_PAUSE: Final = 0.5  # seconds between two tries to write a result down
# The last is PostgreSQL's for a server that is read-only until its failover is over.
_AWAY: Final = (django.db.OperationalError, django.db.InterfaceError, django.db.InternalError)


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
        **of_attempt(row, result, now),
    )
    if not take_step(row, result, now, tried=tried):
        late_results.record(row, result, now, tried)
    return row
