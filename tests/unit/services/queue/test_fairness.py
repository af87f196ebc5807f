"""A merchant that floods or fails is slowed alone; so is a host."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from django_cybs_jwt import cybs
from django_cybs_jwt.models import Attempt, OutboundRequest, RequestState
from django_cybs_jwt.services import signing, worker
from django_cybs_jwt.services.doorbell import RESOLVE
from django_cybs_jwt.services.queue import (
    breakers,
    bulkheads,
    database_clock,
    executing,
    picking,
    sweeping,
    working,
)
from django_cybs_jwt.services.queue.breakers import Breaker, Patience
from django_cybs_jwt.services.queue.bulkheads import Beside
from django_cybs_jwt.services.queue.outcomes import Then, Verdict
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import PAYMENTS, payment, work

pytestmark = pytest.mark.django_db

rung: list[UUID] = []
hosts: list[str] = []


def doorbell(request_id: UUID, host: str) -> None:
    rung.append(request_id)
    hosts.append(host)


def away(request_id: UUID, host: str) -> None:
    raise ConnectionError


class Unheard:
    """Takes every ring and gives none on."""

    def __call__(self, request_id: UUID, host: str) -> None:
        rung.append(request_id)

    def is_away(self) -> bool:
        return True


unheard = Unheard()


@pytest.fixture(autouse=True)
def nobody_waited() -> Iterator[None]:
    yield
    bulkheads._crowded.clear()
    bulkheads._here.clear()
    rung.clear()
    hosts.clear()


@pytest.fixture
def other(acme: Simulation) -> Simulation:
    owner = acme.merchant("other", signs_with="shared_secret", response_mle=False)
    key = material.rsa_key(name="other response")
    acme.import_p12(owner, "response-mle", private_key=key)
    signing.forget()
    return acme


limits = pytest.mark.parametrize(
    "limit",
    [{"merchant_at_once": 2}, {"merchant_at_once": 0, "host_at_once": 2}],
    ids=["merchant", "host"],
)


def verdict(kind: Attempt.Kind, reason: str = "") -> Verdict:
    then = Then.END if kind == Attempt.Kind.ANSWERED else Then.RETRY
    return Verdict(kind=kind, then=then, reason=reason)


def at_once(settings: Any, **limits: float) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "QUEUE": limits}


def on_the_wire(count: int) -> list[OutboundRequest]:
    """Rows of acme that some other worker is sending."""
    held = [rows.enqueue() for _ in range(count)]
    for number, row in enumerate(held):
        OutboundRequest.objects.filter(pk=row.pk).update(
            state=RequestState.SENDING,
            attempt=1,
            jti=f"jti-{number}",
            fence_at=database_clock.now(),
            due_at=database_clock.now() + timedelta(minutes=3),
        )
    return held


def flooded(count: int, clock: rows.Clock, **options: Any) -> list[UUID]:
    """Rows of acme, one after another."""
    flood = []
    for _ in range(count):
        flood.append(rows.enqueue(**options).pk)
        clock.forward(0.001)
    return flood


def of_other(**options: Any) -> OutboundRequest:
    key = f"other-{OutboundRequest.objects.count()}"
    return cybs.enqueue("other", "POST", PAYMENTS, json=payment(), idempotency_key=key, **options)


# At once


def test_a_merchant_with_all_its_places_taken_waits_and_another_does_not(
    other: Simulation, settings: Any
) -> None:
    at_once(settings, merchant_at_once=2)
    on_the_wire(2)
    waits, goes = rows.enqueue(), of_other()
    assert (work(waits).state, work(waits).attempt) == (RequestState.QUEUED, 0)
    assert work(goes).state == RequestState.ANSWERED


def test_a_free_place_is_taken(acme: Simulation, settings: Any) -> None:
    at_once(settings, merchant_at_once=2)
    on_the_wire(1)
    assert work(rows.enqueue()).state == RequestState.ANSWERED


@pytest.mark.parametrize("limit", ["merchant_at_once", "host_at_once"])
def test_of_those_that_counted_at_the_same_moment_only_as_many_go_as_there_is_room_for(
    acme: Simulation, settings: Any, limit: str
) -> None:
    """The threads of a process all read that nobody is on the wire before the first is."""
    at_once(settings, **{limit: 2})
    picked = [rows.picked(rows.enqueue()) for _ in range(4)]
    nobody = Beside(of_merchant=0, of_host=0)
    entered = [bulkheads.enter(row, nobody) for row in picked]
    assert entered == [True, True, False, False]
    bulkheads.leave(picked[0])
    assert bulkheads.enter(picked[2], nobody)
    assert not bulkheads.enter(picked[3], nobody)


@pytest.mark.parametrize("limit", ["merchant_at_once", "host_at_once"])
def test_of_two_that_were_rung_for_one_row_who_comes_too_late_gives_no_place_away_but_its_own(
    acme: Simulation, settings: Any, limit: str
) -> None:
    at_once(settings, **{limit: 2})
    row, waits = rows.enqueue(), rows.picked(rows.enqueue())
    nobody = Beside(of_merchant=0, of_host=0)
    first, second = rows.picked(row), rows.picked(row)
    assert bulkheads.enter(first, nobody)
    assert bulkheads.enter(second, nobody)
    assert not bulkheads.enter(waits, nobody)
    bulkheads.leave(second)
    assert bulkheads.enter(waits, nobody)
    assert not bulkheads.enter(rows.picked(rows.enqueue()), nobody)
    bulkheads.leave(first)
    bulkheads.leave(waits)
    assert not bulkheads._here


def test_a_place_is_given_back_however_the_work_ends(
    acme: Simulation, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(settings, merchant_at_once=1)
    with monkeypatch.context() as patch:
        patch.setattr(executing, "take", broken)
        with pytest.raises(ZeroDivisionError):
            working.work(rows.enqueue().pk)
    assert work(rows.enqueue()).state == RequestState.ANSWERED


@pytest.mark.parametrize("held_back_by", ["places", "breaker"])
def test_submit_asks_nobody_for_a_row_of_its_own_and_waits_with_one_that_was_queued(
    acme: Simulation, settings: Any, monkeypatch: pytest.MonkeyPatch, held_back_by: str
) -> None:
    if held_back_by == "places":
        at_once(settings, merchant_at_once=2)
        on_the_wire(2)
    else:
        monkeypatch.setattr(breakers, "wait", lambda _: 60.0)
    order = payment()
    rows.enqueue(key="order-1", json=order)
    queued = cybs.submit("acme", "POST", PAYMENTS, json=order, idempotency_key="order-1")
    own = cybs.submit("acme", "POST", PAYMENTS, json=payment(), idempotency_key="order-2")
    assert (queued.state, queued.attempt) == (RequestState.QUEUED, 0)
    assert own.state == RequestState.ANSWERED


def broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


def test_a_host_with_all_its_places_taken_waits_for_whichever_merchant(
    other: Simulation, settings: Any
) -> None:
    at_once(settings, merchant_at_once=0, host_at_once=2)
    on_the_wire(2)
    assert work(of_other()).state == RequestState.QUEUED


def test_without_limits_nothing_is_counted(
    acme: Simulation, settings: Any, django_assert_num_queries: Any
) -> None:
    at_once(settings, merchant_at_once=0)
    on_the_wire(9)
    row = rows.enqueue()
    with django_assert_num_queries(1) as asked:
        assert picking.pick(row.pk) == (row, Beside(of_merchant=0, of_host=0))
    assert "COUNT" not in asked[0]["sql"]


def test_whoever_looks_for_work_passes_over_a_merchant_that_is_full(
    other: Simulation, settings: Any, clock: rows.Clock
) -> None:
    at_once(settings, merchant_at_once=2)
    on_the_wire(2)
    flood = {rows.enqueue().pk for _ in range(5)}
    goes = of_other()
    found = sweeping.due(clock.now(), limit=3)
    assert goes.pk in found
    assert not flood & set(found)


def test_behind_a_flood_the_first_of_another_merchant_is_second(
    other: Simulation, clock: rows.Clock
) -> None:
    flood = flooded(9, clock)
    goes = [of_other().pk for _ in range(2)]
    clock.forward(1)
    found = sweeping.due(clock.now(), limit=5)
    assert found[0:3:2] == flood[:2]
    assert set(found[1:4:2]) == set(goes)
    assert set(sweeping.due(clock.now())) == {*flood, *goes}


def test_who_is_urgent_waits_for_nobodys_turn(other: Simulation, clock: rows.Clock) -> None:
    ordinary = of_other()
    clock.forward(1)
    urgent = flooded(3, clock, priority=0)
    assert sweeping.due(clock.now()) == [*urgent, ordinary.pk]


def test_behind_more_rows_than_are_looked_at_another_merchant_is_found_within_a_second(
    other: Simulation, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 4)
    monkeypatch.setattr(sweeping, "_beyond_from", 0.0)
    flood = flooded(9, clock)
    goes = of_other()
    clock.forward(1)
    assert sweeping.due(clock.now(), limit=3) == [flood[0], goes.pk, flood[1]]
    assert time.monotonic() < sweeping._beyond_from <= time.monotonic() + 1
    monkeypatch.setattr(sweeping, "_beyond_from", time.monotonic() + 60)
    assert goes.pk not in sweeping.due(clock.now(), limit=3)


def test_a_worker_sends_anothers_payment_early_in_a_flood(
    other: Simulation, clock: rows.Clock
) -> None:
    flooded(20, clock)
    of_other()
    clock.forward(1)
    assert worker.run(threads=1, drain=True, stop=threading.Event()) == 21
    assert [entry.org_id for entry in other.ledger].index("other") == 1


def test_the_sweeper_does_not_ring_for_a_merchant_that_is_full(
    other: Simulation, settings: Any, clock: rows.Clock
) -> None:
    at_once(settings, merchant_at_once=2)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    on_the_wire(2)
    rows.enqueue()
    goes = of_other()
    clock.forward(60)
    sweeping.ring_again(clock.now())
    assert rung == [goes.pk]


def test_the_end_of_a_send_rings_for_another_row_of_a_merchant_that_waited(
    acme: Simulation, settings: Any
) -> None:
    at_once(settings, merchant_at_once=2)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    held = on_the_wire(2)
    first, second = rows.enqueue(), rows.enqueue()
    work(first)
    OutboundRequest.objects.filter(pk=held[0].pk).delete()
    rung.clear()
    assert work(first).state == RequestState.ANSWERED
    assert rung == [second.pk]


def test_a_merchant_that_never_waited_costs_nothing(
    acme: Simulation, settings: Any, django_assert_num_queries: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    row = rows.enqueue()
    with django_assert_num_queries(0):
        bulkheads.pass_on(row)


@limits
def test_a_row_whose_ring_was_spent_on_who_was_full_is_rung_as_soon_as_there_is_room(
    acme: Simulation, settings: Any, clock: rows.Clock, limit: dict[str, float]
) -> None:
    at_once(settings, **limit)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    held = on_the_wire(2)
    waits = rows.enqueue()
    OutboundRequest.objects.filter(pk=waits.pk).update(rung_at=clock.now(), rings=9)
    work(waits)
    rung.clear()
    sweeping.ring_again(clock.now())
    assert rung == []
    OutboundRequest.objects.filter(pk=held[0].pk).delete()
    sweeping.ring_again(clock.now())
    assert rung == [waits.pk]


@limits
def test_once_a_place_is_free_all_that_had_to_wait_go_one_after_another_without_a_sweep(
    other: Simulation, settings: Any, limit: dict[str, float]
) -> None:
    at_once(settings, **limit)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    held = on_the_wire(2)
    waiting = [rows.enqueue() for _ in range(3)]
    if "host_at_once" in limit:
        waiting += [of_other(), of_other()]
    assert {work(row).state for row in waiting} == {RequestState.QUEUED}
    OutboundRequest.objects.filter(pk=held[0].pk).delete()
    rung[:] = [waiting[0].pk]
    while rung:
        working.work(rung.pop())
    assert {row.pk for row in OutboundRequest.objects.filter(state=RequestState.ANSWERED)} == {
        row.pk for row in waiting
    }


def test_a_place_of_the_host_is_not_passed_on_to_a_merchant_that_has_all_its_own(
    other: Simulation, settings: Any
) -> None:
    at_once(settings, merchant_at_once=2, host_at_once=3)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    ends, waits = rows.picked(of_other()), rows.picked(rows.enqueue())
    assert not bulkheads.enter(waits, Beside(of_merchant=0, of_host=3))
    on_the_wire(2)
    bulkheads.pass_on(ends)
    assert rung == []
    OutboundRequest.objects.filter(state=RequestState.SENDING).delete()
    bulkheads.pass_on(ends)
    assert rung == [waits.pk]


def test_a_merchant_of_which_nothing_waits_is_forgotten_after_a_while(
    acme: Simulation, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(settings, merchant_at_once=2, host_at_once=2)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    row = rows.picked(rows.enqueue())
    assert not bulkheads.enter(row, Beside(of_merchant=2, of_host=2))
    OutboundRequest.objects.all().delete()
    bulkheads.pass_on(row)
    assert len(bulkheads._crowded) == 2
    monkeypatch.setattr(bulkheads, "_REMEMBERED", 0.0)
    bulkheads.pass_on(row)
    assert not bulkheads._crowded


def test_rings_that_nobody_heard_make_the_sweeper_no_more_patient(
    acme: Simulation, settings: Any, clock: rows.Clock
) -> None:
    ring = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    settings.CYBS_JWT = {**ring, "DOORBELL": f"{__name__}.away"}
    row = rows.enqueue()
    for _ in range(9):
        clock.forward(3600)
        assert sweeping.ring_again(clock.now()) == 0
    settings.CYBS_JWT = ring
    assert sweeping.ring_again(clock.now()) == 1
    assert rung == [row.pk]


def test_behind_a_long_queue_those_in_doubt_are_rung_first_and_by_their_own_name(
    other: Simulation, settings: Any, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    monkeypatch.setattr(sweeping, "_SECOND", 3)
    for _ in range(5):
        of_other()
    rows.fail(other, "reset_after", org_id="acme")
    doubtful = work(rows.enqueue())
    rung.clear()
    hosts.clear()
    clock.forward(60)
    sweeping.ring_again(clock.now())
    assert rung[0] == doubtful.pk
    assert len(rung) == 1 + 3
    assert hosts == [RESOLVE, *[doubtful.host] * 3]


def test_many_get_a_second_ring_and_few_a_further_one(
    acme: Simulation, settings: Any, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker may have lost the rings of all; and in a long queue they must not pile up."""
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    monkeypatch.setattr(sweeping, "_SECOND", 6)
    monkeypatch.setattr(sweeping, "_FURTHER", 1)
    monkeypatch.setattr(sweeping, "_AT_ONCE", 4)
    waiting = flooded(12, clock)
    rung.clear()
    clock.forward(60)
    assert [sweeping.ring_again(clock.now()) for _ in range(3)] == [6, 6, 0]
    assert rung == waiting
    clock.forward(60)
    assert [sweeping.ring_again(clock.now()) for _ in range(3)] == [1, 1, 1]


def test_what_another_sweeper_rang_for_or_a_worker_took_meanwhile_is_not_rung(
    acme: Simulation, settings: Any, clock: rows.Clock
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    taken, rung_for, waits = flooded(3, clock)
    clock.forward(60)
    waiting = OutboundRequest.objects.filter(state="QUEUED", rung_at__lt=clock.now())
    hosts = dict(waiting.values_list("pk", "host"))
    working.work(taken)
    OutboundRequest.objects.filter(pk=rung_for).update(rung_at=clock.now())
    clock.forward(0.001)
    waiting = waiting.filter(rung_at__lt=clock.now() - timedelta(seconds=1))
    assert list(sweeping._mark(waiting, hosts, clock.now())) == [waits]


def test_rings_that_did_not_get_out_are_none(
    acme: Simulation, settings: Any, clock: rows.Clock
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.unheard"}
    flooded(3, clock)
    clock.forward(60)
    for _ in range(9):
        assert sweeping.ring_again(clock.now()) == 0
    assert set(OutboundRequest.objects.values_list("rung_at", "rings")) == {(None, 0)}


# Breakers


def test_three_refusals_in_a_row_pause_that_merchant_alone(other: Simulation) -> None:
    rows.fail(other, "status", status=401, org_id="acme", times=9)
    for _ in range(3):
        assert work(rows.enqueue()).reason == "unauthorized"
    waits = work(rows.enqueue())
    assert (waits.state, waits.attempt, waits.failures) == (RequestState.QUEUED, 0, 0)
    assert waits.reason == "breaker_open"
    assert waits.due_at > database_clock.now() + timedelta(seconds=50)
    assert work(of_other()).state == RequestState.ANSWERED


def test_five_silences_in_a_row_pause_the_host_and_an_answer_between_does_not(
    other: Simulation,
) -> None:
    for silences in (4, 5):
        rows.fail(other, "reset_before", times=silences, org_id="acme")
        for _ in range(silences):
            assert work(rows.enqueue()).state == RequestState.IN_DOUBT
        if silences == 4:
            assert work(of_other()).state == RequestState.ANSWERED
            assert work(rows.enqueue()).state == RequestState.ANSWERED
    assert work(of_other()).reason == "breaker_open"


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_gateway_that_fails_whoever_asks_is_left_alone_before_all_that_waits_is_in_doubt(
    other: Simulation, status: int
) -> None:
    rows.fail(other, "status", status=status, times=9)
    for _ in range(3):
        assert work(rows.enqueue()).state == RequestState.IN_DOUBT
        assert work(of_other()).state == RequestState.IN_DOUBT
    assert work(rows.enqueue()).reason == "breaker_open"
    assert work(of_other()).reason == "breaker_open"


def test_a_merchant_whose_every_call_makes_the_gateway_fail_is_left_alone_alone(
    other: Simulation,
) -> None:
    rows.fail(other, "status", status=502, org_id="acme", times=9)
    for _ in range(5):
        work(rows.enqueue())
    assert work(rows.enqueue()).reason == "breaker_open"
    assert work(of_other()).state == RequestState.ANSWERED


def test_half_an_answer_is_none(other: Simulation) -> None:
    rows.fail(other, "truncate", times=9)
    for _ in range(3):
        assert work(rows.enqueue()).reason == "reply_lost"
        assert work(of_other()).reason == "reply_lost"
    assert work(rows.enqueue()).reason == "breaker_open"
    assert work(of_other()).reason == "breaker_open"


def test_a_search_that_works_does_not_say_that_payments_do(
    acme: Simulation, clock: rows.Clock
) -> None:
    rows.fail(acme, "reset_before", operation="authorization", times=6)
    doubtful = [work(rows.enqueue()) for _ in range(5)]
    clock.forward(11)  # past the first look, and the breaker's first pause
    assert work(doubtful[0]).looks == 1
    assert work(rows.enqueue()).state == RequestState.IN_DOUBT
    assert work(rows.enqueue()).reason == "breaker_open"


def test_a_search_that_is_away_is_asked_by_one_at_a_time(
    acme: Simulation, clock: rows.Clock
) -> None:
    doubtful = []
    for _ in range(7):
        rows.fail(acme, "reset_before")
        doubtful.append(work(rows.enqueue()))
        assert work(rows.enqueue()).state == RequestState.ANSWERED
    rows.fail(acme, "status", status=503, operation="search", times=99)
    clock.forward(11)
    assert [work(row).looks for row in doubtful] == [1, 1, 1, 1, 1, 0, 0]


def test_a_search_that_is_away_stops_no_payment(other: Simulation, clock: rows.Clock) -> None:
    doubtful = [rows.enqueue() for _ in range(6)]
    rows.fail(other, "reset_before", times=2)
    doubtful = [work(row) for row in doubtful[:2]]
    rows.fail(other, "status", status=503, operation="search", times=99)
    for _ in range(6):
        clock.forward(11)
        assert [work(row).state for row in doubtful] == [RequestState.IN_DOUBT] * 2
    assert work(rows.enqueue()).state == RequestState.ANSWERED
    assert work(of_other()).state == RequestState.ANSWERED


def test_silence_of_one_merchant_among_answers_for_others_pauses_it_alone(
    other: Simulation,
) -> None:
    rows.fail(other, "reset_before", times=5, org_id="acme")
    for _ in range(5):
        work(rows.enqueue())
        assert work(of_other()).state == RequestState.ANSWERED
    assert work(rows.enqueue()).reason == "breaker_open"
    assert work(of_other()).state == RequestState.ANSWERED


def test_429_pauses_the_merchant_for_as_long_as_it_was_told(other: Simulation) -> None:
    rows.fail(other, "status", status=429, retry_after=20, org_id="acme")
    work(rows.enqueue())
    waits = work(rows.enqueue())
    assert waits.reason == "breaker_open"
    assert 15 < (waits.due_at - database_clock.now()).total_seconds() < 22
    assert work(of_other()).state == RequestState.ANSWERED


def test_an_answer_that_was_on_its_way_does_not_shorten_what_a_429_asked_for(
    other: Simulation,
) -> None:
    before = rows.enqueue()
    rows.fail(other, "status", status=429, retry_after=50, org_id="acme")
    told_to_wait = work(rows.enqueue())
    breakers.learn(before, verdict(Attempt.Kind.ANSWERED))
    waits = work(rows.enqueue())
    assert waits.reason == "breaker_open"
    assert (waits.due_at - told_to_wait.due_at).total_seconds() > -5


def test_a_connection_that_none_was_free_for_says_nothing_about_the_host(acme: Simulation) -> None:
    row = rows.enqueue()
    for _ in range(5):
        breakers.learn(row, verdict(Attempt.Kind.MAYBE, "no_answer"))
    breakers.learn(row, verdict(Attempt.Kind.NOT_SENT, "no_connection_free"))
    assert breakers.wait(row) > 0


def test_a_certificate_that_is_refused_pauses_the_host_at_once(other: Simulation) -> None:
    breakers.learn(rows.enqueue(), verdict(Attempt.Kind.NOT_SENT, "certificate_refused"))
    assert work(of_other()).reason == "breaker_open"


def test_waiting_never_goes_past_the_deadline(acme: Simulation, clock: rows.Clock) -> None:
    rows.fail(acme, "status", status=401, times=3)
    for _ in range(3):
        work(rows.enqueue())
    soon = database_clock.now() + timedelta(seconds=10)
    waits = work(rows.enqueue(deadline=soon))
    assert waits.due_at == soon
    clock.forward(11)
    assert work(waits).state == RequestState.EXPIRED


def test_a_declined_card_opens_no_breaker(acme: Simulation) -> None:
    declined = {"totalAmount": "13.13", "currency": "USD"}
    for _ in range(9):
        order = payment(orderInformation={"amountDetails": declined})
        assert work(rows.enqueue(json=order)).state == RequestState.ANSWERED


def knock(breaker: Breaker, now: float) -> float:
    """As who comes to it alone."""
    if not (waits := breaker.wait(now)):
        breaker.pass_by(now, "a row")
    return waits


def test_breaker__opens_longer_each_time_lets_one_knock_and_closes_on_success() -> None:
    breaker = Breaker(Patience(failures=2, shortest=5, longest=12))
    breaker.failed(0, "a row")
    assert knock(breaker, 0) == 0
    breaker.failed(0, "a row")
    assert knock(breaker, 1) == 4
    assert knock(breaker, 5) == 0  # this one knocks
    assert knock(breaker, 5) == 10  # the next waits for what becomes of it
    breaker.failed(6, "a row")
    assert knock(breaker, 6) == 10
    assert knock(breaker, 16) == 0
    breaker.failed(16, "a row")
    assert knock(breaker, 16) == 12
    breaker.succeeded()
    assert knock(breaker, 16) == 0
    breaker.failed(16, "a row")
    assert knock(breaker, 16) == 0


def test_a_knock_that_nobody_reports_does_not_close_for_ever() -> None:
    breaker = Breaker(Patience(failures=1, shortest=5, longest=12))
    breaker.failed(0, "a row")
    assert knock(breaker, 5) == 0
    assert knock(breaker, 5 + 10) == 0


@pytest.mark.parametrize(
    ("reason", "least"), [("no_answer", 5), ("unauthorized", 60), ("certificate_refused", 5)]
)
def test_what_was_on_the_wire_when_a_breaker_opened_opens_it_no_longer(
    acme: Simulation, clock: rows.Clock, reason: str, least: float
) -> None:
    """One hiccup fails all that was sent before, at once or as each waits to its own time-out."""
    flood = [rows.enqueue() for _ in range(16)]
    knocks, next_one = rows.enqueue(), rows.enqueue()
    for row in flood[:10]:
        breakers.learn(row, verdict(Attempt.Kind.MAYBE, reason))
    assert breakers.wait(next_one) == pytest.approx(least)
    clock.forward(least)
    breakers.learn(flood[10], verdict(Attempt.Kind.MAYBE, reason))
    assert breakers.wait(knocks) == 0
    for row in flood[11:]:
        breakers.learn(row, verdict(Attempt.Kind.MAYBE, reason))
    assert breakers.wait(next_one) == pytest.approx(10)
    breakers.learn(knocks, verdict(Attempt.Kind.MAYBE, reason))
    assert breakers.wait(next_one) == pytest.approx(2 * least)


def test_each_opening_is_made_longer_by_one_of_those_that_knocked_since() -> None:
    """A silent host answers none of them before the next may knock."""
    breaker = Breaker(Patience(failures=1, shortest=5, longest=60))
    breaker.failed(0, "first")
    for now, who in ((5, "a"), (15, "b"), (25, "c")):
        assert breaker.wait(now) == 0
        breaker.pass_by(now, who)
    breaker.failed(26, "a")
    breaker.failed(27, "b")
    assert breaker.wait(27) == 9
    breaker.pass_by(36, "d")
    breaker.failed(37, "c")
    breaker.failed(40, "d")
    assert breaker.wait(40) == 20


def test_who_has_to_wait_for_its_own_merchant_does_not_take_the_knock_at_the_host(
    other: Simulation, clock: rows.Clock
) -> None:
    mine, of_others = rows.enqueue(), of_other()
    for _ in range(3):
        breakers.learn(mine, verdict(Attempt.Kind.NOT_PROCESSED, "unauthorized"))
    for row in (mine, of_others, mine, of_others, mine):
        breakers.learn(row, verdict(Attempt.Kind.MAYBE, "no_answer"))
    clock.forward(6)  # the host's breaker lets one knock now, the merchant's in a minute
    assert breakers.wait(mine) > 50
    assert breakers.wait(of_others) == 0
    assert breakers.wait(of_others) == pytest.approx(10)


def test_breakers_of_this_process_are_empty_at_first(acme: Simulation) -> None:
    assert breakers.wait(rows.enqueue()) == 0


@pytest.mark.django_db(transaction=True)
def test_attend__logs_a_failure_and_leaves_the_row_due(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row = rows.enqueue()
    monkeypatch.setattr(working, "PAUSE", 0.0)
    monkeypatch.setattr(breakers, "wait", lambda _request: 1 / 0)
    working.attend(row.pk)
    row.refresh_from_db()
    assert (row.state, row.attempt) == (RequestState.QUEUED, 0)
    assert row.due_at is not None
    assert row.due_at.timestamp() <= time.time()
    assert "ZeroDivisionError" in caplog.text
