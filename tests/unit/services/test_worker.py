"""The loop of `cybs_worker`: rows go out whatever the tick is at, and failures end neither."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from django_cybs_jwt.services import ticking, verifying, worker
from django_cybs_jwt.services.queue import database_clock, working
from tests.unit.services.estate import NOW

PATIENCE = 10.0  # seconds until a test gives up

Give = Callable[[uuid.UUID], None]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Ends the worker, which always finds a row and ticks a hundred times a second."""
    monkeypatch.setattr(worker, "TICK", 0.01)
    monkeypatch.setattr(worker, "_due", lambda **_: [uuid.uuid4()])
    monkeypatch.setattr(database_clock, "now", lambda: NOW)
    return threading.Event()


def run(
    monkeypatch: pytest.MonkeyPatch,
    stop: threading.Event,
    *,
    tick: Callable[[datetime], Any],
    give: Give = lambda _: None,
    drain: bool = False,
) -> None:
    @contextmanager
    def workers(threads: int, stop: threading.Event) -> Iterator[tuple[Give, worker.InHand]]:
        yield give, worker.InHand()

    monkeypatch.setattr(worker, "_workers", workers)
    monkeypatch.setattr(ticking, "tick", tick)
    monkeypatch.setattr(verifying, "until", lambda _: None)
    late = threading.Timer(PATIENCE, stop.set)
    late.start()
    worker.run(threads=2, drain=drain, stop=stop)
    assert late.is_alive(), "the test waited in vain"
    late.cancel()


def test_a_slow_tick_keeps_no_row_waiting(
    monkeypatch: pytest.MonkeyPatch, stop: threading.Event
) -> None:
    began, given = threading.Event(), []

    def tick(now: datetime) -> None:
        began.set()
        stop.wait(PATIENCE)

    def give(pk: uuid.UUID) -> None:
        given.append(pk)
        time.sleep(0.001)
        if began.is_set() and len(given) > 100:
            stop.set()

    run(monkeypatch, stop, tick=tick, give=give)


def test_no_two_ticks_run_at_once_and_the_last_is_finished(
    monkeypatch: pytest.MonkeyPatch, stop: threading.Event
) -> None:
    told: list[str] = []

    def tick(now: datetime) -> None:
        told.append("begins")
        time.sleep(0.03)
        if len(told) > 5:
            stop.set()
            time.sleep(0.03)
        told.append("ends")

    run(monkeypatch, stop, tick=tick)

    assert told == ["begins", "ends"] * (len(told) // 2)


def test_a_database_that_is_away_ends_neither_the_worker_nor_its_ticks(
    monkeypatch: pytest.MonkeyPatch, stop: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[datetime] = []

    def away() -> datetime:
        asked.append(NOW)
        if len(asked) < 3:
            raise OperationalError("the server went away")
        return NOW

    monkeypatch.setattr(database_clock, "now", away)

    run(monkeypatch, stop, tick=lambda _: stop.set())

    assert caplog.text.count("The tick failed") == 2


def test_a_tick_leaves_no_connection_of_its_thread_open(
    monkeypatch: pytest.MonkeyPatch, stop: threading.Event
) -> None:
    ticked: list[threading.Thread] = []
    closed: list[threading.Thread] = []
    close = SimpleNamespace(close_all=lambda: closed.append(threading.current_thread()))
    monkeypatch.setattr(worker, "connections", close)

    def tick(now: datetime) -> None:
        ticked.append(threading.current_thread())
        stop.set()

    run(monkeypatch, stop, tick=tick)

    assert closed == ticked
    assert threading.main_thread() not in ticked


@pytest.mark.parametrize("threads", [1, 2])
def test_no_failure_of_a_row_ends_the_thread_that_works_on_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, threads: int
) -> None:
    """Else the last would leave its giver waiting for ever."""
    worked: list[uuid.UUID] = []

    def attend(pk: uuid.UUID) -> None:
        worked.append(pk)
        raise OSError("even the log is full")

    monkeypatch.setattr(working, "attend", attend)
    given = [uuid.uuid4() for _ in range(9)]
    with worker._workers(threads, threading.Event()) as (give, _):
        for pk in given:
            give(pk)
    assert sorted(worked) == sorted(given)
    assert caplog.text.count("ended badly") == 9


def test_a_worker_that_gets_not_all_its_threads_ends_and_keeps_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that hangs half begun is started again by nobody."""
    before, start, started = set(threading.enumerate()), threading.Thread.start, []

    def start_one(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    for held in (
        worker._workers(2, threading.Event()),
        worker._beside(threading.Event(), drain=False),
    ):
        started.clear()
        with pytest.raises(RuntimeError, match="new thread"):
            held.__enter__()
        assert set(threading.enumerate()) <= before


def test_who_drains_does_not_tick(monkeypatch: pytest.MonkeyPatch, stop: threading.Event) -> None:
    ticked: list[datetime] = []
    due = iter([[uuid.uuid4()], [uuid.uuid4()], []])
    monkeypatch.setattr(worker, "_due", lambda **_: next(due))
    monkeypatch.setattr(worker, "_is_drained", lambda: True)

    run(monkeypatch, stop, tick=ticked.append, give=lambda _: time.sleep(0.05), drain=True)

    assert ticked == []


def test_while_a_thread_is_busy_and_nothing_else_is_due_the_database_is_asked_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    due, looks = [uuid.uuid4()], []

    def look(**_: Any) -> list[uuid.UUID]:
        looks.append(None)
        return list(due)

    def attend(pk: uuid.UUID) -> None:
        time.sleep(0.5)
        due.remove(pk)

    monkeypatch.setattr(worker, "_due", look)
    monkeypatch.setattr(worker, "_is_drained", lambda: True)
    monkeypatch.setattr(working, "attend", attend)
    monkeypatch.setattr(worker, "POLL", 0.2)

    assert worker.run(threads=2, drain=True, stop=threading.Event()) == 1
    assert len(looks) <= 6


def test_what_has_room_once_another_ends_waits_for_no_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    due = [first]

    def attend(pk: uuid.UUID) -> None:
        time.sleep(0.1)
        due[:] = [second] if pk == first else []

    monkeypatch.setattr(worker, "_due", lambda **_: list(due))
    monkeypatch.setattr(worker, "_is_drained", lambda: True)
    monkeypatch.setattr(working, "attend", attend)
    monkeypatch.setattr(worker, "POLL", PATIENCE)

    began = time.monotonic()
    assert worker.run(threads=2, drain=True, stop=threading.Event()) == 2
    assert time.monotonic() - began < PATIENCE
