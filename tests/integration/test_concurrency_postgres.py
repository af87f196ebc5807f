"""What only a database with many writers shows: one winner, one chain, refusals that stay."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import CybsError, DuplicateKey, KeyNotUsable
from django_cybs_jwt.models import (
    AuditHead,
    Credential,
    Epoch,
    KeyEvent,
    Organization,
    OutboundRequest,
    State,
)
from django_cybs_jwt.services import (
    epoch,
    organizations,
    rotation,
    signing,
    simulating,
    withdrawal,
)
from django_cybs_jwt.services.queue import working
from django_cybs_jwt.services.simulating import DatabaseRegistry
from django_cybs_jwt.simulator import Gateway
from django_cybs_jwt.simulator.server import running
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.integration.processes import next_line
from tests.services import postgresql_as_default
from tests.unit.models.test_key_constraints import *  # noqa: F403  # the same on PostgreSQL
from tests.unit.services import enrolment
from tests.unit.services.audit.test_writing import recomputed
from tests.unit.services.conftest import fresh_chain  # noqa: F401
from tests.unit.services.queue import rows

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]

logger = logging.getLogger(__name__)

AT_ONCE = 8


@pytest.fixture(scope="module", autouse=True)
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), postgresql_as_default():
        yield


def together(acts: Sequence[Callable[[], object]]) -> list[object]:
    """Run all at the same moment, each on a connection of its own; what came or what failed."""
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> object:
        try:
            connection.ensure_connection()
            start.wait(timeout=30)
            return act()
        except (CybsError, DatabaseError) as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=len(acts)) as executor:
        return list(executor.map(run, acts))


def test_it_runs_on_postgresql() -> None:
    assert connection.vendor == "postgresql"


def test_of_eight_activations_in_one_slot_exactly_one_wins(cybs_ring: dict[str, Any]) -> None:
    acme = enrolment.organization()
    rows = [enrolment.shared_secret(acme, activate=False) for _ in range(AT_ONCE)]
    ended = together(
        [lambda row=row: rotation.activate(row, actor="tests", now=timezone.now()) for row in rows]
    )
    won = [each for each in ended if isinstance(each, Credential)]
    assert len(won) == 1
    assert Counter(type(each).__name__ for each in ended) == {
        "Credential": 1,
        "InvalidTransition": AT_ONCE - 1,
    }
    assert Credential.objects.get(state=State.ACTIVE) == won[0]
    assert told("activate") == {"done": 1, "denied": AT_ONCE - 1}
    assert recomputed(cybs_ring)


def test_of_eight_first_imports_with_activation_exactly_one_is_stored(
    cybs_ring: dict[str, Any],
) -> None:
    acme = enrolment.organization()
    ended = together([lambda: enrolment.shared_secret(acme)] * AT_ONCE)
    assert sum(isinstance(each, Credential) for each in ended) == 1
    assert Credential.objects.count() == 1
    assert told("import") == {"done": 1, "denied": AT_ONCE - 1}
    assert recomputed(cybs_ring)


def test_one_key_imported_for_eight_merchants_at_once_is_stored_for_one() -> None:
    file = material.shared_secret()
    owners = [enrolment.organization(f"m{number}") for number in range(AT_ONCE)]
    ended = together(
        [lambda owner=owner: enrolment.shared_secret(owner, secret=file.secret) for owner in owners]
    )
    assert Counter(type(each) for each in ended) == {Credential: 1, DuplicateKey: AT_ONCE - 1}
    assert Credential.objects.count() == 1


def test_one_file_imported_eight_times_at_once_is_stored_once() -> None:
    acme, file = enrolment.organization(), material.shared_secret()
    ended = together(
        [lambda: enrolment.shared_secret(acme, secret=file.secret, activate=False)] * AT_ONCE
    )
    assert Counter(type(each) for each in ended) == {Credential: 1, DuplicateKey: AT_ONCE - 1}


def test_eight_writers_leave_one_chain_without_gap(cybs_ring: dict[str, Any]) -> None:
    owners = [enrolment.organization(f"m{number}") for number in range(AT_ONCE)]

    def work(owner: Organization) -> None:
        for number in range(5):
            enrolment.shared_secret(owner, slot=str(number))

    assert together([lambda owner=owner: work(owner) for owner in owners]) == [None] * AT_ONCE
    assert told("import") == told("activate") == {"done": AT_ONCE * 5}
    assert recomputed(cybs_ring)


def test_the_very_first_rows_may_be_written_by_eight_at_once(cybs_ring: dict[str, Any]) -> None:
    names = [enrolment.organization(f"m{number}").org_id for number in range(AT_ONCE)]
    for model in (Epoch, AuditHead, KeyEvent):
        model._base_manager.all().delete()
    ended = together(
        [lambda name=name: organizations.disable(name, actor="tests") for name in names]
    )
    assert all(isinstance(each, Organization) for each in ended)
    assert (Epoch.objects.count(), AuditHead.objects.count()) == (1, 1)
    assert recomputed(cybs_ring)


def test_every_one_of_eight_bumps_changes_the_epoch() -> None:
    seen = [epoch.value()]
    for _ in range(5):
        together([epoch.bump] * AT_ONCE)
        seen.append(epoch.value())
    assert len(set(seen)) == len(seen)


def told(action: str) -> Counter[str]:
    return Counter(KeyEvent.objects.filter(action=action).values_list("outcome", flat=True))


# Refusals


def test_a_refusal_outlives_the_rollback_of_whoever_asked(cybs_ring: dict[str, Any]) -> None:
    file = material.shared_secret()
    enrolment.shared_secret(enrolment.organization("first"), secret=file.secret)
    acme = enrolment.organization()
    with transaction.atomic():
        Organization.objects.filter(pk=acme.pk).update(name="rolled back")
        with pytest.raises(DuplicateKey):
            enrolment.shared_secret(acme, secret=file.secret)
        transaction.set_rollback(True)
    acme.refresh_from_db()
    assert acme.name == ""
    denied = KeyEvent.objects.get(outcome="denied")
    assert (denied.action, denied.organization) == ("import", f"acme@{enrolment.HOST}")
    assert recomputed(cybs_ring)


@pytest.mark.parametrize("rolls_back", [False, True])
def test_a_refusal_shares_the_fate_of_a_caller_that_holds_the_chain_and_is_logged(
    cybs_ring: dict[str, Any], caplog: pytest.LogCaptureFixture, rolls_back: bool
) -> None:
    file = material.shared_secret()
    started = time.monotonic()
    with caplog.at_level(logging.ERROR), transaction.atomic():
        enrolment.shared_secret(enrolment.organization("first"), secret=file.secret)
        acme = enrolment.organization()
        with pytest.raises(DuplicateKey):
            enrolment.shared_secret(acme, secret=file.secret)
        transaction.set_rollback(rolls_back)
    assert time.monotonic() - started < 10
    assert "Denied, not in the audit chain if the transaction around it" in caplog.text
    assert told("import")["denied"] == (not rolls_back)
    assert rolls_back or recomputed(cybs_ring)


def test_two_writers_past_the_services_cannot_both_activate_in_one_slot() -> None:
    acme = enrolment.organization()
    rows = [enrolment.shared_secret(acme, activate=False) for _ in range(2)]

    def write(row: Credential) -> int:
        return Credential.objects.filter(pk=row.pk).update(
            state=State.ACTIVE, active_slot=row.slot_id
        )

    ended = together([lambda row=row: write(row) for row in rows])
    assert sorted(type(each).__name__ for each in ended) == ["IntegrityError", "int"]
    assert issubclass(IntegrityError, DatabaseError)


# The queue


def test_16_workers_at_once_send_a_row_once(cybs_simulator: Simulation) -> None:
    """c3."""
    cybs_simulator.merchant("acme")
    row = rows.enqueue()

    together([lambda: working.work(row.pk)] * 16)

    assert len(cybs_simulator.ledger) == 1
    assert OutboundRequest.objects.get().state == "ANSWERED"


def test_50_threads_with_one_key_make_one_row(cybs_simulator: Simulation) -> None:
    cybs_simulator.merchant("acme")
    order = rows.payment()

    ended = together([lambda: rows.enqueue(key="order-1", json=order).pk] * 50)

    assert set(ended) == {OutboundRequest.objects.get().pk}


@pytest.fixture
def bound_by_the_server() -> Iterator[None]:
    """A connection whose statements are prepared: the server must tell each parameter's type."""
    options = connection.settings_dict["OPTIONS"]
    before = dict(options)
    connection.close()
    options |= {"server_side_binding": True, "prepare_threshold": 1}
    yield
    connection.close()
    options.clear()
    options.update(before)


@pytest.mark.usefixtures("bound_by_the_server")
def test_what_is_put_together_by_hand_is_prepared_by_the_server_as_well(
    cybs_simulator: Simulation,
) -> None:
    cybs_simulator.merchant("acme")
    ended = [rows.work(rows.enqueue()) for _ in range(3)]
    sent = cybs.submit("acme", "POST", rows.PAYMENTS, json=rows.payment(), idempotency_key="now")
    signing.forget()
    assert [row.state for row in (*ended, sent)] == ["ANSWERED"] * 4
    assert cybs.keys_for("acme").signing.kid == sent.attempts.get().key_id


# Another process

SEEN_WITHIN = 5.0  # seconds, on a loaded machine too


@pytest.fixture
def watcher() -> Iterator[subprocess.Popen[str]]:
    """A second process that asks for acme's key all the time and tells when it changes."""
    database = connections["default"].settings_dict
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    line = [sys.executable, "-m", "tests.watcher", "testing-ring"]
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def next_change(process: subprocess.Popen[str]) -> tuple[float, str]:
    moment, what = json.loads(next_line(process))
    return moment, what


def test_a_change_is_seen_by_another_process_after_at_most_one_look(
    watcher: subprocess.Popen[str],
) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    delays = []
    while next_change(watcher)[1] != own.key_id:
        pass  # it may have looked before the key was there
    for service, expected in [
        (withdrawal.suspend, "KeyNotUsable"),
        (withdrawal.resume, own.key_id),
        (withdrawal.suspend, "KeyNotUsable"),
        (withdrawal.resume, own.key_id),
    ]:
        time.sleep(0.3)
        service(own, actor="tests", now=timezone.now(), reason="test")
        committed = time.time()
        moment, what = next_change(watcher)
        assert what == expected
        delays.append(moment - committed)
    logger.info("Seen by another process after %s s", [round(delay, 2) for delay in delays])
    assert max(delays) < SEEN_WITHIN


def test_a_change_is_seen_by_another_thread_after_at_most_one_look() -> None:
    own = enrolment.shared_secret(enrolment.organization())
    assert signing.keys_for("acme").signing.kid == own.key_id

    def refused_after() -> float:
        started = time.monotonic()
        while time.monotonic() - started < SEEN_WITHIN:
            try:
                signing.keys_for("acme")
            except CybsError:
                break
            time.sleep(0.01)
        connection.close()
        return time.monotonic() - started

    withdrawal.suspend(own, actor="tests", now=timezone.now(), reason="test")
    with ThreadPoolExecutor(max_workers=1) as executor:
        assert executor.submit(refused_after).result() < SEEN_WITHIN


@contextmanager
def inside_an_older_snapshot() -> Iterator[Callable[[], str]]:
    """A thread in a transaction that began before what the test does now; call it to sign there."""
    begun, go, ended = threading.Event(), threading.Event(), []

    def run() -> None:
        connection.ensure_connection()
        connection.isolation_level = IsolationLevel.REPEATABLE_READ  # as OPTIONS would say it
        connection.connection.isolation_level = IsolationLevel.REPEATABLE_READ
        with transaction.atomic():
            Credential.objects.exists()
            begun.set()
            go.wait(10)
            ended.append(signing.keys_for("acme").signing.state)
        connection.close()

    def sign() -> str:
        go.set()
        thread.join(10)
        return ended[0]

    thread = threading.Thread(target=run)
    thread.start()
    begun.wait(10)
    try:
        yield sign
    finally:
        go.set()
        thread.join(10)


@pytest.mark.parametrize("who_looks", ["everybody", "the old one"])
def test_a_key_suspended_meanwhile_is_not_brought_back_by_an_older_snapshot(who_looks: str) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    with inside_an_older_snapshot() as sign:
        withdrawal.suspend(own, actor="tests", now=timezone.now(), reason="stolen")
        signing.forget()
        if who_looks == "everybody":
            signing._cache.look()
        assert sign() == State.ACTIVE  # to that transaction it is
    for _ in range(2):
        with pytest.raises(KeyNotUsable):
            signing.keys_for("acme")


def test_a_simulator_outlives_connections_that_the_database_dropped(settings: Any) -> None:
    enrolment.shared_secret(enrolment.organization())

    def asked(times: int) -> list[int]:
        paths = ["/tss/v2/transactions/1"] * times
        return [cybs.send("acme", "GET", path).status_code for path in paths]

    with running(Gateway(DatabaseRegistry()), run=simulating.run) as address:
        here = {"BASE_URLS": {enrolment.HOST: address.base_url}}
        settings.CYBS_JWT = {**settings.CYBS_JWT, **here}
        assert asked(3) == [404] * 3
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert asked(20) == [404] * 20
