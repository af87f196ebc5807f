"""A host project's own suite, run against the simulator that django_cybs_jwt ships."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from orders.models import Order
from orders.payments import TEST_CARD, pay, queue

from django_cybs_jwt.exceptions import GatewayRefused, OutcomeUnknown
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.testing.simulation import Simulation


@pytest.fixture
def order(cybs_simulator: Simulation) -> Order:
    cybs_simulator.merchant("acme")
    return Order.objects.create(merchant="acme", code="A-1", amount="12.50")


def test_pay__stores_what_the_gateway_decided(cybs_simulator: Simulation, order: Order) -> None:
    reply = pay(order, TEST_CARD)

    order.refresh_from_db()
    assert (order.status, reply.encrypted, reply.request_encrypted) == ("AUTHORIZED", True, True)
    [entry] = cybs_simulator.ledger
    assert (entry.org_id, entry.code, entry.amount) == ("acme", "A-1", "12.50")


def test_pay__without_an_answer_is_unknown_and_not_offered_again(
    cybs_simulator: Simulation, order: Order
) -> None:
    cybs_simulator.faults.add(Fault(kind=FaultKind.RESET_AFTER, times=1))

    with pytest.raises(OutcomeUnknown):
        pay(order, TEST_CARD)

    order.refresh_from_db()
    assert order.status == "UNKNOWN"


def test_pay__refusal_names_the_reason(cybs_simulator: Simulation, order: Order) -> None:
    order.amount = "abc"  # type: ignore[assignment]

    with pytest.raises(GatewayRefused, match="INVALID_DATA"):
        pay(order, TEST_CARD)


@pytest.mark.django_db(transaction=True)
def test_queue__a_worker_pays_and_the_order_hears_of_it(
    cybs_simulator: Simulation, order: Order
) -> None:
    queue(order, TEST_CARD)
    order.refresh_from_db()
    assert (order.status, len(cybs_simulator.ledger)) == ("QUEUED", 0)

    call_command("cybs_worker", "--drain", stdout=StringIO())

    order.refresh_from_db()
    [entry] = cybs_simulator.ledger
    assert (order.status, order.gateway_id) == ("AUTHORIZED", entry.id)


def test_queue__rolled_back_there_is_neither_order_nor_payment(
    cybs_simulator: Simulation, order: Order
) -> None:
    with transaction.atomic():
        queue(order, TEST_CARD)
        transaction.set_rollback(True)

    order.refresh_from_db()
    assert order.status == "NEW"
    assert not OutboundRequest.objects.exists()


def test_button__lets_a_worker_pay(client: Any, cybs_simulator: Simulation, order: Order) -> None:
    page = client.post(f"/orders/{order.pk}/queue/", follow=True)

    assert "A-1: a worker pays it" in page.content.decode()
    assert OutboundRequest.objects.get().idempotency_key == "A-1"


def test_button__pays_through_the_page(
    client: Any, cybs_simulator: Simulation, order: Order
) -> None:
    page = client.post(f"/orders/{order.pk}/pay/", follow=True)

    assert "A-1: AUTHORIZED" in page.content.decode()
