"""Pay an order: the only file of the platform that speaks to the gateway."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import OutcomeUnknown
from django_cybs_jwt.signals import RequestEvent
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


def queue(order: Order, card: dict[str, str]) -> None:
    """Store the order and its payment together: both are there, or neither; a worker sends it."""
    with transaction.atomic():
        order.status = "QUEUED"
        order.save()
        cybs.enqueue(
            order.merchant,
            "POST",
            "/pts/v2/payments",
            json=_payment(order, card),
            idempotency_key=order.code,
        )


def close(event: RequestEvent, **_: Any) -> None:
    """Take over how a queued payment ended; runs in the worker, and may run twice."""
    queued = Order.objects.filter(code=event.idempotency_key)
    queued.update(status=event.outcome or event.state, gateway_id=event.gateway_id)


def _payment(order: Order, card: dict[str, str]) -> dict[str, Any]:
    return {
        "clientReferenceInformation": {"code": order.code},
        "processingInformation": {"capture": True},
        "paymentInformation": {"card": card},
        "orderInformation": {
            "amountDetails": {"totalAmount": str(order.amount), "currency": order.currency}
        },
    }
