"""Uses are counted beside the sends and prove when an old key is idle."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError

from django_cybs_jwt import cybs
from django_cybs_jwt.models import Credential, KeyUse
from django_cybs_jwt.services import rotation, usage, withdrawal
from django_cybs_jwt.testing.simulation import Simulation

NOW = datetime(2027, 3, 1, 12, 30, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def get(merchant: str) -> None:
    cybs.send(merchant, "GET", "/tss/v2/transactions/1")


def test_send__counts_signing_and_opening_without_a_query(
    cybs_simulator: Simulation, django_assert_num_queries: Any
) -> None:
    organization = cybs_simulator.merchant("acme")
    get("acme")

    with django_assert_num_queries(0):
        keys = cybs.keys_for("acme")
        usage.signed(keys.signing.reference, NOW)

    assert usage.flush() == 3  # one send signed and opened, one counted by hand
    rows = Credential.objects.filter(organization=organization)
    assert sorted(rows.values_list("use_count", flat=True)) == [1, 2]
    assert all(row.last_used_at is not None for row in rows)


def test_flush__keeps_the_latest_moment_whatever_the_order(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = Credential.objects.get(organization=organization)

    for moment in (NOW, NOW - timedelta(days=2)):
        usage.signed(str(row.pk), moment)
        usage.flush()

    row.refresh_from_db()
    assert (row.use_count, row.last_used_at) == (2, NOW)


def test_hours__are_kept_beside_an_overlap_and_not_in_quiet_times(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    old = Credential.objects.get(organization=organization)
    usage.signed(str(old.pk), NOW)
    usage.flush()
    assert not KeyUse.objects.exists()

    new = cybs_simulator.import_shared_secret(organization, activate=False)
    rotation.rotate(new, actor="anna", now=NOW, force=True, reason="test")
    for row in (old, new, new):
        usage.signed(str(row.pk), NOW)
    usage.flush()

    hours = KeyUse.objects.values_list("credential", "hour", "signed")
    assert set(hours) == {(old.pk, NOW.replace(minute=0), 1), (new.pk, NOW.replace(minute=0), 2)}


def test_safe_to_delete__appears_when_a_retired_key_was_idle_long_enough(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = Credential.objects.get(organization=organization)
    idle = timedelta(days=usage.IDLE_DAYS)
    assert not usage.is_safe_to_delete(row, now=NOW + 10 * idle)

    row = withdrawal.retire(row, actor="anna", now=NOW, reason="replaced")
    assert not usage.is_safe_to_delete(row, now=NOW + idle - timedelta(seconds=1))
    assert usage.is_safe_to_delete(row, now=NOW + idle)

    usage.opened(str(row.pk), NOW + idle)
    usage.flush()
    row.refresh_from_db()
    assert not usage.is_safe_to_delete(row, now=NOW + idle)
    assert usage.is_safe_to_delete(row, now=NOW + 2 * idle)


@pytest.mark.parametrize("error", [DatabaseError, InterfaceError])
def test_flush__loses_nothing_when_the_database_fails(
    cybs_simulator: Simulation, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = Credential.objects.get(organization=organization)
    usage.signed(str(row.pk), NOW)

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(usage, "_store", fail)
        assert usage.flush() == 0

    assert usage.flush() == 1


def test_unknown_key__is_passed_over(cybs_ring: Any) -> None:
    usage.signed("00000000-0000-4000-8000-000000000000", NOW)
    usage.signed("", NOW)

    assert usage.flush() == 1
    assert not KeyUse.objects.exists()


def no_thread(*_: Any) -> None:
    raise RuntimeError("can't start new thread")


def test_a_send__succeeds_where_no_thread_can_be_started_to_write_the_counts(
    cybs_simulator: Simulation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cybs_simulator.merchant("acme")
    monkeypatch.setattr(usage, "_counts", usage._Counts())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        get("acme")
        get("acme")

    assert usage._counts.writer is None
    told = [each for each in caplog.records if each.name == usage.__name__]
    assert [each.getMessage() for each in told] == [
        "Key uses are kept in memory and written later: can't start new thread"
    ]
    assert usage.flush() == 4


def test_the_thread__is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = usage._Counts()
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        started.append(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        counts.add("key", "signed", NOW)
    monkeypatch.setattr(threading.Thread, "start", start)
    counts.add("key", "signed", NOW)
    assert not started, "not at every send"
    counts.next_try = time.monotonic()
    counts.add("key", "signed", NOW)
    counts.add("key", "signed", NOW)
    assert started == [counts.writer]


def test_the_thread__outlives_a_connection_that_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    naps, wakes = iter([0, 1]), []

    def close() -> None:
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(usage, "time", SimpleNamespace(sleep=lambda _: wakes.append(next(naps))))
    monkeypatch.setattr(usage, "connection", SimpleNamespace(close=close))
    monkeypatch.setattr(usage, "flush", lambda: 0)
    with pytest.raises(StopIteration):
        usage._write()
    assert wakes == [0, 1]
    assert caplog.text.count("Key uses were not written") == 2
