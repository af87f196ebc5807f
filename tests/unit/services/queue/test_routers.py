"""The queue reads its rows where it writes them, wherever a router sends reads."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.client import Reply
from django_cybs_jwt.exceptions import TransactionIdConflict
from django_cybs_jwt.models import Attempt, Organization, OutboundRequest
from django_cybs_jwt.services.queue import executing, sweeping
from django_cybs_jwt.services.queue.settling import settle
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import PAYMENTS, Clock, payment

pytestmark = pytest.mark.django_db


class Replica:
    """Sends reads of the queue to a database that nobody reaches."""

    def db_for_read(self, model: type[models.Model], **_: Any) -> str | None:
        return "replica" if model in (OutboundRequest, Attempt) else None


@pytest.fixture(autouse=True)
def replica(settings: Any) -> None:
    settings.DATABASE_ROUTERS = [f"{__name__}.Replica"]


def submit(key: str = "order-1", **options: Any) -> OutboundRequest:
    return cybs.submit("acme", "POST", PAYMENTS, idempotency_key=key, **options)


def test_a_payment_is_submitted_once_and_its_reply_is_read(acme: Simulation) -> None:
    order = payment(clientReferenceInformation={"transactionId": "mine"})
    first, again = submit(json=order), submit(json=order)
    assert (again.pk, again.state) == (first.pk, "ANSWERED")
    assert len(acme.ledger) == 1
    assert cybs.reply_to(again) is not None
    with pytest.raises(TransactionIdConflict):
        submit("order-2", json=order)


def test_what_waits_is_found_sent_and_parked_at_its_third_401(
    acme: Simulation, clock: Clock
) -> None:
    row = rows.enqueue()
    rows.fail(acme, "status", status=401, times=9)
    for _ in range(3):
        assert sweeping.due(clock.now(), limit=9) == [row.pk]
        row = rows.work(row)
        clock.forward(400)
    assert (row.state, row.attempts.count()) == ("PARKED", 3)
    assert Organization.objects.get().requests.get() == row


def test_what_is_in_doubt_is_cleared_up(acme: Simulation, clock: Clock) -> None:
    rows.fail(acme, "reset_after")
    row = submit(json=payment())
    for _ in range(30):
        clock.forward(30)
        row = rows.work(row)
    assert row.state == "ANSWERED"


def test_a_late_answer_is_taken(acme: Simulation, clock: Clock) -> None:
    row = rows.picked(rows.enqueue())
    parcel = executing.take(row, now=clock.now())
    assert parcel is not None
    with executing.client_of(row) as http:
        reply = Reply.of(http.dispatch(parcel), received_at=timezone.now())
    clock.forward(181)
    sweeping.sweep(clock.now())
    settle(row, executing.of_reply(row, parcel, reply, started=0.0))
    assert (row.state, row.attempts.get().kind) == ("ANSWERED", "answered")


def test_who_names_another_database_gets_it() -> None:
    assert OutboundRequest.objects.using("other").db == "other"
    assert OutboundRequest.objects.db_manager("other").all().db == "other"
