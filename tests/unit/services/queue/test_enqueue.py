"""`enqueue`: one sealed row in the caller's own transaction, once for each key."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import (
    EncryptionRequired,
    IdempotencyConflict,
    InvalidBody,
    InvalidHeader,
    InvalidPath,
    MessageError,
    OrganizationNotFound,
    QueueError,
    TransactionIdConflict,
)
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services import doorbell as doorbell_service
from django_cybs_jwt.services.queue import database_clock, payloads
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import CARD, PAYMENTS, payment

rung: list[tuple[UUID, str]] = []


def doorbell(request_id: UUID, host: str) -> None:
    rung.append((request_id, host))


def broken_doorbell(request_id: UUID, host: str) -> None:
    raise ConnectionError("amqp://user:password@broker")


@pytest.fixture
def bell(settings: Any) -> list[tuple[UUID, str]]:
    rung.clear()
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    return rung


def test_it_is_one_sealed_row_and_nothing_is_sent(acme: Simulation) -> None:
    row = rows.enqueue()
    stored = OutboundRequest.objects.get()
    assert (stored.pk, stored.state, stored.attempt) == (row.pk, "QUEUED", 0)
    assert stored.operation == "POST /pts/v2/payments"
    assert acme.ledger == []


def test_a_rollback_takes_it_along(acme: Simulation, bell: list[Any]) -> None:
    """c0."""
    with transaction.atomic():
        rows.enqueue()
        transaction.set_rollback(True)
    assert not OutboundRequest.objects.exists()
    assert bell == []


def test_it_takes_at_most_three_queries_new_or_known(acme: Simulation) -> None:
    order = payment()
    for _ in range(2):
        with transaction.atomic(), CaptureQueriesContext(connection) as queries:
            rows.enqueue(key="order-1", json=order)
        assert len(queries) <= 3, queries.captured_queries


def test_no_clear_column_says_anything_of_the_payload(acme: Simulation) -> None:
    path = f"/tms/v1/instrumentidentifiers/{CARD}?number={CARD}"
    row = rows.enqueue(path, json=payment(), headers={"x-card": CARD})
    values = OutboundRequest.objects.values().get(pk=row.pk)
    assert CARD.encode() not in b"".join(
        bytes(value) if isinstance(value, memoryview) else str(value).encode()
        for value in values.values()
    )
    assert row.operation == "POST /tms/v1/instrumentidentifiers/{id}"
    opened = payloads.open_payload(row)
    assert (opened.path, opened.headers) == (path, {"x-card": CARD})
    assert CARD not in repr(opened) + repr(row) + str(row)


# The key


def test_the_same_key_and_request_is_the_same_row(acme: Simulation) -> None:
    order = payment()
    first = rows.enqueue(key="order-1", json=order)
    backwards = dict(reversed(order.items()))
    again = rows.enqueue(key="order-1", json=backwards)
    assert again.pk == first.pk
    assert OutboundRequest.objects.count() == 1
    done = rows.work(first)
    later = rows.enqueue(key="order-1", json=order)
    assert (later.state, later.outcome) == ("ANSWERED", done.outcome)


OTHERS: dict[str, dict[str, Any]] = {
    "body": {"json": payment()},
    "path": {"path": "/pts/v2/credits"},
    "header": {"headers": {"x-other": "1"}},
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_same_key_for_another_request_is_an_error(acme: Simulation, other: str) -> None:
    order = {"path": PAYMENTS, "json": payment()}
    first = rows.enqueue(key="order-1", **order)
    with transaction.atomic():
        with pytest.raises(IdempotencyConflict) as caught:
            rows.enqueue(key="order-1", **(order | OTHERS[other]))
        # The caller's transaction goes on.
        assert OutboundRequest.objects.get().pk == first.pk
    assert CARD not in str(caught.value) + str(caught.value.facts)


def test_two_merchants_may_use_one_key(acme: Simulation) -> None:
    acme.merchant("other", signs_with="shared_secret", response_mle=False)
    order = payment()
    ids = {
        cybs.enqueue(name, "POST", PAYMENTS, json=order, idempotency_key="order-1").transaction_id
        for name in ("acme", "other")
    }
    assert len(ids) == 2


@pytest.mark.parametrize("key", ["", " ", "a\n", "ä", "x" * 129, " a", "a ", "a\0b"])
def test_a_key_is_short_printable_ascii(acme: Simulation, key: str) -> None:
    with pytest.raises(QueueError, match="never card data"):
        cybs.enqueue("acme", "POST", PAYMENTS, json=payment(), idempotency_key=key)


@pytest.mark.parametrize("submit", [cybs.enqueue, cybs.submit])
@pytest.mark.parametrize("key", [CARD, "4111 1111 1111 1111", "3782-822463-10005"])
def test_a_key_that_looks_like_a_card_number_is_refused_and_not_repeated(
    acme: Simulation, submit: Any, key: str
) -> None:
    with pytest.raises(QueueError, match="like order-7") as caught:
        submit("acme", "POST", PAYMENTS, json=payment(), idempotency_key=key)
    assert key not in str(caught.value) + str(caught.value.facts)
    assert not OutboundRequest.objects.exists()


@pytest.mark.parametrize("key", ["1757695744950", "4111111111111112", f"order-{CARD}", "0" * 16])
def test_an_order_number_is_no_card_number(acme: Simulation, key: str) -> None:
    assert rows.enqueue(key=key).idempotency_key == key


# The transactionId


def test_the_transaction_id_is_the_same_when_the_row_is_made_again(acme: Simulation) -> None:
    """I8."""
    order = payment()
    first = rows.enqueue(key="order-1", json=order)
    OutboundRequest.objects.all().delete()
    again = rows.enqueue(key="order-1", json=order)
    assert first.pk != again.pk
    assert first.transaction_id == again.transaction_id
    assert len(first.transaction_id) == 26
    assert rows.enqueue(key="order-2", json=order).transaction_id != first.transaction_id


def test_it_is_sent_with_a_transaction_id_and_a_code(acme: Simulation) -> None:
    row = rows.work(rows.enqueue(json=payment(clientReferenceInformation={})))
    (entry,) = acme.ledger
    assert (entry.transaction_id, entry.code) == (row.transaction_id, row.transaction_id)


def test_what_the_caller_named_stays(acme: Simulation) -> None:
    mine = {"code": "order-9", "transactionId": "mine-1", "comments": "kept"}
    row = rows.work(rows.enqueue(json=payment(clientReferenceInformation=mine)))
    (entry,) = acme.ledger
    assert (row.transaction_id, entry.transaction_id, entry.code) == ("mine-1", "mine-1", "order-9")


def test_a_transaction_id_of_its_own_is_of_one_request_alone(acme: Simulation) -> None:
    """Else the answer, or the undoing, of one order's payment would be taken for another's."""
    mine = {"clientReferenceInformation": {"code": "c1", "transactionId": "mine"}}
    order = payment(**mine)
    first = rows.enqueue(key="order-1", json=order)
    assert rows.enqueue(key="order-1", json=order).pk == first.pk
    with transaction.atomic():
        with pytest.raises(TransactionIdConflict, match="leave it out") as caught:
            rows.enqueue(key="order-2", json=payment(**mine))
        with pytest.raises(TransactionIdConflict):
            rows.enqueue(key="order-3", path="/pts/v2/payouts", json=payment(**mine))
        # The caller's transaction goes on.
        assert OutboundRequest.objects.get().pk == first.pk
    assert CARD not in str(caught.value) + str(caught.value.facts)
    assert caught.value.facts == {"request": str(first.pk)}
    rows.work(first)
    with pytest.raises(TransactionIdConflict):
        rows.enqueue(key="order-2", json=payment(**mine))


def test_two_merchants_may_name_one_transaction_id(acme: Simulation) -> None:
    acme.merchant("other", signs_with="shared_secret", response_mle=False)
    mine = payment(clientReferenceInformation={"transactionId": "mine"})
    for name in ("acme", "other"):
        cybs.enqueue(name, "POST", PAYMENTS, json=mine, idempotency_key="order-1")
    assert OutboundRequest.objects.filter(transaction_id="mine").count() == 2


def test_many_have_no_transaction_id_at_all(acme: Simulation) -> None:
    for key in ("read-1", "read-2"):
        cybs.enqueue("acme", "GET", "/tss/v2/transactions/1", idempotency_key=key)
        rows.enqueue("/pts/v2/payouts", key=f"payout-{key}")
    assert OutboundRequest.objects.filter(transaction_id=None).count() == 4


def test_money_that_is_not_given_an_id_keeps_the_one_it_carries(acme: Simulation) -> None:
    mine = {"clientReferenceInformation": {"transactionId": "payout-1"}}
    row = rows.enqueue("/pts/v2/payouts", json=payment(**mine))
    assert (row.safety, row.transaction_id) == ("UNGUARDED", "payout-1")


def test_the_fingerprint_does_not_give_a_card_number_away(acme: Simulation) -> None:
    """Keyed: whoever has the table cannot try all numbers."""
    row = rows.enqueue()
    payload = payloads.open_payload(row)
    assert payloads.fingerprint(payload) == row.fingerprint
    ring = payloads.conf.keyring()
    assert len(row.fingerprint) == 64
    assert row.fingerprint not in repr(ring)


# When


def test_it_is_not_due_before_send_after(acme: Simulation, clock: rows.Clock) -> None:
    row = rows.enqueue(send_after=database_clock.now() + timedelta(hours=1))
    assert rows.work(row).state == "QUEUED"
    clock.forward(3601)
    assert rows.work(row).state == "ANSWERED"


def test_nothing_leaves_after_its_deadline(acme: Simulation, clock: rows.Clock) -> None:
    row = rows.enqueue(deadline=database_clock.now() + timedelta(seconds=60))
    clock.forward(61)
    assert rows.work(row).state == "EXPIRED"
    assert acme.ledger == []


def test_what_would_be_sent_after_its_deadline_is_refused(acme: Simulation) -> None:
    soon = database_clock.now() + timedelta(seconds=60)
    with pytest.raises(QueueError, match="deadline"):
        rows.enqueue(send_after=soon, deadline=soon)


def test_the_same_call_after_its_deadline_returns_the_row_that_is_there(
    acme: Simulation, clock: rows.Clock
) -> None:
    order, deadline = payment(), clock.now() + timedelta(seconds=60)
    row = rows.work(rows.enqueue(key="order-1", json=order, deadline=deadline))
    clock.forward(61)
    again = rows.enqueue(key="order-1", json=order, deadline=deadline)
    assert (again.pk, again.state) == (row.pk, "ANSWERED")
    with pytest.raises(IdempotencyConflict):
        rows.enqueue(key="order-1", deadline=deadline)


@pytest.mark.parametrize("priority", [-1, 10])
def test_a_priority_is_from_0_to_9(acme: Simulation, priority: int) -> None:
    with pytest.raises(QueueError, match="priority"):
        rows.enqueue(priority=priority)


# What is refused at once


REFUSED: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "host": ({"path": "https://evil.example.com/"}, InvalidPath),
    "no object": ({"json": [1]}, InvalidBody),
    "no JSON": ({"content": b"{"}, InvalidBody),
    "twice the same name": ({"content": b'{"a":1,"a":2}'}, InvalidBody),
    "id too long": (
        {"json": payment(clientReferenceInformation={"transactionId": "x" * 65})},
        InvalidBody,
    ),
    "code is a number": ({"json": {"clientReferenceInformation": {"code": 77}}}, InvalidBody),
    "reference is no object": ({"json": {"clientReferenceInformation": "x"}}, InvalidBody),
    "both": ({"json": {}, "content": b"{}"}, InvalidBody),
    "too long": ({"json": {"x": "x" * (1 << 20)}}, InvalidBody),
    "header": ({"headers": {"authorization": "x"}}, InvalidHeader),
    "0 for False": ({"path": "/tms/v2/tokenize", "mle": 0, "json": {}}, MessageError),
    "mandatory MLE": ({"path": "/tms/v2/tokenize", "mle": False, "json": {}}, EncryptionRequired),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_never_be_sent_is_not_stored(acme: Simulation, name: str) -> None:
    options, error = REFUSED[name]
    with pytest.raises(error):
        rows.enqueue(**options)
    assert not OutboundRequest.objects.exists()


def test_an_unknown_method_or_merchant_is_refused(acme: Simulation) -> None:
    with pytest.raises(MessageError):
        cybs.enqueue("acme", "BREW", PAYMENTS, idempotency_key="a")
    with pytest.raises(OrganizationNotFound):
        cybs.enqueue("nobody", "POST", PAYMENTS, json=payment(), idempotency_key="a")


# The doorbell


@pytest.mark.django_db(transaction=True)
def test_it_rings_after_the_commit_with_the_id_alone(acme: Simulation, bell: list[Any]) -> None:
    with transaction.atomic():
        row = rows.enqueue(key="order-1", json=payment())
        assert bell == []
    assert bell == [(row.pk, row.host)]


@pytest.mark.django_db(transaction=True)
def test_it_rings_once_for_a_key_and_not_before_send_after(
    acme: Simulation, bell: list[Any]
) -> None:
    order = payment()
    for _ in range(2):
        rows.enqueue(key="order-1", json=order)
    rows.enqueue(send_after=database_clock.now() + timedelta(hours=1))
    assert len(bell) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["broken_doorbell", "not_there"])
def test_a_doorbell_that_fails_fails_no_commit_and_tells_no_password(
    acme: Simulation, settings: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """c1."""
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.{name}"}
    with transaction.atomic():
        row = rows.enqueue()
    assert OutboundRequest.objects.get().pk == row.pk
    assert "password" not in caplog.text


@pytest.mark.parametrize("name", ["send_after", "deadline"])
def test_a_time_without_a_zone_is_refused(acme: Simulation, name: str) -> None:
    naive = datetime(2099, 1, 1)  # noqa: DTZ001
    with pytest.raises(QueueError, match="needs its zone"):
        rows.enqueue(**{name: naive})
    assert not OutboundRequest.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_is_told_once_in_a_while_and_its_password_never(
    acme: Simulation,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand orders a minute must not be a thousand lines."""
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.broken_doorbell"}
    monkeypatch.setattr(doorbell_service, "_silent_until", float("-inf"))
    for _ in range(3):
        rows.enqueue()
    told = [each for each in caplog.records if "doorbell failed" in each.getMessage()]
    assert [each.levelname for each in told if each.levelname == "WARNING"] == ["WARNING"]
    monkeypatch.setattr(doorbell_service, "_TELL_EVERY", 0.0)
    monkeypatch.setattr(doorbell_service, "_silent_until", float("-inf"))
    caplog.clear()
    rows.enqueue()
    rows.enqueue()
    assert [each.levelname for each in caplog.records].count("WARNING") == 2
    assert "password" not in caplog.text
