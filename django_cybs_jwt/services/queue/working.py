"""One step of the queue: `work` on a row, whatever state it is in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_cybs_jwt.models import OutboundRequest, RequestState
from django_cybs_jwt.services.queue import (
    bulkheads,
    database_clock,
    executing,
    picking,
    resolving,
    sweeping,
)
from django_cybs_jwt.services.queue.bulkheads import Beside

logger = logging.getLogger(__name__)

PAUSE: Final = 0.5  # seconds after a failure


def work(request_id: UUID | str) -> str | None:
    """Do what is due with one row; returns its state, None where there is no such row.

    A row that is not due, or that another worker has, is left alone: calling it too often, twice
    at once or much too late does nothing. Raises OpenTransaction inside a transaction.
    """
    found = picking.pick(request_id)
    if found is None:
        return None
    request, beside = found
    if request.due_at is not None and request.due_at <= database_clock.now():
        _act(request, beside)
    return request.state


def attend(request_id: UUID | str) -> None:
    """`work`, for who has nobody to tell: a failure is logged, and the row is due again."""
    try:
        work(request_id)
    except Exception:
        # A database that is away, a bug: it is found again, at the latest after its lease.
        logger.exception("Work on request %s failed", request_id)
        drop_connections()
        time.sleep(PAUSE)


def _act(request: OutboundRequest, beside: Beside) -> None:
    now = database_clock.now()
    if request.state == RequestState.SENDING:
        sweeping.end_lease(request, now=now)
    elif request.state == RequestState.IN_DOUBT:
        resolving.resolve(request, now=now)
    # Also what has just come back to the queue, by proof or because repeating it is safe.
    due = request.state == RequestState.QUEUED and request.due_at and request.due_at <= now
    if due and bulkheads.enter(request, beside):
        try:
            executing.send_due(request, now=now)
        finally:
            bulkheads.leave(request)


def afresh(act: Callable[[], object]) -> None:
    """Do it on database connections that are neither broken nor too old.

    Whoever keeps them between two tasks looks at none: one that broke would fail for ever.
    """
    drop_broken_connections()
    try:
        act()
    except Error:
        drop_connections()
        raise


def drop_broken_connections() -> None:
    """So that the next query opens a new one; none in whose transaction somebody still is."""
    _close(lambda connection: connection.close_if_unusable_or_obsolete())


def drop_connections() -> None:
    """The same after a failure, for those too that seem sound.

    One to a server that is read-only since a failover answers, and takes no claim ever again.
    """
    _close(lambda connection: connection.close())


def _close(close: Callable[[BaseDatabaseWrapper], None]) -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            # One that cannot be closed either is forgotten by Django all the same.
            with suppress(Exception):
                close(connection)
