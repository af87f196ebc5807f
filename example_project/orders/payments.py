"""Pay an order: the only file of the platform that speaks to the gateway."""

from __future__ import annotations

from typing import Any

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import OutcomeUnknown
from orders.models import Order

TEST_CARD = {"number": "4111111111111111", "expirationMonth": "12", "expirationYear": "2031"}


def pay(order: Order, card: dict[str, str]) -> cybs.Reply:
    """Authorize and capture, store the outcome, return the gateway's answer."""
    try:
        reply = cybs.send(order.merchant, "POST", "/pts/v2/payments", json=_payment(order, card))
    except OutcomeUnknown:
        # It may have been paid: offering the button again would invite a second charge.
        order.status = "UNKNOWN"
        order.save(update_fields=["status"])
        raise
    answer = reply.raise_for_status().json()
    order.status, order.gateway_id = answer["status"], answer["id"]
    order.save(update_fields=["status", "gateway_id"])
    return reply


def _payment(order: Order, card: dict[str, str]) -> dict[str, Any]:
    return {
        "clientReferenceInformation": {"code": order.code},
        "processingInformation": {"capture": True},
        "paymentInformation": {"card": card},
        "orderInformation": {
            "amountDetails": {"totalAmount": str(order.amount), "currency": order.currency}
        },
    }
