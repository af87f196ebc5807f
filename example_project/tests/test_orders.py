"""A host project's own suite, run against the simulator that django_cybs_jwt ships."""

from __future__ import annotations

from typing import Any

import pytest
from orders.models import Order
from orders.payments import TEST_CARD, pay

from django_cybs_jwt.exceptions import GatewayRefused, OutcomeUnknown
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


def test_button__pays_through_the_page(
    client: Any, cybs_simulator: Simulation, order: Order
) -> None:
    page = client.post(f"/orders/{order.pk}/pay/", follow=True)

    assert "A-1: AUTHORIZED" in page.content.decode()
