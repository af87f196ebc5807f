"""c15: clocks are an hour apart, or jump. Leases and fences keep to the database's clock.

On PostgreSQL, whose clock is asked for real. The application's is set wrong for this process; where
the database's is the one that is wrong, its answer is.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_cybs_jwt.client import config
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services import signing
from django_cybs_jwt.services.queue import (
    breakers,
    database_clock,
    executing,
    retrying,
    sweeping,
)
from django_cybs_jwt.simulator import Fault, FaultKind, Gateway
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.services import postgresql_as_default
from tests.unit.services.queue import rows

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db(transaction=True),
]

HOUR = 3600.0
LEASE = 180.0
FENCE = 120.0 + 130.0 + 15.0
SLACK = 10.0  # seconds; a token begins 5 s before it was made, and a machine is slow
_true_now = timezone.now
_keys = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), postgresql_as_default():
        yield


@pytest.fixture
def acme(cybs_simulator: Simulation) -> Simulation:
    owner = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    key = material.rsa_key(name="queue response")
    cybs_simulator.import_p12(owner, "response-mle", private_key=key)
    signing.forget()
    return cybs_simulator


@contextmanager
def application(seconds: float, gateway: Gateway | None = None) -> Iterator[None]:
    """While open, this process's wall clock is wrong by so much; *gateway* agrees with it."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", lambda: _true_now() + timedelta(seconds=seconds))
        patch.setattr(config, "datetime", Wrong)
        if gateway is not None:
            patch.setattr(gateway, "_clock", lambda: time.time() + seconds)
        database_clock.forget()  # as in a process that has just started
        yield
    database_clock.forget()


@contextmanager
def database(seconds: float) -> Iterator[None]:
    """While open, the database tells a time that is wrong by so much."""
    wrong = f"SELECT clock_timestamp() + interval '{seconds} seconds'"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(database_clock._SQL, "postgresql", wrong)
        database_clock.forget()
        yield
    database_clock.forget()


def told_by_database() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(database_clock._SQL["postgresql"])
        found: datetime = cursor.fetchone()[0]
    return found


def pass_time(row: OutboundRequest, seconds: float) -> None:
    """Everything is decided by a row's times against now."""
    earlier = timedelta(seconds=seconds)
    OutboundRequest.objects.filter(pk=row.pk).update(
        due_at=F("due_at") - earlier, fence_at=F("fence_at") - earlier
    )


def claimed() -> tuple[OutboundRequest, Any]:
    """A row that a worker has just taken, and what it is about to send."""
    row = rows.picked(rows.enqueue(key=f"c15-{next(_keys)}"))
    parcel = executing.take(row, now=database_clock.now())
    assert parcel is not None
    return row, parcel


def killed_after_sending(simulation: Simulation) -> OutboundRequest:
    row, parcel = claimed()
    with executing.client_of(row) as http:
        http.dispatch(parcel)
    return row


def now_is(row: OutboundRequest) -> OutboundRequest:
    return OutboundRequest.objects.get(pk=row.pk)


wrong_clocks = pytest.mark.parametrize("seconds", [-HOUR, HOUR])
whose_clock = pytest.mark.parametrize("whose", [application, database])


def test_the_clock_is_the_databases_and_goes_on_between_two_questions() -> None:
    database_clock.forget()
    for _ in range(3):
        assert abs((database_clock.now() - told_by_database()).total_seconds()) < 1
    with application(HOUR):
        assert abs((database_clock.now() - told_by_database()).total_seconds()) < 1
    assert database_clock.now().tzinfo is not None


@wrong_clocks
@whose_clock
def test_what_is_enqueued_now_is_due_now(acme: Simulation, whose: Any, seconds: float) -> None:
    """In a web process too, which otherwise has no need of the database's clock."""
    with whose(seconds):
        row = rows.enqueue(key=f"c15-{next(_keys)}")
        now = told_by_database()
    assert row.due_at is not None
    assert abs((row.due_at - now).total_seconds()) < SLACK


@wrong_clocks
@whose_clock
def test_lease_and_fence_are_whole_by_the_databases_clock(
    acme: Simulation, whose: Any, seconds: float
) -> None:
    with whose(seconds):
        row, parcel = claimed()
        now = told_by_database()
    assert row.due_at is not None
    assert row.fence_at is not None
    assert abs((row.due_at - now).total_seconds() - LEASE) < SLACK
    assert (row.fence_at - now).total_seconds() > FENCE - SLACK
    # The gateway holds the token's end against its own clock, which may be the application's.
    assert (row.fence_at - parcel.expires_at).total_seconds() > FENCE - 120 - SLACK


@wrong_clocks
@whose_clock
def test_no_lease_ends_early_and_none_lasts_for_ever(
    acme: Simulation, whose: Any, seconds: float
) -> None:
    """Whoever sweeps, with whichever clock."""
    row, _ = claimed()
    with application(seconds):
        pass_time(row, LEASE - SLACK)
        sweeping.sweep(database_clock.now())
        assert now_is(row).state == "SENDING"
        pass_time(row, SLACK + 1)
        sweeping.sweep(database_clock.now())
    assert now_is(row).state == "IN_DOUBT"


@wrong_clocks
def test_before_the_fence_nothing_is_proved_absent_and_nothing_undone(
    acme: Simulation, seconds: float
) -> None:
    """The search does not know of the payment yet: only the fence tells that from its absence."""
    acme.gateway.ledger.index_lag = 1e9
    row = killed_after_sending(acme)
    with application(seconds, acme.gateway):
        pass_time(row, LEASE + 1)
        for _ in range(4):
            rows.work(row)
            assert not acme.gateway.refusals.as_json()  # the search was answered
            # Due, and still before the fence.
            OutboundRequest.objects.filter(pk=row.pk).update(due_at=told_by_database())
    assert now_is(row).state == "IN_DOUBT"
    assert [entry.operation for entry in acme.ledger] == ["authorization"]


JUMPS = st.sampled_from([-HOUR, -90.0, 0.0, 90.0, HOUR])
ACTS = st.sampled_from(["work", "sweep", "kill", "wait"])
FAULTS = st.sampled_from(["", "reset_before", "reset_after"])


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(course=st.lists(st.tuples(ACTS, JUMPS, FAULTS), max_size=6))
def test_however_the_clock_jumps_nothing_is_charged_twice_and_the_row_tells_the_truth(
    acme: Simulation, course: list[tuple[str, float, str]]
) -> None:
    row = rows.enqueue(key=f"c15-{next(_keys)}")
    for act, seconds, fault in course:
        acme.faults.clear()
        forget_breakers()
        with application(seconds, acme.gateway):
            if fault:
                acme.faults.add(Fault(kind=FaultKind(fault)))
            step(acme, row, act)
        assert len(standing(acme, row)) <= 1
    acme.faults.clear()
    for _ in range(40):
        if now_is(row).finished_at is not None:
            break
        forget_breakers()
        pass_time(row, HOUR)
        rows.work(row)
    ended = now_is(row)
    assert ended.state in ("ANSWERED", "ABSENT", "VOIDED")
    assert (ended.state == "ANSWERED") == (len(standing(acme, row)) == 1)


def step(simulation: Simulation, row: OutboundRequest, act: str) -> None:
    if act == "work":
        rows.work(row)
    elif act == "sweep":
        sweeping.sweep(database_clock.now())
    elif act == "wait":
        pass_time(row, 100)
    else:
        kill(row)


def kill(row: OutboundRequest) -> None:
    """A worker takes it, sends it, and never comes back."""
    taken = rows.picked(row)
    if taken.state != "QUEUED":
        return
    now = database_clock.now()
    parcel = executing.take(taken, now=now) if taken.due_at and taken.due_at <= now else None
    if parcel is None:
        return
    with executing.client_of(taken) as http:
        try:
            http.dispatch(parcel)
        except CybsError:
            return


def standing(simulation: Simulation, row: OutboundRequest) -> list[Any]:
    """The payments of this row that were made and not undone."""
    return [
        entry
        for entry in simulation.ledger
        if entry.transaction_id == row.transaction_id
        and entry.operation == "authorization"
        and not simulation.gateway.ledger.is_undone(entry)
    ]


def forget_breakers() -> None:
    breakers.forget()
    retrying.budget.forget()
