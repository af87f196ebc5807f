"""A worker without Celery: a plain loop over the same services, for SQLite and small sites."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from django.db import InterfaceError, OperationalError, connections

from django_cybs_jwt.services import ticking, verifying
from django_cybs_jwt.services.queue import database_clock, sweeping, working

logger = logging.getLogger(__name__)

Told = TypeVar("Told")

POLL: Final = 0.5  # seconds between two looks at an empty queue
TICK: Final = 60.0  # seconds


class InHand:
    """The ids that threads were given and are not done with."""

    def __init__(self) -> None:
        self.ids: set[UUID] = set()
        self.one_ended = threading.Event()

    def end(self, pk: UUID) -> None:
        """It is done with, and there may be room for another."""
        self.ids.discard(pk)
        self.one_ended.set()


def run(*, threads: int, drain: bool, stop: threading.Event) -> int:
    """Work until *stop* is set, or with *drain* until nothing is due; returns how many rows.

    A drain waits too for what is due and has no room beside its own merchant's or host's sends,
    other workers' too; those of a killed one end with their leases. What a thread has begun is
    finished. Without *drain* another thread ticks, once a minute, and one verifies the keys that
    are marked.
    """
    done = 0
    with _beside(stop, drain=drain), _workers(threads, stop) as (give, hand):
        while not stop.is_set():
            hand.one_ended.clear()
            taken = set(hand.ids)  # before looking: what ends meanwhile was found in vain
            found = [pk for pk in _due(limit=threads * 8) if pk not in taken]
            for pk in found:
                if stop.is_set():
                    break
                give(pk)
                done += 1
            if drain and not found and not taken and _is_drained():
                break
            if not found:
                # Who is told to stop waits for what is under way in any case.
                (hand.one_ended if taken else stop).wait(POLL)
    return done


def _due(*, limit: int) -> list[UUID]:
    return _asked(lambda now: sweeping.due(now, limit=limit), away=[])


def _is_drained() -> bool:
    """Nothing is due, though there were room for it; not known is no reason to end."""
    return _asked(lambda now: not sweeping.is_anything_due(now), away=False)


def _asked(ask: Callable[[datetime], Told], *, away: Told) -> Told:
    try:
        return ask(database_clock.now())
    except (OperationalError, InterfaceError):
        logger.warning("The database is away; waiting for it")
        working.drop_connections()
        time.sleep(POLL)
        return away


@contextmanager
def _beside(stop: threading.Event, *, drain: bool) -> Iterator[None]:
    if drain:
        yield
        return
    # In threads of their own: a gateway or a mail server that is slow keeps no payment waiting.
    duties = {"cybs-tick": _tick_until, "cybs-verify": verifying.until}
    threads = [
        threading.Thread(target=duty, args=(stop,), name=name) for name, duty in duties.items()
    ]
    with _started(threads, end=stop.set):
        yield


def _tick_until(stop: threading.Event) -> None:
    while not stop.wait(TICK):
        try:
            _tick()
        except Exception:  # a database that is away: in a minute it may be back
            logger.exception("The tick failed")


def _tick() -> None:
    try:
        ticking.tick(database_clock.now())
    finally:
        connections.close_all()


@contextmanager
def _workers(
    threads: int, stop: threading.Event
) -> Iterator[tuple[Callable[[UUID], None], InHand]]:
    """What takes an id, and those that were taken and are not done."""
    hand = InHand()
    if threads == 1:
        yield (lambda pk: _work(pk, hand)), hand
        return
    waiting: queue.Queue[UUID | None] = queue.Queue(maxsize=threads * 2)

    def give(pk: UUID) -> None:
        hand.ids.add(pk)
        waiting.put(pk)

    def end() -> None:
        for _ in range(threads):
            waiting.put(None)

    made = [threading.Thread(target=_loop, args=(waiting, hand, stop)) for _ in range(threads)]
    with _started(made, end=end):
        yield give, hand


@contextmanager
def _started(threads: Sequence[threading.Thread], *, end: Callable[[], None]) -> Iterator[None]:
    """Wait for them after *end*, and for those that began where not all could be started."""
    begun: list[threading.Thread] = []
    try:
        for thread in threads:
            thread.start()
            begun.append(thread)
        yield
    finally:
        end()
        for thread in begun:
            thread.join()


def _loop(waiting: queue.Queue[UUID | None], hand: InHand, stop: threading.Event) -> None:
    try:
        while (pk := waiting.get()) is not None:
            if not stop.is_set():
                _work(pk, hand)
    finally:
        connections.close_all()


def _work(pk: UUID, hand: InHand) -> None:
    try:
        working.attend(pk)
    except Exception:  # a thread that ends is missing from then on
        logger.exception("Work on request %s ended badly", pk)
    finally:
        hand.end(pk)
