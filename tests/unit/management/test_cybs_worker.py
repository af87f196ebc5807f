"""cybs_worker and cybs_send --queued: a queue without Celery."""

from __future__ import annotations

import itertools
import json
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services import verifying, worker
from django_cybs_jwt.services.queue import sweeping, working
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.management.running import run
from tests.unit.services.queue.rows import CARD, payment

PAYMENTS = ("cybs_send", "acme", "POST", "/pts/v2/payments")


@pytest.fixture
def acme(cybs_simulator: Simulation) -> Simulation:
    cybs_simulator.merchant("acme", signs_with="shared_secret")
    return cybs_simulator


@pytest.fixture
def body(tmp_path: Path) -> str:
    path = tmp_path / "payment.json"
    path.write_text(json.dumps(payment()))
    return str(path)


def queued(body: str, key: str = "order-1", *more: str) -> Any:
    return run(*PAYMENTS, "--data", body, "--queued", "--idempotency-key", key, "--json", *more)


def test_it_is_stored_then_sent_by_a_worker_then_shown(acme: Simulation, body: str) -> None:
    first = queued(body)
    assert (first.code, first.json["state"], first.json["attempt"]) == (0, "QUEUED", 0)
    assert acme.ledger == []
    ended = run("cybs_worker", "--drain", "--json")
    assert (ended.code, ended.json) == (0, {"worked_on": 1})
    again = queued(body)
    assert again.json["id"] == first.json["id"]
    assert (again.json["state"], again.json["outcome"]) == ("ANSWERED", "AUTHORIZED")
    assert again.json["transaction_id"] == acme.ledger[0].transaction_id
    assert CARD not in first.out + ended.out + again.out


def test_without_json_it_says_state_and_id(acme: Simulation, body: str) -> None:
    told = run(*PAYMENTS, "--data", body, "--queued", "--idempotency-key", "order-1")
    assert told.out.split() == ["QUEUED", str(OutboundRequest.objects.get().pk)]
    assert "Worked on 1 request." in run("cybs_worker", "--drain").out


def test_another_payment_under_a_used_key_is_refused(
    acme: Simulation, body: str, tmp_path: Path
) -> None:
    queued(body)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(payment()))
    ended = queued(str(other))
    assert ended.code == 2
    assert "another request" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--queued",),
        ("--idempotency-key", "a"),
        ("--queued", "--idempotency-key", "a", "--dry-run"),
    ],
)
def test_half_of_it_is_a_mistake(acme: Simulation, body: str, arguments: tuple[str, ...]) -> None:
    assert run(*PAYMENTS, "--data", body, *arguments).code == 2
    assert not OutboundRequest.objects.exists()


def test_drain_leaves_what_is_not_due(acme: Simulation, body: str) -> None:
    queued(body)
    acme.faults.add(Fault(kind=FaultKind.STATUS, status=429, retry_after=600))
    assert run("cybs_worker", "--drain", "--json").json == {"worked_on": 1}
    assert run("cybs_worker", "--drain", "--json").json == {"worked_on": 0}
    assert OutboundRequest.objects.get().state == "QUEUED"


def test_a_drain_waits_for_a_database_that_is_away(
    acme: Simulation, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(body)
    due, looks = sweeping.due, itertools.count(1)

    def away(*_: Any, **options: Any) -> list[UUID]:
        if next(looks) == 2:  # the first is the command's own, before it begins
            raise OperationalError("the server went away")
        return due(*_, **options)

    monkeypatch.setattr(sweeping, "due", away)
    monkeypatch.setattr(worker, "POLL", 0.01)
    assert run("cybs_worker", "--drain", "--json").json == {"worked_on": 1}
    assert OutboundRequest.objects.get().state == "ANSWERED"


def test_a_drain_does_not_end_where_the_database_does_not_say_that_nothing_is_due(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []

    def away(_now: Any) -> bool:
        looks.append(None)
        if len(looks) < 3:
            raise OperationalError("the server went away")
        return False

    monkeypatch.setattr(sweeping, "is_anything_due", away)
    monkeypatch.setattr(worker, "POLL", 0.01)
    assert run("cybs_worker", "--drain").code == 0
    assert len(looks) == 3


def test_a_drain_waits_until_rows_whose_worker_was_killed_leave_room_for_the_others(
    acme: Simulation, body: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "QUEUE": {"merchant_at_once": 2}}
    for number in range(2):
        queued(body, f"killed-{number}")
    killed = OutboundRequest.objects.all()
    for number, row in enumerate(killed):
        OutboundRequest.objects.filter(pk=row.pk).update(
            state="SENDING",
            attempt=1,
            jti=f"jti-{number}",
            fence_at=timezone.now() + timedelta(hours=1),
            due_at=timezone.now() + timedelta(seconds=0.3),
        )
    waits = queued(body, "order-1").json["id"]
    monkeypatch.setattr(worker, "POLL", 0.05)
    assert run("cybs_worker", "--drain").code == 0
    assert OutboundRequest.objects.get(pk=waits).state == "ANSWERED"
    assert set(killed.exclude(pk=waits).values_list("state", flat=True)) == {"IN_DOUBT"}


def test_a_row_that_ends_while_the_next_are_looked_for_is_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    due = [uuid4() for _ in range(5)]

    def attend(pk: UUID) -> None:
        time.sleep(0.01)
        if pk in due:
            due.remove(pk)

    def look(*, limit: int) -> list[UUID]:
        found = due[:limit]
        until = time.monotonic() + 0.3
        while due and time.monotonic() < until:
            time.sleep(0.01)
        return found

    monkeypatch.setattr(working, "attend", attend)
    monkeypatch.setattr(worker, "_due", look)
    monkeypatch.setattr(worker, "_is_drained", lambda: not due)
    assert worker.run(threads=2, drain=True, stop=threading.Event()) == 5


def test_no_threads_is_a_mistake(acme: Simulation) -> None:
    assert run("cybs_worker", "--threads", "0").code == 2


def test_a_worker_without_a_ring_does_not_begin(acme: Simulation, settings: Any) -> None:
    settings.CYBS_JWT = {}
    assert run("cybs_worker", "--drain").code == 2


def test_sigterm_ends_it_after_what_is_under_way(
    acme: Simulation, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        queued(body, f"order-{number}")
    work = working.work

    def told_to_stop(pk: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return work(pk)

    monkeypatch.setattr(working, "work", told_to_stop)
    # A look from another thread has a connection of its own, which SQLite in memory never closes.
    monkeypatch.setattr(verifying, "until", threading.Event.wait)
    before = signal.getsignal(signal.SIGTERM)
    assert run("cybs_worker").code == 0
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(acme.ledger) == 1


@pytest.mark.django_db(transaction=True)
def test_a_row_that_fails_stops_no_other(
    acme: Simulation, body: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = queued(body, "order-1").json["id"], queued(body, "order-2").json["id"]
    work, calls = working.work, []

    def failing(pk: Any) -> Any:
        calls.append(str(pk))
        if str(pk) == broken and calls.count(broken) == 1:
            raise RuntimeError("boom")
        return work(pk)

    monkeypatch.setattr(working, "work", failing)
    monkeypatch.setattr(working, "PAUSE", 0)
    assert run("cybs_worker", "--drain").code == 0
    assert {row.state for row in OutboundRequest.objects.all()} == {"ANSWERED"}
    assert fine in calls
    assert "boom" in caplog.text
