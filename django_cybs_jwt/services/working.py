"""One step of the queue: `work` on a row, whatever state it is in. And a loop that does so."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from django_cybs_jwt.models import OutboundRequest, RequestState
from django_cybs_jwt.services import (
    database_clock,
    executing,
    resolving,
    sweeping,
    ticking,
    verification,
)

logger = logging.getLogger(__name__)

POLL: Final = 0.5  # seconds between two looks at an empty queue
TICK: Final = 60.0  # seconds


def work(request_id: UUID | str) -> str | None:
    """Do what is due with one row; returns its state, None where there is no such row.

    A row that is not due, or that another worker has, is left alone: calling it too often, twice
    at once or much too late does nothing. Raises OpenTransaction inside a transaction.
    """
    request = executing.find(request_id)
    if request is None:
        return None
    now = database_clock.now()
    if request.due_at is not None and request.due_at <= now:
        _act(request)
    return request.state


def attend(request_id: UUID | str) -> None:
    """`work`, for who has nobody to tell: a failure is logged, and the row is due again."""
    try:
        work(request_id)
    except Exception:
        # A database that is away, a bug: it is found again, at the latest after its lease.
        logger.exception("Work on request %s failed", request_id)
        _drop_broken_connections()
        time.sleep(POLL)


def _act(request: OutboundRequest) -> None:
    now = database_clock.now()
    if request.state == RequestState.SENDING:
        sweeping.end_lease(request, now=now)
    elif request.state == RequestState.IN_DOUBT:
        resolving.resolve(request, now=now)
    # Also what has just come back to the queue, by proof or because repeating it is safe.
    if request.state == RequestState.QUEUED and request.due_at and request.due_at <= now:
        executing.send_due(request, now=now)


def sweep() -> int:
    """`sweeping.sweep` now, by the database's clock."""
    return sweeping.sweep(database_clock.now())


def tick() -> dict[str, int]:
    """`ticking.tick` now, by the database's clock."""
    return ticking.tick(database_clock.now())


def verify() -> int:
    """`verification.verify_requested` now."""
    return verification.verify_requested(now=timezone.now())


def run(*, threads: int, drain: bool, stop: threading.Event) -> int:
    """Work until *stop* is set, or with *drain* until nothing is due; returns how many rows.

    What a thread has begun is finished. Between rows this also ticks, once a minute.
    """
    done, ticked = 0, time.monotonic()
    with _workers(threads, stop) as (give, busy):
        while not stop.is_set():
            found = [pk for pk in _due(limit=threads * 8) if pk not in busy]
            for pk in found:
                if stop.is_set():
                    break
                give(pk)
                done += 1
            if drain and not found and not busy:
                break
            if not drain and time.monotonic() - ticked >= TICK:
                ticking.tick(database_clock.now())
                ticked = time.monotonic()
            if not found:
                stop.wait(0.01 if busy else POLL)
    return done


def _due(*, limit: int) -> list[UUID]:
    try:
        return sweeping.due(database_clock.now(), limit=limit)
    except (OperationalError, InterfaceError):
        logger.warning("The database is away; waiting for it")
        _drop_broken_connections()
        time.sleep(POLL)
        return []


@contextmanager
def _workers(
    threads: int, stop: threading.Event
) -> Iterator[tuple[Callable[[UUID], None], set[UUID]]]:
    """What takes an id, and the ids that were taken and are not done."""
    busy: set[UUID] = set()
    if threads == 1:
        yield (lambda pk: _work(pk, busy)), busy
        return
    waiting: queue.Queue[UUID | None] = queue.Queue(maxsize=threads * 2)

    def give(pk: UUID) -> None:
        busy.add(pk)
        waiting.put(pk)

    started = [threading.Thread(target=_loop, args=(waiting, busy, stop)) for _ in range(threads)]
    for thread in started:
        thread.start()
    try:
        yield give, busy
    finally:
        for _ in started:
            waiting.put(None)
        for thread in started:
            thread.join()


def _loop(waiting: queue.Queue[UUID | None], busy: set[UUID], stop: threading.Event) -> None:
    try:
        while (pk := waiting.get()) is not None:
            if not stop.is_set():
                _work(pk, busy)
    finally:
        connections.close_all()


def _work(pk: UUID, busy: set[UUID]) -> None:
    try:
        attend(pk)
    finally:
        busy.discard(pk)


def _drop_broken_connections() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()
