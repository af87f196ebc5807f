"""A failover promotes a standby that knows nothing of the last claims; their workers still live."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from django_cybs_jwt import cybs
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services.queue import executing, outcomes, sweeping
from django_cybs_jwt.services.queue.outcomes import Kind, Then, Verdict
from django_cybs_jwt.services.queue.settling import Result, settle
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
    simulation: Simulation, clock: Clock, path: str = rows.PAYMENTS
) -> tuple[OutboundRequest, Result]:
    """What a worker knows of its try, and not yet the database."""
    row = rows.picked(rows.enqueue(path))
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


@pytest.mark.parametrize("changes", [{}, {"verdict": SLOWED, "status": 429, "reply": None}])
def test_another_workers_claim_is_not_ended_and_an_answer_is_told_aloud(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    row, result = sent(acme, clock)
    other = str(uuid.uuid4())
    forget(row, clock, state="SENDING", attempt=1, jti=other, fence_at=clock.now())
    settle(row, replace(result, **changes))
    assert (stored().state, stored().jti, stored().attempts.count()) == ("SENDING", other, 0)
    assert ("was answered late" in caplog.text) == (not changes)


def test_a_row_that_is_gone_is_stored_again_with_its_answer(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    row, result = sent(acme, clock)
    OutboundRequest.objects.all().delete()
    settle(row, result)
    assert (row.state, stored().pk, stored().state) == ("ANSWERED", row.pk, "ANSWERED")
    assert stored().attempts.get().kind == "answered"
    assert "stored again" in caplog.text


def test_a_row_that_was_made_again_meanwhile_finds_what_was_processed(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    row, result = sent(acme, clock)
    payload = {"json": rows.payment(), "key": row.idempotency_key}
    OutboundRequest.objects.all().delete()
    again = rows.enqueue(**payload)
    settle(row, result)
    assert "was made again under its key" in caplog.text
    assert (stored().pk, stored().state) == (again.pk, "QUEUED")
    again = rows.work(again)
    for _ in range(20):
        clock.forward(20)
        sweeping.sweep(clock.now())
        again = rows.work(again)
    assert len(rows.money(acme)) == 1
