"""What cannot be sent when it is tried holds up nobody else: not in a sweep, not at a breaker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from django_cybs_jwt.models import Credential, OutboundRequest, State
from django_cybs_jwt.services import signing
from django_cybs_jwt.services.queue import breakers, retrying, sweeping
from django_cybs_jwt.testing.simulation import Simulation
from tests.forks import true_in_a_fork
from tests.unit.services import enrolment
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import work
from tests.unit.services.queue.test_fairness import flooded, of_other, other

__all__ = ["other"]  # a fixture

pytestmark = pytest.mark.django_db

rung: list[UUID] = []


def doorbell(request_id: UUID, _host: str) -> None:
    rung.append(request_id)


@pytest.fixture
def bell(settings: Any) -> list[UUID]:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    rung.clear()
    return rung


def take_key(org_id: str = "acme") -> None:
    key = Credential.objects.get(organization__org_id=org_id, slot__purpose="signing")
    enrolment.put(key, State.SUSPENDED)
    signing.forget()


def without_a_key(count: int, clock: rows.Clock, **options: Any) -> list[UUID]:
    """Rows of acme that were tried in vain, and are due again."""
    flood = flooded(count, clock, **options)
    take_key()
    for pk in flood:
        assert work(OutboundRequest.objects.get(pk=pk)).reason == "KeyNotUsable"
    clock.forward(70)
    return flood


def test_in_a_sweep__they_are_rung_for_beside_the_others_however_urgent_they_are(
    other: Simulation, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch, bell: list[UUID]
) -> None:
    monkeypatch.setattr(sweeping, "_SECOND", 4)
    monkeypatch.setattr(sweeping, "_PUT_OFF", 2)
    flood = without_a_key(6, clock, priority=0)
    goes = of_other()
    OutboundRequest.objects.filter(pk=goes.pk).update(rung_at=None)
    clock.forward(1)
    bell.clear()
    sweeping.ring_again(clock.now())
    assert bell[0] == goes.pk
    assert len(bell) == 3
    assert set(bell[1:]) < set(flood)


def test_in_a_sweep__the_second_rings_go_from_merchant_to_merchant(
    other: Simulation, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch, bell: list[UUID]
) -> None:
    monkeypatch.setattr(sweeping, "_SECOND", 4)
    flood = flooded(9, clock)
    goes = of_other()
    OutboundRequest.objects.update(rung_at=None)
    clock.forward(1)
    bell.clear()
    sweeping.ring_again(clock.now())
    assert bell == [flood[0], goes.pk, flood[1], flood[2]]


def test_in_a_sweep__a_row_that_a_breaker_kept_back_does_not_wait_behind_them(
    other: Simulation, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch, bell: list[UUID]
) -> None:
    monkeypatch.setattr(sweeping, "_PUT_OFF", 2)
    without_a_key(6, clock, priority=0)
    goes = of_other()
    OutboundRequest.objects.filter(pk=goes.pk).update(rung_at=None, reason="breaker_open")
    bell.clear()
    sweeping.ring_again(clock.now())
    assert goes.pk in bell


def test_in_a_sweep__of_those_without_a_key_every_merchant_has_its_turn(
    other: Simulation, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch, bell: list[UUID]
) -> None:
    monkeypatch.setattr(sweeping, "_PUT_OFF", 2)
    without_a_key(6, clock, priority=0)
    less_urgent = of_other(priority=9)
    OutboundRequest.objects.filter(pk=less_urgent.pk).update(rung_at=None, reason="NoKey")
    bell.clear()
    sweeping.ring_again(clock.now())
    assert less_urgent.pk in bell


def test_for_a_worker__they_take_turns_with_the_others_however_urgent_they_are(
    other: Simulation, clock: rows.Clock
) -> None:
    flood = without_a_key(4, clock, priority=0)
    goes = [of_other().pk for _ in range(2)]
    clock.forward(1)
    due = sweeping.due(clock.now())
    assert set(due) == {*flood, *goes}
    assert (due[0], due[2]) == tuple(goes)


def test_for_a_worker__ready_rows_of_a_merchant_are_seen_behind_many_of_its_own(
    acme: Simulation, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 4)
    monkeypatch.setattr(sweeping, "_beyond_from", 0.0)
    flood = flooded(6, clock)
    OutboundRequest.objects.update(reason="EncryptionImpossible")
    ready = rows.enqueue()
    clock.forward(1)
    assert sweeping.due(clock.now()) == [ready.pk, *flood[:4]]


def open_the_hosts_breaker(row: OutboundRequest, clock: rows.Clock) -> None:
    refused = breakers.outcomes.Verdict(
        kind=breakers.Attempt.Kind.NOT_SENT,
        then=breakers.outcomes.Then.RETRY,
        reason="certificate_refused",
    )
    breakers.learn(row, refused)
    clock.forward(6)


def test_at_a_breaker__whoever_is_not_sent_gives_its_knock_back(
    other: Simulation, clock: rows.Clock
) -> None:
    first, goes = rows.enqueue(), of_other()
    take_key()
    open_the_hosts_breaker(first, clock)
    assert work(first).reason == "KeyNotUsable"
    assert work(goes).state == "ANSWERED"


def test_at_a_breaker__whoever_looks_up_nothing_gives_its_knock_back(
    other: Simulation, clock: rows.Clock
) -> None:
    doubtful = rows.enqueue()
    rows.fail(other, "reset_before")
    doubtful = work(doubtful)
    OutboundRequest.objects.filter(pk=doubtful.pk).update(sealed_payload=b"damaged")
    goes = of_other()
    open_the_hosts_breaker(goes, clock)
    clock.forward(5)
    assert work(doubtful).state == "IN_DOUBT"
    assert work(goes).state == "ANSWERED"


def test_at_a_breaker__whoever_has_asked_keeps_it(other: Simulation, clock: rows.Clock) -> None:
    first, goes = rows.enqueue(), of_other()
    open_the_hosts_breaker(first, clock)
    assert breakers.wait(first) == 0.0
    assert breakers.wait(goes) > 9
    breakers.give_back(goes)
    assert breakers.wait(goes) > 9
    breakers.give_back(first)
    assert breakers.wait(goes) == 0.0


def test_locks_of_breakers_and_budget_are_free_in_a_forked_child(acme: Simulation) -> None:
    row = rows.enqueue()

    def in_the_child() -> bool:
        return breakers.wait(row) == 0.0 and retrying.budget.take(row.host)

    with breakers._lock, retrying.budget._lock:
        assert true_in_a_fork(in_the_child)


def test_what_was_put_off_is_still_tried_once_a_minute(acme: Simulation, clock: rows.Clock) -> None:
    (pk,) = without_a_key(1, clock)
    row = work(OutboundRequest.objects.get(pk=pk))
    assert timedelta(seconds=59) < row.due_at - clock.now() < timedelta(seconds=62)
