"""What was left behind is found, by lease or by one more ring; what has ended is shredded."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from django_cybs_jwt import conf, cybs
from django_cybs_jwt.models import Attempt, OutboundRequest
from django_cybs_jwt.services import ticking
from django_cybs_jwt.services.queue import executing, parking, sweeping
from django_cybs_jwt.services.queue.states import Step, move
from django_cybs_jwt.services.sealed import columns, proof, rewrap
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import Clock

rung: list[UUID] = []


def doorbell(request_id: UUID, host: str) -> None:
    rung.append(request_id)


@pytest.fixture
def bell(settings: Any) -> list[UUID]:
    rung.clear()
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    return rung


def claimed(**options: Any) -> tuple[OutboundRequest, Any]:
    """A row whose worker ended right after the claim, and what that worker held."""
    row = rows.enqueue(**options)
    row = OutboundRequest.objects.select_related("organization").get(pk=row.pk)
    parcel = executing.take(row, now=row.due_at)
    assert row.state == "SENDING"
    return row, parcel


# Leases


def test_a_lease_is_left_alone_until_it_ends(acme: Simulation, clock: Clock) -> None:
    row, _ = claimed()
    clock.forward(179)
    sweeping.sweep(clock.now())
    assert rows.work(row).state == "SENDING"


@pytest.mark.parametrize("by", ["sweep", "work"])
def test_a_worker_that_says_nothing_leaves_a_row_in_doubt(
    acme: Simulation, clock: Clock, by: str
) -> None:
    """c5: its attempt is not forgotten."""
    row, _ = claimed()
    clock.forward(181)
    if by == "sweep":
        assert sweeping.sweep(clock.now()) == 1
    else:
        rows.work(row)
    row.refresh_from_db()
    lost = row.attempts.get()
    assert (row.state, row.reason, row.maybe_sent) == ("IN_DOUBT", "lease_ended", True)
    assert (lost.kind, lost.jti, lost.number) == (Attempt.Kind.LOST, row.jti, 1)


def test_the_answer_of_a_worker_that_was_given_up_still_counts(
    acme: Simulation, clock: Clock
) -> None:
    """A real answer beats a guess."""
    row, parcel = claimed()
    clock.forward(181)
    sweeping.sweep(clock.now())
    executing.deliver(row, parcel)
    stored = OutboundRequest.objects.get()
    assert (row.state, stored.state, stored.outcome) == ("ANSWERED", "ANSWERED", "AUTHORIZED")
    assert stored.attempts.get().kind == "answered"


def test_the_failure_of_a_worker_that_was_given_up_changes_nothing(
    acme: Simulation, clock: Clock
) -> None:
    row, parcel = claimed()
    clock.forward(181)
    sweeping.sweep(clock.now())
    rows.fail(acme, "status", status=429)
    executing.deliver(row, parcel)
    stored = OutboundRequest.objects.get()
    assert (stored.state, stored.attempts.get().kind) == ("IN_DOUBT", "lost")


def test_a_worker_that_wakes_up_after_its_row_has_ended_changes_nothing(
    acme: Simulation, clock: Clock
) -> None:
    row, parcel = claimed()
    clock.forward(181)
    sweeping.sweep(clock.now())
    for _ in range(12):
        clock.forward(60)
        rows.work(row)
    assert OutboundRequest.objects.get().state == "ABSENT"
    # Its token has ended by the gateway's clock too, so what it still sends is refused.
    rows.fail(acme, "clock_skew", seconds=900.0)
    executing.deliver(row, parcel)
    assert OutboundRequest.objects.get().state == row.state == "ABSENT"
    assert acme.ledger == []


def test_a_read_whose_worker_died_is_read_again(acme: Simulation, clock: Clock) -> None:
    row = cybs.enqueue("acme", "GET", "/tss/v2/transactions/1", idempotency_key="read")
    row = OutboundRequest.objects.select_related("organization").get()
    executing.take(row, now=row.due_at)
    clock.forward(181)
    sweeping.sweep(clock.now())
    row = rows.work(row)
    assert (row.state, row.attempt) == ("ANSWERED", 2)


def test_two_sweepers_end_a_lease_once(acme: Simulation, clock: Clock) -> None:
    """c12."""
    row, _ = claimed()
    clock.forward(181)
    twin = OutboundRequest.objects.select_related("organization").get()
    assert sweeping.end_lease(row, now=clock.now())
    assert not sweeping.end_lease(twin, now=clock.now())
    assert Attempt.objects.count() == 1


def test_every_waiting_row_is_due_in_exactly_one_state(acme: Simulation, clock: Clock) -> None:
    """I4."""
    queued, (sending, _) = rows.enqueue(), claimed()
    doubtful = rows.enqueue()
    rows.fail(acme, "reset_before")
    rows.work(doubtful)
    later = rows.enqueue(send_after=clock.now() + timedelta(days=1))
    ended = rows.work(rows.enqueue())
    clock.forward(200)
    due = sweeping.due(clock.now())
    assert sorted(due) == sorted({queued.pk, sending.pk, doubtful.pk})
    clock.forward(86400)
    assert later.pk in sweeping.due(clock.now())
    assert ended.pk not in sweeping.due(clock.now())


def test_the_urgent_come_first_then_the_longest_due(acme: Simulation, clock: Clock) -> None:
    order = []
    for priority in (9, 5, 0, 5):
        order.append((priority, rows.enqueue(priority=priority).pk))
        clock.forward(1)
    expected = [pk for _, pk in sorted(order, key=lambda each: each[0])]
    assert sweeping.due(clock.now()) == expected
    assert sweeping.due(clock.now(), limit=2) == expected[:2]
    assert sweeping.due(clock.now(), hosts=["other.example.com"]) == []


def test_behind_a_long_queue_those_in_doubt_and_ended_leases_have_half_of_the_turns(
    acme: Simulation, clock: Clock
) -> None:
    lost = {claimed()[0].pk for _ in range(2)}
    rows.fail(acme, "reset_before", times=2)
    lost |= {rows.work(rows.enqueue()).pk for _ in range(2)}
    clock.forward(200)
    queued = []
    for _ in range(9):
        queued.append(rows.enqueue(priority=0).pk)
        clock.forward(0.001)
    found = sweeping.due(clock.now(), limit=6)
    assert lost.isdisjoint(found[1::2])
    assert lost.issuperset(found[0::2])
    assert found[1::2] == queued[:3]
    assert set(sweeping.due(clock.now(), limit=2)) == {found[0], queued[0]}
    assert sorted(sweeping.due(clock.now())) == sorted([*lost, *queued])


def test_a_deadline_that_nobody_worked_on_is_ended_by_the_sweeper(
    acme: Simulation, clock: Clock
) -> None:
    row = rows.enqueue(deadline=clock.now() + timedelta(seconds=5))
    clock.forward(6)
    sweeping.sweep(clock.now())
    row.refresh_from_db()
    assert row.state == "EXPIRED"


@pytest.mark.parametrize("by", ["sweep", "work"])
@pytest.mark.parametrize("kind", ["reset_after", "reset_before"])
def test_what_may_have_been_sent_is_never_called_expired(
    acme: Simulation, clock: Clock, by: str, kind: str
) -> None:
    sale = rows.work(rows.enqueue(json=rows.payment(**rows.SALE)))
    soon = clock.now() + timedelta(seconds=30)
    path = f"/pts/v2/payments/{sale.gateway_id}/voids"
    row = rows.enqueue(path, json={"x": "y"}, deadline=soon)
    rows.fail(acme, kind)
    row = rows.work(row)
    assert (row.state, row.safety) == ("IN_DOUBT", "REPEATABLE")
    clock.forward(31)
    if by == "sweep":
        move(row, Step.REPEAT, now=clock.now())
        sweeping.sweep(clock.now())
        row.refresh_from_db()
    else:
        row = rows.work(row)
    assert (row.state, row.reason) == ("PARKED", "deadline_passed")
    assert "Look it up" in parking.advice(row)


def test_a_read_expires_whatever_became_of_it(acme: Simulation, clock: Clock) -> None:
    soon = clock.now() + timedelta(seconds=30)
    row = cybs.enqueue(
        "acme", "GET", "/tss/v2/transactions/1", idempotency_key="read", deadline=soon
    )
    rows.fail(acme, "reset_after")
    rows.work(row)
    clock.forward(31)
    assert rows.work(row).state == "EXPIRED"


# Rings


def test_a_lost_ring_is_rung_again_more_and_more_seldom(
    acme: Simulation, clock: Clock, bell: list[UUID]
) -> None:
    """c1, c2."""
    row, at = rows.enqueue(), []
    bell.clear()
    for second in range(0, 600, 5):
        if sweeping.sweep(clock.now()):
            at.append(second)
        clock.forward(5)
    assert set(bell) == {row.pk}
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert 10 <= at[0] <= 20
    assert gaps == sorted(gaps)
    assert len(at) == 5


def test_however_often_a_row_was_rung_for_it_is_rung_again_with_the_others(
    acme: Simulation, clock: Clock, bell: list[UUID]
) -> None:
    """PostgreSQL refuses more in a small number, and with it all that are rung at once."""
    row, other = rows.enqueue(), rows.enqueue()
    OutboundRequest.objects.filter(pk=row.pk).update(rings=32_767)
    bell.clear()
    for times in (1, 2, 3):
        clock.forward(3600)
        assert sweeping.ring_again(clock.now()) == 2
        assert sorted(bell) == sorted([row.pk, other.pk] * times)
    assert max(OutboundRequest.objects.values_list("rings", flat=True)) < 100


def test_nothing_is_rung_before_it_is_due(acme: Simulation, clock: Clock, bell: list[UUID]) -> None:
    rows.enqueue(send_after=clock.now() + timedelta(hours=1))
    sweeping.sweep(clock.now())
    assert bell == []
    clock.forward(3601)
    sweeping.sweep(clock.now())
    assert len(bell) == 1


def test_a_retry_and_a_doubt_are_rung_when_they_are_due(
    acme: Simulation, clock: Clock, bell: list[UUID]
) -> None:
    row, doubtful = rows.enqueue(), rows.enqueue()
    rows.fail(acme, "status", status=429, retry_after=30)
    rows.work(row)
    rows.fail(acme, "reset_before")
    rows.work(doubtful)
    bell.clear()
    sweeping.sweep(clock.now())
    assert bell == []
    clock.forward(31)
    sweeping.sweep(clock.now())
    assert set(bell) == {row.pk, doubtful.pk}


def test_one_in_doubt_is_rung_for_whenever_it_is_due_however_often_it_was(
    acme: Simulation, clock: Clock, bell: list[UUID]
) -> None:
    row, looked = rows.enqueue(), []
    rows.fail(acme, "reset_before")
    rows.work(row)
    for second in range(0, 320, 5):
        clock.forward(5)
        bell.clear()
        sweeping.sweep(clock.now())
        if bell:
            row = rows.work(row)
            looked.append(second + 5)
    assert row.state == "ABSENT"
    # Planned after 10 s, 10, 20, 40 and 80 s more, and at the fence of 265 s; swept every 5.
    planned = (10, 10, 20, 40, 80, 105)
    waited = [later - earlier for earlier, later in itertools.pairwise([0, *looked])]
    assert len(waited) == len(planned)
    assert all(was <= plan + 10 for was, plan in zip(waited, planned, strict=True))


# Shredding


def test_the_reply_is_shredded_after_its_days_and_the_facts_stay(
    acme: Simulation, clock: Clock
) -> None:
    row = rows.work(rows.enqueue())
    clock.forward(29 * 86400)
    sweeping.shred(clock.now())
    assert cybs.reply_to(OutboundRequest.objects.get()) is not None
    clock.forward(2 * 86400)
    assert sweeping.shred(clock.now()) == 1
    stored = OutboundRequest.objects.get()
    assert (stored.sealed_reply, stored.sealed_payload, stored.due_at) == (None, None, None)
    assert (stored.outcome, stored.transaction_id) == ("AUTHORIZED", row.transaction_id)
    assert stored.attempts.count() == 1
    assert sweeping.shred(clock.now()) == 0


@pytest.mark.parametrize(("payload_days", "reply_days"), [(7, 30), (30, 7), (7, 7)])
def test_a_payload_may_be_kept_for_some_days(
    acme: Simulation, clock: Clock, settings: Any, payload_days: int, reply_days: int
) -> None:
    settings.CYBS_JWT = {
        **settings.CYBS_JWT,
        "KEEP_PAYLOAD_DAYS": payload_days,
        "KEEP_REPLY_DAYS": reply_days,
    }
    rows.work(rows.enqueue())
    for day in range(1, 33):
        clock.forward(86400)
        sweeping.shred(clock.now())
        stored = OutboundRequest.objects.get()
        assert (stored.sealed_payload is not None) == (day < payload_days), day
        assert (stored.sealed_reply is not None) == (day < reply_days), day


@pytest.mark.parametrize(("patience", "shredded"), [(60.0, [5, 0]), (0.0, [2, 2, 1])])
def test_all_whose_time_is_over_are_shredded_at_once_unless_that_takes_too_long(
    acme: Simulation,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    patience: float,
    shredded: list[int],
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    monkeypatch.setattr(sweeping, "_SHRED_FOR", patience)
    for _ in range(5):
        rows.work(rows.enqueue())
    clock.forward(31 * 86400)
    assert [sweeping.shred(clock.now()) for _ in shredded] == shredded
    assert not OutboundRequest.objects.exclude(sealed_payload=None, sealed_reply=None).exists()


def test_those_in_doubt_and_parked_keep_their_payload(acme: Simulation, clock: Clock) -> None:
    doubtful, parked = rows.enqueue(), rows.enqueue()
    rows.fail(acme, "reset_before")
    rows.work(doubtful)
    move(parked, Step.PARK, now=clock.now(), reason="test")
    clock.forward(400 * 86400)
    assert sweeping.shred(clock.now()) == 0
    assert not OutboundRequest.objects.filter(sealed_payload=None).exists()


# With the rest of the house


def test_a_tick_sweeps_and_shreds(acme: Simulation, clock: Clock) -> None:
    claimed()
    rows.work(rows.enqueue())
    clock.forward(31 * 86400)
    done = ticking.tick(clock.now())
    assert (done["swept"], done["shredded"]) == (1, 1)


def test_payloads_and_replies_move_with_the_ring_and_are_proved_to_open(
    acme: Simulation, clock: Clock, settings: Any
) -> None:
    queued, answered = rows.enqueue(), rows.work(rows.enqueue())
    ring = conf.keyring().with_new("next").promoted("next")
    settings.CYBS_JWT = {**settings.CYBS_JWT, "KEYRING": json.loads(ring.to_json())}
    before = columns.count_under("testing")
    report = rewrap.run(actor="tests", now=clock.now())
    assert (report.failed, report.remaining) == ({}, 0)
    assert before >= 4
    assert columns.count_under("testing") == 0
    assert list(proof.prove().findings()) == []
    stored = OutboundRequest.objects.select_related("organization").get(pk=answered.pk)
    assert cybs.reply_to(stored).json()["status"] == "AUTHORIZED"  # type: ignore[union-attr]
    assert rows.work(queued).state == "ANSWERED"
    OutboundRequest.objects.filter(pk=answered.pk).update(sealed_reply=b"damaged")
    (found,) = proof.prove().findings()
    assert (found.finding, found.subject) == (
        "damaged", f"OutboundRequest {answered.pk} sealed_reply"
    )  # fmt: skip


def test_a_sealed_payload_opens_in_its_own_row_and_column_only(acme: Simulation) -> None:
    row = rows.enqueue()
    OutboundRequest.objects.filter(pk=row.pk).update(sealed_reply=row.sealed_payload)
    (found,) = proof.prove().findings()
    assert found.subject.endswith("sealed_reply")
