"""A key that is marked is verified soon: by who is rung, or by a worker that looks by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

from django_cybs_jwt.models import Credential
from django_cybs_jwt.services import verification, verifying, worker
from tests.unit.services import estate

NOW = timezone.now()
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cybs_ring")]


class Ringer:
    """What DOORBELL names; it notes what was rung for."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.rung = 0

    def __call__(self, request_id: Any, host: str) -> None:
        self.rows.append(host)

    def verify(self) -> None:
        self.rung += 1


class Broken(Ringer):
    def verify(self) -> None:
        raise OSError("amqp://user:PASSWORD@broker is away")


def plain(request_id: Any, host: str) -> None:
    raise AssertionError("It is for rows.")


ringer, broken = Ringer(), Broken()


@pytest.fixture
def rings(settings: Any) -> Callable[[str], None]:
    def on(name: str) -> None:
        settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.{name}"}
        ringer.rung = 0

    return on


def mark() -> int:
    estate.key(estate.organization("acme"), state="STAGED", now=NOW)
    return verification.request(Credential.objects.all(), actor="olga", now=timezone.now())


def test_marking_rings_once_and_after_the_commit(rings: Callable[[str], None]) -> None:
    rings("ringer")
    with transaction.atomic():
        assert mark() == 1
        assert ringer.rung == 0
    assert ringer.rung == 1
    assert ringer.rows == []


def test_what_was_rolled_back_or_marked_nothing_rings_for_nobody(
    rings: Callable[[str], None],
) -> None:
    rings("ringer")
    with transaction.atomic():
        mark()
        transaction.set_rollback(True)
    nothing = Credential.objects.none()
    assert verification.request(nothing, actor="olga", now=timezone.now()) == 0
    assert ringer.rung == 0


@pytest.mark.parametrize("name", ["broken", "plain", "nobody"])
def test_a_bell_that_fails_or_knows_rows_only_fails_nobody(
    rings: Callable[[str], None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    rings(name)
    assert mark() == 1
    assert "PASSWORD" not in caplog.text
    assert Credential.objects.exclude(verify_requested_at=None).exists()


def test_who_answers_a_ring_rings_again_until_nothing_is_left(
    rings: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    rings("ringer")
    left = [100, 7, 0]
    monkeypatch.setattr(verification, "verify_requested", lambda **_: left.pop(0))
    for rung in (1, 2, 2):
        verifying.answer_ring()
        assert ringer.rung == rung


def waited(seen: threading.Event) -> float:
    began = time.monotonic()
    assert seen.wait(20)
    return time.monotonic() - began


@pytest.mark.parametrize("faults", [0, 1])
def test_a_worker_without_celery_looks_within_seconds_and_beside_its_rows(
    monkeypatch: pytest.MonkeyPatch, faults: int
) -> None:
    """However long the calls take and whatever failed before: payments do not wait for them."""
    verified, stop, looks = threading.Event(), threading.Event(), []

    def look(**options: Any) -> int:
        looks.append(threading.current_thread().name)
        if len(looks) <= faults:
            raise OperationalError("away")
        verified.set()
        return 0

    monkeypatch.setattr(verification, "verify_requested", look)
    monkeypatch.setattr(verifying, "LOOK", 0.2)
    monkeypatch.setattr(worker, "_due", lambda **_: [])
    run = threading.Thread(target=worker.run, kwargs={"threads": 1, "drain": False, "stop": stop})
    run.start()
    took = waited(verified)
    stop.set()
    run.join(20)
    assert not run.is_alive()
    assert took < worker.TICK / 4
    assert set(looks) == {"cybs-verify"}


def test_who_has_looked_leaves_no_connection_of_its_thread_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop, told = threading.Event(), []

    def look(**_: Any) -> int:
        told.append("looked")
        stop.set()
        return 0

    monkeypatch.setattr(verification, "verify_requested", look)
    close = SimpleNamespace(close_all=lambda: told.append("closed"))
    monkeypatch.setattr(verifying, "connections", close)
    verifying.until(stop)
    assert told == ["looked", "closed"]


def test_a_worker_that_drains_looks_at_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "until", None)
    assert worker.run(threads=1, drain=True, stop=threading.Event()) == 0
