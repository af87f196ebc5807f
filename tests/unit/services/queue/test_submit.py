"""`submit` writes first, sends at once, and tells the truth; `asubmit` outlives its caller."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import (
    IdempotencyConflict,
    InvalidPath,
    KeyNotUsable,
    MessageError,
    OpenTransaction,
    QueueError,
    TransactionIdConflict,
)
from django_cybs_jwt.models import Credential, OutboundRequest, State
from django_cybs_jwt.services import signing
from django_cybs_jwt.services.queue import submitting
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services import enrolment
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import PAYMENTS, payment

Submit = Callable[..., OutboundRequest]


@pytest.fixture(params=["submit", "asubmit"])
def submit(request: pytest.FixtureRequest) -> Submit:
    """Both forms."""
    chosen = cybs.submit if request.param == "submit" else async_to_sync(cybs.asubmit)

    def pay(key: str = "order-1", **options: Any) -> OutboundRequest:
        options.setdefault("json", payment())
        return chosen("acme", "POST", options.pop("path", PAYMENTS), idempotency_key=key, **options)

    return pay


def test_the_two_forms_take_the_same() -> None:
    assert inspect.signature(cybs.submit) == inspect.signature(cybs.asubmit)


def test_it_is_answered_when_it_returns(acme: Simulation, submit: Submit) -> None:
    row = submit()
    assert (row.state, row.outcome, row.attempt) == ("ANSWERED", "AUTHORIZED", 1)
    stored = OutboundRequest.objects.get()
    assert (stored.state, stored.jti) == ("ANSWERED", acme.ledger[0].jti)
    assert stored.attempts.get().kind == "answered"


def test_mle_that_is_no_truth_value_is_refused_and_nothing_is_stored(
    acme: Simulation, submit: Submit
) -> None:
    with pytest.raises(MessageError, match="True, False or None"):
        submit(path="/tms/v2/tokenize", mle=0)
    assert not OutboundRequest.objects.exists()
    assert acme.ledger == []


def test_the_row_says_sending_before_the_first_byte(
    acme: Simulation, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1."""
    seen, handle = [], acme.gateway.handle

    def looking(request: Any) -> Any:
        seen.extend(OutboundRequest.objects.values_list("state", "attempt", "jti"))
        return handle(request)

    monkeypatch.setattr(acme.gateway, "handle", looking)
    row = submit()
    assert seen == [("SENDING", 1, row.jti)]


def test_the_same_key_again_returns_the_row_and_sends_nothing(
    acme: Simulation, submit: Submit
) -> None:
    order = payment()
    first, again = submit(json=order), submit(json=order)
    assert (again.pk, again.state) == (first.pk, "ANSWERED")
    assert len(acme.ledger) == 1
    with pytest.raises(IdempotencyConflict):
        submit(json=payment())


def test_the_transaction_id_of_another_request_is_refused_and_nothing_sent(
    acme: Simulation, submit: Submit
) -> None:
    mine = {"transactionId": "mine"}
    submit(json=payment(clientReferenceInformation=mine))
    with pytest.raises(TransactionIdConflict, match="leave it out"):
        submit(key="order-2", json=payment(clientReferenceInformation=mine))
    assert (len(acme.ledger), OutboundRequest.objects.count()) == (1, 1)


def test_what_was_queued_under_the_key_is_sent_now(acme: Simulation, submit: Submit) -> None:
    order = payment()
    queued = rows.enqueue(key="order-1", json=order)
    row = submit(json=order)
    assert (row.pk, row.state) == (queued.pk, "ANSWERED")
    assert len(acme.ledger) == 1


@pytest.mark.parametrize(
    ("kind", "options", "state"),
    [
        ("reset_after", {}, "IN_DOUBT"),
        ("reset_before", {}, "IN_DOUBT"),
        ("broken_jwe", {}, "IN_DOUBT"),
        ("status", {"status": 429}, "QUEUED"),
        ("status", {"status": 400, "reason": "INVALID_DATA"}, "ANSWERED"),
    ],
)
def test_it_tells_where_the_row_stands(
    acme: Simulation, submit: Submit, kind: str, options: dict[str, Any], state: str
) -> None:
    rows.fail(acme, kind, **options)
    assert submit().state == state == OutboundRequest.objects.get().state


def test_what_cannot_be_sent_is_raised_and_not_stored(acme: Simulation, submit: Submit) -> None:
    with pytest.raises(InvalidPath):
        submit(path="https://evil.example.com/")
    enrolment.put(Credential.objects.get(slot__purpose="signing"), State.SUSPENDED)
    signing.forget()
    with pytest.raises(KeyNotUsable):
        submit()
    assert not OutboundRequest.objects.exists()


def test_the_same_call_after_its_deadline_returns_what_was_sent(
    acme: Simulation, submit: Submit, clock: rows.Clock
) -> None:
    order, deadline = payment(), clock.now() + timedelta(seconds=60)
    first = submit(json=order, deadline=deadline)
    clock.forward(61)
    again = submit(json=order, deadline=deadline)
    assert (again.pk, again.state) == (first.pk, "ANSWERED")
    with pytest.raises(IdempotencyConflict):
        submit(json=payment(), deadline=deadline)
    with pytest.raises(QueueError, match="Nothing was sent"):
        submit(key="order-2", deadline=deadline)
    assert len(acme.ledger) == 1


@pytest.mark.parametrize("state", ["ANSWERED", "QUEUED"])
def test_the_same_call_returns_its_row_when_the_merchant_has_no_key_any_more(
    acme: Simulation, submit: Submit, state: str
) -> None:
    order = payment()
    first = submit(json=order) if state == "ANSWERED" else rows.enqueue(key="order-1", json=order)
    enrolment.put(Credential.objects.get(slot__purpose="signing"), State.SUSPENDED)
    signing.forget()
    again = submit(json=order)
    assert (again.pk, again.state) == (first.pk, state)


@pytest.mark.django_db(transaction=True)
def test_it_is_refused_inside_a_transaction(acme: Simulation) -> None:
    with transaction.atomic(), pytest.raises(OpenTransaction, match=r"cybs\.enqueue"):
        cybs.submit("acme", "POST", PAYMENTS, json=payment(), idempotency_key="order-1")
    assert acme.ledger == []
    assert not OutboundRequest.objects.exists()
    cybs.submit("acme", "POST", PAYMENTS, json=payment(), idempotency_key="order-1")
    assert not connection.in_atomic_block


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_caller_aborts_no_charge(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed browser tab."""
    arrived, release, handle = threading.Event(), threading.Event(), acme.gateway.handle

    def waiting(request: Any) -> Any:
        arrived.set()
        assert release.wait(30)
        return handle(request)

    monkeypatch.setattr(acme.gateway, "handle", waiting)

    async def closing() -> None:
        paying = cybs.asubmit("acme", "POST", PAYMENTS, json=payment(), idempotency_key="order-1")
        view = asyncio.ensure_future(paying)
        assert await asyncio.to_thread(arrived.wait, 30)
        view.cancel()
        with pytest.raises(asyncio.CancelledError):
            await view
        release.set()
        await asyncio.gather(*submitting._running)
        await asyncio.gather(*submitting._closing)

    async_to_sync(closing)()
    row = OutboundRequest.objects.get()
    assert (row.state, row.outcome) == ("ANSWERED", "AUTHORIZED")
    assert len(acme.ledger) == 1
