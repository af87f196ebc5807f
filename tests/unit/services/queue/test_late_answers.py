"""An answer that comes after its worker was given up: taken where nothing has ended, never lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.utils import timezone

from django_cybs_jwt import cybs, signals
from django_cybs_jwt.client import Parcel, Reply
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services.queue import executing, operating, outcomes, sweeping
from django_cybs_jwt.services.queue.payloads import StoredReply
from django_cybs_jwt.services.queue.settling import settle
from django_cybs_jwt.signals import RequestEvent
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import SALE, Clock

PAYMENT = "POST /pts/v2/payments"
FENCE = 120 + 130 + 15
Arrive = Callable[[], OutboundRequest]


@pytest.fixture
def late() -> Iterator[list[RequestEvent]]:
    """What is told of late answers."""
    events: list[RequestEvent] = []

    def receiver(event: RequestEvent, **_: Any) -> None:
        events.append(event)

    signals.request_answered_late.connect(receiver)
    yield events
    signals.request_answered_late.disconnect(receiver)


def resolve_by(settings: Any, policy: str) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESOLVE": {PAYMENT: policy}}


def given_up(simulation: Simulation, clock: Clock, **options: Any) -> Arrive:
    """A row in doubt whose worker still waits for an answer; called, it has come."""
    tried = sent(simulation, clock, **options)
    return lambda: arrived(*tried)


def sent(
    simulation: Simulation, clock: Clock, **options: Any
) -> tuple[OutboundRequest, Parcel, Reply]:
    """A try that its worker still knows of when its lease has ended."""
    options.setdefault("json", rows.payment(**SALE))
    row = rows.picked(rows.enqueue(**options))
    parcel = executing.take(row, now=clock.now())
    assert parcel is not None
    simulation.gateway.ledger.index_lag = 1e9
    reply = answered(row, parcel)
    clock.forward(181)
    sweeping.sweep(clock.now())
    return row, parcel, reply


def answered(row: OutboundRequest, parcel: Parcel) -> Reply:
    with executing.client_of(row) as http:
        return Reply.of(http.dispatch(parcel), received_at=timezone.now())


def arrived(row: OutboundRequest, parcel: Parcel, reply: Reply) -> OutboundRequest:
    settle(row, executing.of_reply(row, parcel, reply, started=0.0))
    return OutboundRequest.objects.select_related("organization").get(pk=row.pk)


def looks(clock: Clock, seconds: float, step: float = 20) -> OutboundRequest:
    for _ in range(int(seconds / step)):
        clock.forward(step)
        rows.work(OutboundRequest.objects.get())
    return OutboundRequest.objects.get()


@pytest.mark.django_db(transaction=True)
def test_a_person_need_not_look_once_the_answer_is_there(
    acme: Simulation, clock: Clock, settings: Any, late: list[RequestEvent]
) -> None:
    resolve_by(settings, "manual")
    arrive = given_up(acme, clock)
    assert looks(clock, 20).state == "PARKED"
    row = arrive()
    assert (row.state, row.outcome, row.gateway_id) == (
        "ANSWERED", "AUTHORIZED", acme.ledger[0].id
    )  # fmt: skip
    assert (row.reason, row.sealed_payload, row.attempts.get().kind) == ("", None, "answered")
    assert cybs.reply_to(row).json()["id"] == acme.ledger[0].id  # type: ignore[union-attr]
    assert late == []


def test_what_waits_to_be_sent_again_is_not_sent_once_the_answer_is_there(
    acme: Simulation, clock: Clock, settings: Any
) -> None:
    resolve_by(settings, "manual")
    arrive = given_up(acme, clock)
    row = looks(clock, 20)
    operating.retry(row, actor="mara", now=clock.now(), reason="not there", force=True)
    assert arrive().state == "ANSWERED"
    row = looks(clock, 60)
    assert (row.state, row.attempt) == ("ANSWERED", 1)


ENDS = {"search": "ABSENT", "void": "VOIDED"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("policy", ENDS)
def test_what_was_ended_otherwise_stays_ended_and_the_answer_is_kept_and_told_aloud(
    acme: Simulation,
    clock: Clock,
    settings: Any,
    late: list[RequestEvent],
    caplog: pytest.LogCaptureFixture,
    policy: str,
) -> None:
    resolve_by(settings, policy)
    arrive = given_up(acme, clock)
    assert looks(clock, FENCE).state == ENDS[policy]
    row = arrive()
    assert (row.state, row.attempts.get().kind) == (ENDS[policy], "answered")
    assert cybs.reply_to(row).json()["status"] == "AUTHORIZED"  # type: ignore[union-attr]
    (event,) = late
    assert (event.state, event.outcome, event.attempt) == (ENDS[policy], "AUTHORIZED", 1)
    assert (event.gateway_id, event.http_status) == (acme.ledger[0].id, 201)
    (line,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert str(row.pk) in line.getMessage()
    assert rows.CARD not in line.getMessage()


def test_a_late_answer_is_kept_no_longer_than_the_others(
    acme: Simulation, clock: Clock, settings: Any
) -> None:
    resolve_by(settings, "search")
    arrive = given_up(acme, clock)
    looks(clock, FENCE)
    clock.forward(40 * 86400)
    sweeping.shred(clock.now())
    row = arrive()
    assert row.sealed_reply is not None
    sweeping.shred(clock.now())
    row.refresh_from_db()
    assert (row.sealed_reply, row.due_at) == (None, None)


@pytest.mark.django_db(transaction=True)
def test_an_answer_says_nothing_of_what_is_being_undone(
    acme: Simulation, clock: Clock, late: list[RequestEvent]
) -> None:
    arrive = given_up(acme, clock)
    rows.fail(acme, "reset_after", operation="void", times=9)
    row = looks(clock, FENCE - 160)
    assert (row.state, row.reason) == ("IN_DOUBT", "undoing")
    assert (arrive().state, len(late)) == ("IN_DOUBT", 1)
    acme.gateway.ledger.index_lag = 0.0
    assert looks(clock, 400).state == "VOIDED"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("twin", [False, True])
def test_an_answer_to_what_the_search_has_found_is_news_only_where_it_is_another(
    acme: Simulation, clock: Clock, late: list[RequestEvent], twin: bool
) -> None:
    arrive = given_up(acme, clock)
    acme.gateway.ledger.index_lag = 0.0
    row = looks(clock, 20)
    assert (row.state, row.found) == ("ANSWERED", True)
    if twin:
        OutboundRequest.objects.update(gateway_id="9" * 22)
    row = arrive()
    assert (row.outcome, row.attempts.get().kind) == ("TRANSMITTED", "answered")
    assert len(late) == twin


@pytest.mark.django_db(transaction=True)
def test_of_two_under_one_id_one_answer_does_not_decide(
    acme: Simulation, clock: Clock, late: list[RequestEvent]
) -> None:
    arrive = given_up(acme, clock)
    OutboundRequest.objects.update(state="PARKED", reason="processed_twice", due_at=None)
    assert (arrive().state, len(late)) == ("PARKED", 1)


@pytest.mark.django_db(transaction=True)
def test_the_answer_to_an_earlier_try_is_recorded_with_that_try(
    acme: Simulation, clock: Clock, settings: Any, late: list[RequestEvent]
) -> None:
    resolve_by(settings, "resend")
    arrive = given_up(acme, clock)
    row = looks(clock, FENCE - 140)
    assert (row.state, row.reason, row.attempt) == ("IN_DOUBT", "duplicate", 2)
    row = arrive()
    assert (row.state, row.attempt, len(late)) == ("IN_DOUBT", 2, 1)
    kinds = list(row.attempts.order_by("number").values_list("number", "kind"))
    assert kinds == [(1, "answered"), (2, "maybe")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("policy", ["void", "resend"])
def test_a_late_reply_that_does_not_open_says_that_it_was_processed(
    acme: Simulation, clock: Clock, settings: Any, late: list[RequestEvent], policy: str
) -> None:
    """So it is neither undone nor sent again."""
    resolve_by(settings, policy)
    row, parcel, reply = sent(acme, clock)
    read = executing.of_reply(row, parcel, reply, started=0.0)
    unread = StoredReply(status_code=201, content=b"not for us", readable=False)
    settle(row, replace(read, verdict=outcomes.maybe(outcomes.UNREADABLE), reply=unread))
    assert late == []
    row = looks(clock, FENCE)
    assert (row.state, row.reason, row.attempt) == ("PARKED", "unreadable", 1)
    assert row.sealed_reply is not None


@pytest.mark.django_db(transaction=True)
def test_a_late_failure_is_no_answer(
    acme: Simulation, clock: Clock, settings: Any, late: list[RequestEvent]
) -> None:
    resolve_by(settings, "search")
    rows.fail(acme, "status", status=503)
    arrive = given_up(acme, clock)
    assert looks(clock, FENCE).state == "ABSENT"
    assert (arrive().attempts.get().kind, late) == ("lost", [])
