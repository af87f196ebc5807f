"""What `work` makes of a row: sent once, judged, recorded; nothing hammered, nothing guessed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import (
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
    models,
    transaction,
)
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.client import pools
from django_cybs_jwt.exceptions import OpenTransaction
from django_cybs_jwt.models import (
    Attempt,
    Credential,
    GatewayCertificate,
    Organization,
    OutboundRequest,
    State,
)
from django_cybs_jwt.services import organizations, signing
from django_cybs_jwt.services.queue import (
    breakers,
    bulkheads,
    executing,
    parking,
    payloads,
    retrying,
    settling,
    working,
)
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services import enrolment
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import CARD


def test_it_is_sent_once_and_the_answer_is_kept_sealed(acme: Simulation) -> None:
    row = rows.work(rows.enqueue())
    assert (row.state, row.outcome, row.http_status, row.attempt) == (
        "ANSWERED", "AUTHORIZED", 201, 1
    )  # fmt: skip
    (entry,) = acme.ledger
    assert (entry.id, entry.jti) == (row.gateway_id, row.jti)
    reply = cybs.reply_to(row)
    assert reply is not None
    assert reply.json()["id"] == entry.id
    assert row.sealed_payload is None
    assert entry.id.encode() not in bytes(row.sealed_reply)


def test_an_attempt_says_what_happened(acme: Simulation) -> None:
    row = rows.work(rows.enqueue())
    attempt = row.attempts.get()
    assert (attempt.number, attempt.jti, attempt.kind) == (1, row.jti, "answered")
    assert (attempt.http_status, attempt.phase) == (201, "answering")
    assert attempt.key_id == cybs.keys_for("acme").signing.kid
    assert attempt.correlation_id == row.correlation_id != ""
    assert attempt.elapsed_ms is not None


def test_worked_on_again_at_any_time_it_is_left_alone(acme: Simulation, clock: rows.Clock) -> None:
    """c3, c11."""
    row = rows.enqueue()
    for _ in range(5):
        rows.work(row)
        clock.forward(3600)
    assert len(acme.ledger) == 1
    assert working.work("00000000-0000-0000-0000-000000000000") is None


def test_a_decline_is_an_answer(acme: Simulation) -> None:
    amount = {"amountDetails": {"totalAmount": "13.13", "currency": "USD"}}
    row = rows.work(rows.enqueue(json=rows.payment(orderInformation=amount)))
    assert (row.state, row.outcome) == ("ANSWERED", "DECLINED")


# The claim


def test_the_row_names_the_token_before_the_first_byte(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1."""
    seen = []
    handle = acme.gateway.handle

    def looking(request: Any) -> Any:
        row = OutboundRequest.objects.get()
        seen.append((row.state, row.attempt, row.jti, connection.in_atomic_block))
        return handle(request)

    monkeypatch.setattr(acme.gateway, "handle", looking)
    row = rows.work(rows.enqueue())
    assert [entry[:3] for entry in seen] == [("SENDING", 1, row.jti)]
    assert acme.ledger[0].jti == row.jti


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_it_waits_for_the_gateway(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5."""
    inside = []
    handle = acme.gateway.handle
    monkeypatch.setattr(
        acme.gateway,
        "handle",
        lambda request: (inside.append(connection.in_atomic_block), handle(request))[1],
    )
    rows.work(rows.enqueue())
    assert inside == [False]


@pytest.mark.django_db(transaction=True)
def test_it_refuses_to_send_inside_a_transaction(acme: Simulation) -> None:
    row = rows.enqueue()
    with transaction.atomic(), pytest.raises(OpenTransaction, match="enqueue"):
        working.work(row.pk)
    assert acme.ledger == []
    assert OutboundRequest.objects.get().state == "QUEUED"


@pytest.mark.django_db(transaction=True)
def test_it_refuses_to_send_where_nothing_commits_by_itself(acme: Simulation) -> None:
    """I1: the claim would go with the first rollback, and what was sent would stay."""
    row = rows.enqueue()
    transaction.set_autocommit(False)
    try:
        with pytest.raises(OpenTransaction):
            working.work(row.pk)
        with pytest.raises(OpenTransaction):
            cybs.submit(
                "acme", "POST", rows.PAYMENTS, json=rows.payment(), idempotency_key="order-1"
            )
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert acme.ledger == []
    assert OutboundRequest.objects.get().state == "QUEUED"


def test_what_was_claimed_by_another_meanwhile_is_not_sent(acme: Simulation) -> None:
    """I2."""
    row = rows.enqueue()
    mine, other = (OutboundRequest.objects.select_related("organization").get() for _ in "12")
    now = row.due_at
    assert executing.take(other, now=now) is not None
    assert executing.take(mine, now=now) is None
    assert acme.ledger == []


def test_each_attempt_signs_anew(acme: Simulation, clock: rows.Clock) -> None:
    row = rows.enqueue()
    rows.fail(acme, "status", status=429, retry_after=1)
    rows.work(row)
    clock.forward(2)
    row = rows.work(row)
    tokens = [attempt.jti for attempt in row.attempts.all()]
    assert (row.state, row.attempt, len(set(tokens))) == ("ANSWERED", 2, 2)


# Not sent, refused, maybe


class Unreachable(httpx.BaseTransport):
    def __init__(self, error: type[httpx.TransportError]) -> None:
        self.error, self.calls = error, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        raise self.error("down", request=request)


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
def test_what_was_not_sent_comes_back_to_the_queue_and_is_sent_later(
    acme: Simulation, clock: rows.Clock, error: type[httpx.TransportError]
) -> None:
    row = rows.enqueue()
    with pools.replaced(Unreachable(error)):  # type: ignore[arg-type]  # a synchronous one will do
        row = rows.work(row)
    assert (row.state, row.maybe_sent) == ("QUEUED", False)
    assert row.attempts.get().kind == "not-sent"
    clock.forward(2)
    assert rows.work(row).state == "ANSWERED"
    assert len(acme.ledger) == 1


def test_tries_back_off_and_end_with_a_person(
    acme: Simulation, clock: rows.Clock, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "QUEUE": {"tries": 5}}
    row, transport, waits = rows.enqueue(), Unreachable(httpx.ConnectError), []
    with pools.replaced(transport):  # type: ignore[arg-type]
        while (row := rows.work(row)).state == "QUEUED":
            waits.append((row.due_at - clock.now()).total_seconds())
            clock.forward(max(waits[-1], 0) + 0.01)
    assert (row.state, row.reason, row.due_at) == ("PARKED", "not_sent", None)
    assert transport.calls == 5
    assert all(wait <= 0.5 * 2 ** (n + 1) for n, wait in enumerate(waits))
    assert row.sealed_payload is not None


def test_a_retry_never_waits_past_the_deadline(
    acme: Simulation, clock: rows.Clock, settings: Any
) -> None:
    row = rows.enqueue(deadline=clock.now() + timedelta(seconds=30))
    rows.fail(acme, "status", status=429, retry_after=3000)
    row = rows.work(row)
    assert row.due_at == row.deadline
    clock.forward(31)
    assert rows.work(row).state == "EXPIRED"


def test_a_429_is_obeyed(acme: Simulation, clock: rows.Clock) -> None:
    row = rows.enqueue()
    rows.fail(acme, "status", status=429, retry_after=120)
    row = rows.work(row)
    assert (row.state, row.reason) == ("QUEUED", "too_many_requests")
    clock.forward(119)
    assert rows.work(row).attempt == 1
    clock.forward(2)
    assert rows.work(row).state == "ANSWERED"


def test_a_429_that_asks_for_no_wait_is_answered_by_longer_and_longer_ones_and_never_parks(
    acme: Simulation, clock: rows.Clock, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "QUEUE": {"tries": 3, "longest_retry": 20}}
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    row, waits = rows.enqueue(), []
    rows.fail(acme, "status", status=429, retry_after=0, times=8)
    for _ in range(8):
        row = rows.work(row)
        assert (row.state, row.failures) == ("QUEUED", 0)
        waits.append((row.due_at - clock.now()).total_seconds())
        clock.forward(waits[-1])
    assert waits == [1 + longest for longest in (1, 2, 4, 8, 16, 20, 20, 20)]
    assert retrying.budget._tokens[row.host] == 500
    rows.fail(acme, "status", status=401)
    row = rows.work(row)
    clock.forward(3600)
    rows.fail(acme, "status", status=429, retry_after=7)
    row = rows.work(row)
    assert (row.due_at - clock.now()).total_seconds() == 7 + 1
    clock.forward(10)
    assert rows.work(row).state == "ANSWERED"


def test_a_merchant_that_is_slowed_down_leaves_the_hosts_budget_to_others(
    acme: Simulation, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    monkeypatch.setattr(retrying.budget, "take", lambda _: False)
    row = rows.enqueue()
    rows.fail(acme, "status", status=429, retry_after=0)
    row = rows.work(row)
    assert (row.due_at - clock.now()).total_seconds() == 1 + 1


def test_a_401_carries_its_explanation_and_does_not_hammer(
    acme: Simulation, clock: rows.Clock
) -> None:
    row = rows.enqueue()
    rows.fail(acme, "status", status=401, times=9)
    row = rows.work(row)
    assert (row.state, row.reason) == ("QUEUED", "unauthorized")
    assert (row.due_at - clock.now()).total_seconds() > 59
    report = row.attempts.get().report
    assert "HTTP 401" in report
    assert "kid: " in report
    assert "/pts/" not in report
    assert "eyJ" not in report
    for _ in range(5):
        clock.forward(400)
        row = rows.work(row)
    assert (row.state, row.reason, row.attempt) == ("PARKED", "unauthorized", 3)


def test_a_401_on_a_dead_connection_is_explained_as_it_was_signed(
    acme: Simulation, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the report would like to know of the database is no reason to lose it."""

    def dead(_: models.QuerySet[Any]) -> None:
        raise InterfaceError("connection already closed")

    rows.fail(acme, "status", status=401)
    row = rows.picked(rows.enqueue())
    parcel = executing.take(row, now=clock.now())
    assert parcel is not None
    with executing.client_of(row) as http:
        reply = cybs.Reply.of(http.dispatch(parcel), received_at=timezone.now())
    monkeypatch.setattr(models.QuerySet, "first", dead)
    result = executing.of_reply(row, parcel, reply, started=0.0)
    assert result.verdict.reason == "unauthorized"
    assert "As it was when this was signed." in result.report


def test_a_401_that_cannot_be_explained_is_judged_all_the_same(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No report ever costs a verdict."""

    def explain(_: cybs.Reply) -> None:
        raise OverflowError(CARD)

    monkeypatch.setattr(cybs.Reply, "explain", explain)
    rows.fail(acme, "status", status=401)
    row = rows.work(rows.enqueue())
    assert (row.state, row.reason) == ("QUEUED", "unauthorized")
    assert row.attempts.get().report == ""
    assert "cannot be explained: OverflowError" in caplog.text
    assert CARD not in caplog.text


def test_processor_unavailable_comes_back_under_the_same_transaction_id(
    acme: Simulation, clock: rows.Clock
) -> None:
    """I8."""
    row = rows.enqueue()
    first = row.transaction_id
    rows.fail(acme, "status", status=400, reason="PROCESSOR_UNAVAILABLE")
    row = rows.work(row)
    assert (row.state, row.reason) == ("QUEUED", "processor_unavailable")
    clock.forward(59)
    assert rows.work(row).attempt == 1
    clock.forward(300)
    row = rows.work(row)
    assert row.state == "ANSWERED"
    assert rows.money(acme) == [row.transaction_id] == [first]


def test_a_gateway_that_keeps_the_id_of_what_it_refused_costs_an_order_and_charges_nobody(
    acme: Simulation, clock: rows.Clock
) -> None:
    row = rows.enqueue()
    for reason in ("PROCESSOR_UNAVAILABLE", "DUPLICATE_REQUEST"):
        rows.fail(acme, "status", status=400, reason=reason)
        row = rows.work(row)
        clock.forward(400)
    assert (row.state, row.reason) == ("IN_DOUBT", "duplicate")
    for _ in range(10):
        clock.forward(60)
        row = rows.work(row)
    assert (row.state, row.attempt, rows.money(acme)) == ("ABSENT", 2, [])


DOUBTS = [
    ("reset_before", {}, "no_answer"),
    ("reset_after", {}, "no_answer"),
    ("truncate", {}, "reply_lost"),
    ("garbage", {}, "no_answer"),
    ("broken_jwe", {}, "unreadable"),
    ("unknown_kid", {}, "unreadable"),
    ("status", {"status": 201}, "processor_timeout"),
    ("status", {"status": 502}, "system_error"),
    ("status", {"status": 503}, "http_503"),
]


@pytest.mark.parametrize(("kind", "options", "reason"), DOUBTS)
def test_money_that_may_have_moved_is_in_doubt_and_not_sent_again(
    acme: Simulation, clock: rows.Clock, kind: str, options: dict[str, Any], reason: str
) -> None:
    row = rows.enqueue()
    rows.fail(acme, kind, **options)
    row = rows.work(row)
    assert (row.state, row.reason, row.maybe_sent) == ("IN_DOUBT", reason, True)
    for _ in range(20):
        clock.forward(60)
        row = rows.work(row)
    assert row.attempt == 1
    assert len(rows.money(acme)) <= 1


@pytest.mark.parametrize(("kind", "options", "reason"), DOUBTS)
def test_a_read_that_failed_is_read_again(
    acme: Simulation, clock: rows.Clock, kind: str, options: dict[str, Any], reason: str
) -> None:
    row = cybs.enqueue("acme", "GET", "/tss/v2/transactions/1", idempotency_key="read")
    rows.fail(acme, kind, **options)
    row = rows.work(row)
    assert row.state == "IN_DOUBT"
    row = rows.work(row)
    assert (row.state, row.http_status, row.attempt) == ("ANSWERED", 404, 2)


@pytest.mark.parametrize("refused_before", [False, True])
def test_the_twin_of_a_payment_that_a_database_forgot_charges_nobody(
    acme: Simulation, clock: rows.Clock, refused_before: bool
) -> None:
    """c14."""
    order = rows.payment()
    row = rows.enqueue(key="order-1", json=order)
    if refused_before:
        rows.fail(acme, "status", status=400, reason="PROCESSOR_UNAVAILABLE")
        rows.work(row)
        clock.forward(400)
    assert rows.work(row).state == "ANSWERED"
    OutboundRequest.objects.all().delete()
    row = rows.work(rows.enqueue(key="order-1", json=order))
    assert (row.state, row.reason) == ("IN_DOUBT", "duplicate")
    clock.forward(11)
    row = rows.work(row)
    assert (row.state, row.found) == ("ANSWERED", True)
    assert len(rows.money(acme)) == 1


# Interrupted


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, RuntimeError])
def test_a_worker_that_is_interrupted_while_it_sends_leaves_a_row_in_doubt(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(_: Any) -> None:
        raise error

    row = rows.enqueue()
    monkeypatch.setattr(acme.gateway, "handle", interrupted)
    with pytest.raises(error):
        working.work(row.pk)
    row.refresh_from_db()
    assert (row.state, row.attempts.get().error) == ("IN_DOUBT", error.__name__)


class Traced(httpx.BaseTransport):
    """Tells *events* as a connection would, and then does what *then* says."""

    def __init__(self, events: list[str], then: BaseException | httpx.Response) -> None:
        self.events, self.then = events, then

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for event in self.events:
            info = {"return_value": (b"HTTP/1.1", 413)} if event.endswith("rs.complete") else {}
            request.extensions["trace"](event, info)
        if isinstance(self.then, BaseException):
            raise self.then
        return self.then


CONNECTING = ["connection.connect_tcp.started", "connection.start_tls.started"]
HALF_OUT = [*CONNECTING, "http11.send_request_headers.started", "http11.send_request_body.started"]


@pytest.mark.parametrize(
    ("events", "state", "kind"),
    [(CONNECTING, "QUEUED", "not-sent"), (HALF_OUT, "IN_DOUBT", "maybe")],
)
@pytest.mark.parametrize(
    "error", [SystemExit, SoftTimeLimitExceeded, asyncio.CancelledError], ids=lambda e: e.__name__
)
def test_what_interrupts_a_worker_is_judged_by_how_far_the_bytes_came(
    acme: Simulation, events: list[str], state: str, kind: str, error: type[BaseException]
) -> None:
    row = rows.enqueue()
    with pools.replaced(Traced(events, error())), pytest.raises(error):  # type: ignore[arg-type]
        working.work(row.pk)
    row.refresh_from_db()
    attempt = row.attempts.get()
    assert (row.state, attempt.kind, attempt.error) == (state, kind, error.__name__)
    assert row.maybe_sent is (state == "IN_DOUBT")


def test_a_refusal_that_came_before_the_body_was_out_is_the_answer(acme: Simulation) -> None:
    events = [
        *HALF_OUT,
        "http11.send_request_body.failed",
        "http11.receive_response_headers.complete",
    ]
    refusal = httpx.Response(413, json={"reason": "TOO_LARGE"})
    with pools.replaced(Traced(events, refusal)):  # type: ignore[arg-type]
        row = rows.work(rows.enqueue())
    assert (row.state, row.http_status, row.maybe_sent) == ("ANSWERED", 413, False)


HELD_BACK: dict[str, tuple[str, str]] = {
    "breaker": ("QUEUED", "breaker_open"),
    "slot": ("QUEUED", ""),
    "deadline": ("EXPIRED", ""),
    "key": ("QUEUED", "KeyNotUsable"),
}


@pytest.mark.parametrize("why", HELD_BACK)
def test_what_we_hold_back_ourselves_was_not_sent_and_is_no_attempt(
    acme: Simulation, clock: rows.Clock, settings: Any, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    row = rows.enqueue(deadline=clock.now() + timedelta(hours=1))
    if why == "breaker":
        monkeypatch.setattr(breakers, "wait", lambda _: 30.0)
    elif why == "slot":
        settings.CYBS_JWT = {**settings.CYBS_JWT, "QUEUE": {"merchant_at_once": 1}}
        busy = rows.picked(rows.enqueue())
        assert executing.take(busy, now=clock.now()) is not None
    elif why == "deadline":
        clock.forward(3601)
    else:
        enrolment.put(Credential.objects.get(slot__purpose="signing"), State.SUSPENDED)
        signing.forget()
    row = rows.work(row)
    assert (row.state, row.reason) == HELD_BACK[why]
    assert (row.attempt, row.maybe_sent, row.attempts.count()) == (0, False, 0)
    assert acme.ledger == []


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        OperationalError("server closed the connection"),
        InternalError("cannot execute UPDATE in a read-only transaction"),
    ],
    ids=["away", "standby"],
)
def test_a_result_whose_commit_was_not_acknowledged_is_written_once(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch, known: bool, error: Exception
) -> None:
    """c10."""
    record, calls = settling._record, []

    def losing(request: OutboundRequest, result: Any) -> OutboundRequest:
        calls.append(1)
        if len(calls) == 1:
            if known:
                record(request, result)
            raise error
        return record(request, result)

    monkeypatch.setattr(settling, "_record", losing)
    monkeypatch.setattr(settling, "_PAUSE", 0)
    monkeypatch.setattr(connection, "close", lambda: None)
    row = rows.work(rows.enqueue())
    assert len(calls) == 2
    assert (row.state, row.attempts.count()) == ("ANSWERED", 1)


def test_an_answer_in_hand_waits_for_a_database_that_is_away(
    acme: Simulation, clock: rows.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 400 is judged by what was tried before, which only the database knows."""
    row = rows.enqueue()
    for reason in ("PROCESSOR_UNAVAILABLE", "INVALID_DATA"):
        rows.fail(acme, "status", status=400, reason=reason)
    rows.work(row)
    clock.forward(400)
    exists, calls = models.QuerySet.exists, []

    def away(rows_asked_for: models.QuerySet[Any]) -> bool:
        if rows_asked_for.model is Attempt:
            calls.append(1)
            if len(calls) == 1:
                raise OperationalError("server closed the connection")
        return exists(rows_asked_for)

    monkeypatch.setattr(models.QuerySet, "exists", away)
    monkeypatch.setattr(settling, "_PAUSE", 0)
    monkeypatch.setattr(connection, "close", lambda: None)
    row = rows.work(row)
    assert (row.state, row.reason, len(calls)) == ("IN_DOUBT", "duplicate", 2)


def test_what_fails_after_a_result_was_written_fails_nobody(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_: OutboundRequest) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(bulkheads, "pass_on", away)
    row = cybs.submit("acme", "POST", rows.PAYMENTS, json=rows.payment(), idempotency_key="s-1")
    assert (row.state, rows.work(rows.enqueue()).state) == ("ANSWERED", "ANSWERED")
    assert f"What follows from request {row.pk} failed" in caplog.text


# Keys


def test_a_key_that_is_missing_is_waited_for(acme: Simulation, clock: rows.Clock) -> None:
    row = rows.enqueue()
    key = Credential.objects.get(slot__purpose="signing")
    enrolment.put(key, State.SUSPENDED)
    signing.forget()
    row = rows.work(row)
    assert (row.state, row.reason, row.attempt) == ("QUEUED", "KeyNotUsable", 0)
    enrolment.put(key, State.ACTIVE)
    signing.forget()
    clock.forward(61)
    assert rows.work(row).state == "ANSWERED"


def _suspend(_: Any) -> None:
    enrolment.put(Credential.objects.get(slot__purpose="signing"), State.SUSPENDED)


def _discard(_: Any) -> None:
    Credential.objects.filter(slot__purpose="signing").delete()


def _disable(_: Any) -> None:
    Organization.objects.update(active=False)


def _drop_certificate(_: Any) -> None:
    GatewayCertificate.objects.all().delete()


def _end_certificate(_: Any) -> None:
    ends = timezone.now() - timedelta(days=1)
    key = material.rsa_key(name="ended certificate")
    began = ends - timedelta(days=9)
    ended = material.gateway_certificate(private_key=key, not_before=began, not_after=ends)
    GatewayCertificate.objects.update(certificate=ended.pem, not_after=ends)


def _require_response_key(settings: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESPONSE_MLE": "required"}
    enrolment.put(Credential.objects.get(slot__purpose="response-mle"), State.RETIRED)


LACKING: dict[str, Callable[[Any], None]] = {
    "KeyNotUsable": _suspend,
    "NoKey": _discard,
    "OrganizationInactive": _disable,
    "EncryptionImpossible": _drop_certificate,
    "EncryptionImpossible:ended": _end_certificate,
    "EncryptionImpossible:required": _require_response_key,
}


@pytest.mark.parametrize("what", LACKING)
def test_what_a_merchant_lacks_costs_no_try_however_long_it_takes_and_a_deadline_ends_it(
    acme: Simulation, clock: rows.Clock, settings: Any, what: str
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "QUEUE": {"tries": 2}}
    until = clock.now() + timedelta(seconds=250)
    row = rows.enqueue(deadline=until)
    LACKING[what](settings)
    signing.forget()
    for _ in range(4):
        row = rows.work(row)
        assert (row.state, row.reason) == ("QUEUED", what.partition(":")[0])
        assert (row.failures, row.attempt) == (0, 0)
        assert parking.advice(row)
        assert row.due_at is not None
        assert row.due_at >= min(until, clock.now() + timedelta(seconds=60))
        clock.forward(62)
    clock.forward(10)
    assert rows.work(row).state == "EXPIRED"
    assert acme.ledger == []


def test_a_body_that_can_never_be_encrypted_is_parked_at_once(acme: Simulation) -> None:
    content: dict[str, Any] = {"content": b"a,b", "headers": {"content-type": "text/csv"}}
    row = rows.work(rows.enqueue("/tms/v2/tokenize", mle=True, **content))
    assert (row.state, row.reason, row.attempt) == ("PARKED", "BodyNotEncryptable", 0)


def test_a_payload_that_does_not_open_is_parked(acme: Simulation) -> None:
    row = rows.enqueue()
    other = rows.enqueue()
    OutboundRequest.objects.filter(pk=row.pk).update(sealed_payload=other.sealed_payload)
    row = rows.work(row)
    assert (row.state, row.reason) == ("PARKED", "SecretIntegrityError")
    assert acme.ledger == []


def test_a_disabled_merchant_sends_nothing(acme: Simulation) -> None:
    row = rows.enqueue()
    organizations.disable("acme", actor="tests")
    signing.forget()
    row = rows.work(row)
    assert (row.state, row.reason) == ("QUEUED", "OrganizationInactive")


# Leaks


@pytest.mark.parametrize("kind", ["reset_after", "broken_jwe", "truncate"])
def test_no_log_attempt_or_error_shows_the_card(
    acme: Simulation, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """I6."""
    with caplog.at_level(logging.DEBUG):
        row = rows.enqueue()
        rows.fail(acme, kind)
        rows.work(row)
    assert CARD not in caplog.text
    assert CARD not in str(list(Attempt.objects.values()))


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_broke_is_looked_at_before_the_next_task(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery is told to keep them."""
    row = rows.enqueue()
    asked = []
    monkeypatch.setattr(connection, "errors_occurred", True)
    monkeypatch.setattr(connection, "is_usable", lambda: asked.append(1) or True)
    working.afresh(lambda: working.attend(row.pk))
    assert asked == [1]
    assert OutboundRequest.objects.get().state == "ANSWERED"


@pytest.mark.django_db(transaction=True)
def test_nobodys_open_transaction_loses_its_connection_to_a_task(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery runs tasks in the caller's own thread where it is told to be eager."""
    closed = []
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: closed.append(1))
    with transaction.atomic():
        working.drop_broken_connections()
    assert closed == []
    working.drop_broken_connections()
    assert closed == [1]


@pytest.mark.parametrize("name", ["Accept-Encoding", "User-Agent"])
def test_what_the_seal_writes_itself_goes_out_once(acme: Simulation, name: str) -> None:
    row = rows.enqueue(headers={name: "mine"})
    request = executing.prepare(rows.picked(row), payloads.open_payload(row)).request
    (sent,) = request.headers.get_list(name)
    assert sent != "mine"
