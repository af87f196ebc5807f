"""A failover promotes a standby that knows nothing of the last claims; their workers still live."""

from __future__ import annotations

import uuid
from copy import copy
from dataclasses import replace
from typing import Any

import pytest

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import OutcomeUnknown, QueueError
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services.queue import executing, outcomes
from django_cybs_jwt.services.queue.outcomes import Kind, Then, Verdict
from django_cybs_jwt.services.queue.results import Result
from django_cybs_jwt.services.queue.settling import settle
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import Clock
from tests.unit.services.queue.test_late_answers import answered

BEFORE: dict[str, Any] = {
    "state": "QUEUED", "attempt": 0, "jti": None, "owner": "", "sent_at": None, "fence_at": None
}  # fmt: skip
PAYOUT = "/pts/v2/payouts"
SLOWED = Verdict(kind=Kind.NOT_PROCESSED, then=Then.RETRY, reason=outcomes.TOO_MANY, after=1.0)

pytestmark = pytest.mark.django_db(transaction=True)


def sent(
    simulation: Simulation, clock: Clock, path: str = rows.PAYMENTS, **options: Any
) -> tuple[OutboundRequest, Result]:
    """What a worker knows of its try, and not yet the database."""
    row = rows.picked(rows.enqueue(path, **options))
    parcel = executing.take(row, now=clock.now())
    assert parcel is not None
    return row, executing.of_reply(row, parcel, answered(row, parcel), started=0.0)


def forget(row: OutboundRequest, clock: Clock, **claim: Any) -> None:
    values = BEFORE | {"due_at": clock.now()} | claim
    OutboundRequest.objects.filter(pk=row.pk).update(**values)


def stored() -> OutboundRequest:
    return OutboundRequest.objects.select_related("organization").get()


@pytest.mark.parametrize("path", [rows.PAYMENTS, PAYOUT])
def test_an_answer_ends_the_row_that_forgot_its_claim_so_it_is_not_sent_again(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    row, result = sent(acme, clock, path)
    forget(row, clock)
    settle(row, result)
    assert (row.state, stored().state, stored().attempt) == ("ANSWERED", "ANSWERED", 1)
    assert cybs.reply_to(stored()) is not None
    assert (stored().attempts.get().jti, stored().attempts.get().kind) == (row.jti, "answered")
    assert f"has forgotten try 1 of request {row.pk}" in caplog.text
    assert rows.work(row).attempt == 1


def test_what_may_have_been_processed_is_in_doubt_up_to_its_fence(
    acme: Simulation, clock: Clock
) -> None:
    row, result = sent(acme, clock)
    fence = row.fence_at
    forget(row, clock)
    settle(row, replace(result, verdict=outcomes.maybe("no_answer"), reply=None))
    found = stored()
    assert (found.state, found.maybe_sent, found.attempt) == ("IN_DOUBT", True, 1)
    assert (found.fence_at, found.jti) == (fence, row.jti)
    clock.forward(20)
    assert rows.work(found).state == "ANSWERED"
    assert len(rows.money(acme)) == 1


def test_what_was_not_processed_waits_in_the_queue_as_it_is(acme: Simulation, clock: Clock) -> None:
    row, result = sent(acme, clock)
    forget(row, clock)
    settle(row, replace(result, verdict=SLOWED, reply=None))
    assert (stored().state, stored().attempt, stored().attempts.count()) == ("QUEUED", 0, 0)


def test_after_another_worker_was_slowed_down_the_answer_is_a_try_of_its_own(
    acme: Simulation, clock: Clock
) -> None:
    row, result = sent(acme, clock)
    forget(row, clock)
    rows.fail(acme, "status", status=429)
    assert rows.work(row).attempts.get().kind == "not-processed"
    settle(row, result)
    tries = stored().attempts.order_by("number").values_list("number", "kind")
    assert (stored().state, list(tries)) == (
        "ANSWERED", [(1, "not-processed"), (2, "answered")]
    )  # fmt: skip


def claimed_by_another(row: OutboundRequest, clock: Clock) -> str:
    other = str(uuid.uuid4())
    forget(row, clock, state="SENDING", attempt=1, jti=other, fence_at=clock.now())
    return other


def test_where_another_worker_is_sending_it_an_answer_is_told_and_both_are_looked_up(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    row, result = sent(acme, clock)
    claimed_by_another(row, clock)
    settle(row, result)
    assert (stored().state, stored().attempts.get().jti) == ("IN_DOUBT", row.jti)
    assert "was answered late: AUTHORIZED" in caplog.text
    clock.forward(20)
    assert rows.work(stored()).state == "ANSWERED"


def test_of_two_payouts_that_were_sent_so_a_person_hears_twice(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    row, result = sent(acme, clock, PAYOUT)
    forget(row, clock)
    second = rows.picked(stored())
    parcel = executing.take(second, now=clock.now())
    assert parcel is not None
    settle(row, replace(result, status=201))
    late = executing.of_reply(second, parcel, answered(second, parcel), started=0.0)
    settle(second, replace(late, status=201))
    assert stored().state == "IN_DOUBT"
    assert caplog.text.count("was answered late") == 2
    assert list(stored().attempts.values_list("kind", flat=True)) == ["answered"] * 2
    clock.forward(11)
    assert rows.work(stored()).state == "PARKED"


def test_a_refusal_leaves_another_workers_claim_alone(acme: Simulation, clock: Clock) -> None:
    row, result = sent(acme, clock)
    other = claimed_by_another(row, clock)
    settle(row, replace(result, status=400))
    assert (stored().state, stored().jti, stored().attempts.count()) == ("SENDING", other, 0)


def test_an_answer_ends_what_may_be_done_twice_though_another_worker_does_it(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    paid = rows.work(rows.enqueue(json=rows.payment(**rows.SALE)))
    path = f"{rows.PAYMENTS}/{paid.gateway_id}/voids"
    OutboundRequest.objects.all().delete()
    row, result = sent(acme, clock, path)
    claimed_by_another(row, clock)
    settle(row, result)
    assert (stored().state, stored().outcome) == ("ANSWERED", "VOIDED")
    assert "answered late" not in caplog.text


def test_while_it_is_being_undone_the_answer_is_kept_so_that_it_is_never_called_absent(
    acme: Simulation, clock: Clock
) -> None:
    row, result = sent(acme, clock)
    undoing = STANDING["in doubt"] | {"reason": "undoing", "fence_at": clock.now()}
    forget(row, clock, **undoing)
    settle(row, result)
    assert (stored().state, stored().reason, stored().attempt) == ("IN_DOUBT", "undoing", 2)
    acme.gateway.ledger.index_lag = 1e9
    rows.fail(acme, "status", status=400, reason="MISSING_AUTH", operation="reversal", times=99)
    for _ in range(20):
        clock.forward(600)
        rows.work(row)
    assert (stored().state, stored().reason) == ("PARKED", "unclear:ContradictedError")


def test_of_two_forgotten_tries_of_a_row_that_has_ended_both_are_kept(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    row, result = sent(acme, clock)
    forget(row, clock)
    second = rows.picked(stored())
    parcel = executing.take(second, now=clock.now())
    assert parcel is not None
    forget(row, clock, state="CANCELLED", due_at=None, finished_at=clock.now())
    settle(row, result)
    settle(second, executing.of_error(second, parcel, ConnectionResetError(), started=0.0))
    assert list(stored().attempts.order_by("number").values_list("number", flat=True)) == [1, 2]
    assert caplog.text.count("was answered late") == 2


def test_what_was_not_processed_leaves_another_workers_claim_alone(
    acme: Simulation, clock: Clock
) -> None:
    row, result = sent(acme, clock)
    other = claimed_by_another(row, clock)
    settle(row, replace(result, verdict=SLOWED, status=429, reply=None))
    assert (stored().state, stored().jti, stored().attempts.count()) == ("SENDING", other, 0)


STANDING: dict[str, dict[str, Any]] = {
    "in doubt": {"state": "IN_DOUBT", "attempt": 1, "maybe_sent": True, "reason": "no_answer"},
    "parked": {"state": "PARKED", "reason": "KeyMismatch", "due_at": None},
}
UNREADABLE = {"verdict": outcomes.maybe(outcomes.UNREADABLE), "status": 201, "reply": None}


def test_an_answer_ends_a_row_that_was_parked_unsent(acme: Simulation, clock: Clock) -> None:
    row, result = sent(acme, clock)
    forget(row, clock, **STANDING["parked"])
    settle(row, result)
    assert (stored().state, stored().outcome) == ("ANSWERED", "AUTHORIZED")


@pytest.mark.parametrize("policy", ["search", "resend"])
def test_beside_a_try_in_doubt_an_answer_is_no_end_but_never_called_absent(
    acme: Simulation, clock: Clock, settings: Any, policy: str
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESOLVE": {f"POST {rows.PAYMENTS}": policy}}
    row, result = sent(acme, clock)
    forget(row, clock, **STANDING["in doubt"])
    settle(row, result)
    assert stored().state == "IN_DOUBT"
    acme.gateway.ledger.index_lag = 1e9
    for _ in range(20):
        clock.forward(600)
        rows.work(row)
    assert (stored().state, stored().reason) == ("PARKED", "unclear:ContradictedError")
    assert len(rows.money(acme)) == 1


@pytest.mark.parametrize("end", ["EXPIRED", "CANCELLED", "ANSWERED"])
@pytest.mark.parametrize("then", [Then.END, Then.DOUBT])
def test_of_a_row_that_has_ended_a_person_hears_and_the_try_is_kept(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture, end: str, then: Then
) -> None:
    row, result = sent(acme, clock)
    jti = row.jti
    forget(row, clock, state=end, due_at=None, finished_at=clock.now())
    settle(row, replace(result, verdict=replace(result.verdict, then=then)))
    assert (stored().state, stored().maybe_sent) == (end, True)
    assert stored().attempts.get().jti == jti
    assert "was answered late" in caplog.text


@pytest.mark.parametrize("standing", STANDING)
def test_a_2xx_that_does_not_open_keeps_it_from_being_sent_again_or_undone(
    acme: Simulation, clock: Clock, standing: str
) -> None:
    row, result = sent(acme, clock)
    fence = row.fence_at
    forget(row, clock, **STANDING[standing])
    settle(row, replace(result, **UNREADABLE))
    found = stored()
    assert (found.state, found.maybe_sent, found.fence_at) == ("IN_DOUBT", True, fence)
    acme.gateway.ledger.index_lag = 1e9
    for _ in range(20):
        clock.forward(20)
        found = rows.work(found)
    assert (found.state, found.reason) == ("PARKED", outcomes.UNREADABLE)


def test_a_row_that_is_gone_is_stored_again_with_its_answer(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    row, result = sent(acme, clock)
    OutboundRequest.objects.all().delete()
    settle(row, result)
    assert (row.state, stored().pk, stored().state) == ("ANSWERED", row.pk, "ANSWERED")
    assert stored().attempts.get().kind == "answered"
    assert "stored again" in caplog.text


@pytest.mark.parametrize("path", [rows.PAYMENTS, PAYOUT])
def test_the_answer_goes_to_the_row_that_was_made_again_meanwhile(
    acme: Simulation, clock: Clock, path: str
) -> None:
    payment = rows.payment()
    row, result = sent(acme, clock, path, json=payment)
    OutboundRequest.objects.all().delete()
    again = rows.enqueue(path, json=payment, key=row.idempotency_key)
    settle(row, result)
    assert (row.pk, row.state) == (again.pk, "ANSWERED")
    assert (rows.work(again).state, again.pk) == ("ANSWERED", stored().pk)
    assert stored().attempts.count() == 1


def test_a_commit_that_was_not_acknowledged_records_it_once(acme: Simulation, clock: Clock) -> None:
    payment = rows.payment()
    row, result = sent(acme, clock, json=payment)
    before = copy(row)
    OutboundRequest.objects.all().delete()
    again = rows.enqueue(json=payment, key=row.idempotency_key)
    for each in (row, before):
        settle(each, result)
        assert (each.pk, each.state) == (again.pk, "ANSWERED")
    assert stored().attempts.count() == 1


def test_what_was_not_processed_is_to_be_made_anew(acme: Simulation, clock: Clock) -> None:
    row, result = sent(acme, clock)
    OutboundRequest.objects.all().delete()
    rows.enqueue(key=row.idempotency_key)
    with pytest.raises(QueueError, match="It was not processed: make it anew"):
        settle(row, replace(result, verdict=SLOWED, status=429, reply=None))


def test_an_answer_to_another_order_under_the_same_key_goes_to_nobody(
    acme: Simulation, clock: Clock
) -> None:
    row, result = sent(acme, clock)
    OutboundRequest.objects.all().delete()
    rows.enqueue(key=row.idempotency_key)
    with pytest.raises(OutcomeUnknown, match="'AUTHORIZED', and does not take it again") as caught:
        settle(row, result)
    assert caught.value.facts["gateway_id"] == acme.ledger[0].id
    assert stored().state == "QUEUED"
