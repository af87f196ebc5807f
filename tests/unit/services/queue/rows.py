"""Payments for the queue, and a clock that stands still until it is moved."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services.queue import picking, working
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.testing.simulation import Simulation

CARD: Final = "4111111111111111"
PAYMENTS: Final = "/pts/v2/payments"
_numbers = itertools.count(1)


class Clock:
    """Stands in for the database's clock."""

    def __init__(self) -> None:
        self._now = timezone.now()

    def now(self) -> datetime:
        return self._now

    def forward(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


def payment(**changes: Any) -> dict[str, Any]:
    return {
        "clientReferenceInformation": {"code": f"order-{next(_numbers)}"},
        "paymentInformation": {"card": {"number": CARD, "securityCode": "123"}},
        "orderInformation": {"amountDetails": {"totalAmount": "102.21", "currency": "USD"}},
        **changes,
    }


SALE: Final = {"processingInformation": {"capture": True}}


def enqueue(path: str = PAYMENTS, *, key: str = "", **options: Any) -> OutboundRequest:
    if options.get("json") is None and options.get("content") is None:
        options["json"] = payment()
    key = key or f"key-{next(_numbers)}"
    return cybs.enqueue("acme", "POST", path, idempotency_key=key, **options)


def work(request: OutboundRequest) -> OutboundRequest:
    """One call of a worker, and the row as it then is."""
    working.work(request.pk)
    return OutboundRequest.objects.select_related("organization").get(pk=request.pk)


def picked(request: OutboundRequest) -> OutboundRequest:
    """As a worker reads it."""
    found = picking.pick(request.pk)
    assert found is not None
    return found[0]


def fail(simulation: Simulation, kind: str, **options: Any) -> None:
    simulation.faults.add(Fault(kind=FaultKind(kind), **options))


def money(simulation: Simulation) -> list[str]:
    """The transactionIds of the payments that the gateway has processed."""
    wanted = ("authorization", "sale", "capture", "refund", "credit")
    return [entry.transaction_id for entry in simulation.ledger if entry.operation in wanted]
