"""A bell in the background: who rings never waits, and never rings twice for a fork's parent."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from django_cybs_jwt.services.queue import bells
from django_cybs_jwt.services.queue.bells import Bell
from tests.forks import true_in_a_fork

HOST = "apitest.cybersource.com"


class Broker:
    """Takes rings, until it is told to fail or to hang."""

    def __init__(self) -> None:
        self.taken: list[UUID] = []
        self.asked = 0
        self.callers: set[int] = set()
        self.fails = False
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, request_id: UUID, host: str) -> None:
        self.asked += 1
        self.callers.add(threading.get_ident())
        assert self.answers.wait(30)
        if self.fails:
            raise OSError("amqp://user:password@broker is away")
        self.taken.append(request_id)


class Clock:
    """In place of the time module, for one module."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.answers.set()


def test_rings_arrive_in_order(broker: Broker) -> None:
    bell, ids = Bell(broker), [uuid4() for _ in range(100)]
    for each in ids:
        bell.ring(each, HOST)
    assert bell.flush(30)
    assert broker.taken == ids


def test_a_broker_that_hangs_holds_up_nobody(broker: Broker) -> None:
    broker.answers.clear()
    bell = Bell(broker)
    for _ in range(100):
        bell.ring(uuid4(), HOST)
    assert not bell.flush(0.05)
    assert broker.taken == []
    broker.answers.set()
    assert bell.flush(30)
    assert len(broker.taken) == 100
    assert threading.get_ident() not in broker.callers


def test_a_full_bell_says_so_and_keeps_what_waits(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "LONGEST", 3)
    broker.answers.clear()
    bell = Bell(broker)
    bell.ring(uuid4(), HOST)
    while not broker.asked:
        time.sleep(0.001)
    for _ in range(3):
        bell.ring(uuid4(), HOST)
    with pytest.raises(queue.Full):
        bell.ring(uuid4(), HOST)
    broker.answers.set()
    assert bell.flush(30)
    assert len(broker.taken) == 4


def test_after_a_failure_it_rests_and_then_rings_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    monkeypatch.setattr(bells, "time", clock)
    broker.fails = True
    bell = Bell(broker)
    with caplog.at_level(logging.WARNING):
        broker.answers.clear()
        for _ in range(50):
            bell.ring(uuid4(), HOST)
        broker.answers.set()
        assert bell.flush(30)
    assert broker.asked == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "OSError" in caplog.text
    assert "password" not in caplog.text

    with pytest.raises(ConnectionError):
        bell.ring(uuid4(), HOST)
    broker.fails = False
    clock.now += bells.REST
    bell.ring(last := uuid4(), HOST)
    assert bell.flush(30)
    assert broker.taken == [last]


def test_a_process_that_had_no_thread_free_rings_as_soon_as_it_has(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that happened once keeps a process from ringing ever after."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bell = Bell(broker)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError):
            bell.ring(uuid4(), HOST)
    bell.ring(mine := uuid4(), HOST)
    assert bell.flush(30)
    assert broker.taken == [mine]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_is_started_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, where it is stopped from outside while it waits."""
    bell = Bell(broker)
    with monkeypatch.context() as patch:
        patch.setattr(bell._waiting, "get", ended)
        bell.ring(first := uuid4(), HOST)
        assert bell._thread is not None
        bell._thread.join(30)
    bell.ring(second := uuid4(), HOST)
    assert bell.flush(30)
    assert broker.taken == [first, second]


def ended() -> None:
    raise SystemExit


def test_what_is_no_exception_is_a_failure_like_any_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as gevent's Timeout: it rests, and then the same thread rings again."""
    clock, taken = Clock(), []
    monkeypatch.setattr(bells, "time", clock)

    class Timeout(BaseException):
        pass

    def publish(rung: UUID) -> None:
        taken.append(rung)
        if len(taken) == 1:
            raise Timeout

    bell = Bell(publish)
    bell.ring(uuid4())
    assert bell.flush(30)
    assert "(Timeout)" in caplog.text
    before = bell._thread
    clock.now += bells.REST
    bell.ring(last := uuid4())
    assert bell.flush(30)
    assert (taken[-1], bell._thread) == (last, before)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_rings_by_itself_and_not_for_its_parent(broker: Broker) -> None:
    broker.answers.clear()
    bell = Bell(broker)
    bell.ring(uuid4(), HOST)
    bell.ring(uuid4(), HOST)

    def in_the_child() -> bool:
        own: list[UUID] = []
        bell._publish = lambda request_id, _host: own.append(request_id)
        bell.ring(mine := uuid4(), HOST)
        return bell.flush(30) and own == [mine]

    assert true_in_a_fork(in_the_child)
    broker.answers.set()
    assert bell.flush(30)
    assert len(broker.taken) == 2
