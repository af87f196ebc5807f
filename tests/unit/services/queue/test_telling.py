"""What the world is told of a request: signals, log lines, spans, metrics; never what is in it."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection, transaction
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from django_cybs_jwt import correlation, cybs, signals
from django_cybs_jwt.logs import JsonFormatter
from django_cybs_jwt.models import Attempt, OutboundRequest
from django_cybs_jwt.services import statements
from django_cybs_jwt.services.queue import operating, settling, telemetry
from django_cybs_jwt.signals import RequestEvent
from django_cybs_jwt.testing.simulation import HOST, Simulation
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import Clock

SIGNALS = {
    "ended": signals.request_ended,
    "in_doubt": signals.request_in_doubt,
    "parked": signals.request_parked,
}
Heard = list[tuple[str, RequestEvent]]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Every event, by the name of its signal."""
    events: Heard = []
    receivers = {
        name: lambda event, name=name, **_: events.append((name, event)) for name in SIGNALS
    }
    for name, receiver in receivers.items():
        SIGNALS[name].connect(receiver)
    yield events
    for name, receiver in receivers.items():
        SIGNALS[name].disconnect(receiver)


def told(events: Heard) -> list[tuple[str, str, str]]:
    return [(name, event.state, event.reason) for name, event in events]


# Signals


@pytest.mark.django_db(transaction=True)
def test_an_end_is_told_with_its_outcome(acme: Simulation, heard: Heard) -> None:
    row = rows.work(rows.enqueue(key="order-7"))
    ((name, event),) = heard
    assert (name, event.request_id, event.idempotency_key) == ("ended", row.pk, "order-7")
    assert (event.organization, event.host) == (f"acme@{HOST}", HOST)
    assert (event.state, event.outcome, event.http_status) == ("ANSWERED", "AUTHORIZED", 201)
    assert (event.gateway_id, event.correlation_id) == (row.gateway_id, row.correlation_id)
    assert event.attempt == 1
    assert rows.CARD not in repr(event)


@pytest.mark.django_db(transaction=True)
def test_an_end_whose_commit_was_not_acknowledged_is_told_all_the_same(
    acme: Simulation, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """c10, with the worker alive: the row has ended, and its writer must ask to learn it."""
    update, lost = statements.update, []

    def losing(*row: Any, beside: Attempt | None = None) -> bool:
        done = update(*row, beside=beside)
        if beside is not None and not lost:
            lost.append(beside)
            raise OperationalError("server closed the connection")
        return done

    monkeypatch.setattr(statements, "update", losing)
    monkeypatch.setattr(settling, "_PAUSE", 0)
    monkeypatch.setattr(connection, "close", lambda: None)
    row = rows.work(rows.enqueue())
    assert (len(lost), row.state, row.attempts.count()) == (1, "ANSWERED", 1)
    assert told(heard) == [("ended", "ANSWERED", "")]


@pytest.mark.django_db(transaction=True)
def test_submit_tells_it_too(acme: Simulation, heard: Heard) -> None:
    body = rows.payment()
    row = cybs.submit("acme", "POST", rows.PAYMENTS, json=body, idempotency_key="s-1")
    assert [(name, event.request_id) for name, event in heard] == [("ended", row.pk)]


@pytest.mark.django_db(transaction=True)
def test_doubt_is_told_once_and_then_its_end(acme: Simulation, clock: Clock, heard: Heard) -> None:
    row = rows.enqueue()
    rows.fail(acme, "reset_after")
    rows.work(row)
    rows.fail(acme, "status", status=503, times=2)
    for _ in range(4):
        clock.forward(60)
        rows.work(row)
    assert told(heard)[0] == ("in_doubt", "IN_DOUBT", "no_answer")
    assert [name for name, _ in heard] == ["in_doubt", "ended"]


@pytest.mark.django_db(transaction=True)
def test_a_parked_request_is_told_and_what_a_person_makes_of_it(
    acme: Simulation, clock: Clock, heard: Heard
) -> None:
    rows.fail(acme, "redirect")
    row = rows.work(rows.enqueue())
    operating.cancel(row, actor="mara", now=clock.now(), reason="r")
    assert told(heard) == [("parked", "PARKED", "redirected"), ("ended", "CANCELLED", "redirected")]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_told_to_nobody(
    acme: Simulation, clock: Clock, heard: Heard
) -> None:
    row = rows.enqueue()
    with transaction.atomic():
        operating.cancel(row, actor="mara", now=clock.now(), reason="r")
        transaction.set_rollback(True)
    assert heard == []


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_fails_fails_nobody_else(
    acme: Simulation, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("planted")

    signals.request_ended.connect(fail)
    try:
        row = rows.work(rows.enqueue())
    finally:
        signals.request_ended.disconnect(fail)
    assert (row.state, len(heard)) == ("ANSWERED", 1)
    assert "planted" in caplog.text


# Logs


@pytest.mark.django_db(transaction=True)
def test_log_lines_carry_the_allowed_facts_and_nothing_of_the_payload(
    acme: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), correlation.correlated("web-1"):
        rows.fail(acme, "redirect")
        row = rows.work(rows.enqueue(key="secretive-key"))
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    ours = [line for line in lines if line.get("request") == str(row.pk)]
    assert {line["level"] for line in ours} == {"INFO", "WARNING"}
    allowed = {
        *("time", "level", "logger", "message", "request", "organization", "operation", "host"),
        *("state", "reason", "attempt", "http_status", "correlation_id", "caller_id"),
    }
    for line in ours:
        assert set(line) <= allowed
        assert (line["caller_id"], line["organization"]) == ("web-1", f"acme@{HOST}")
    assert "secretive-key" not in caplog.text
    assert rows.CARD not in caplog.text


# The caller's id


def test_the_callers_id_is_on_the_row_beside_the_gateways(acme: Simulation) -> None:
    with correlation.correlated("web-1"):
        row = rows.enqueue()
    row = rows.work(row)
    assert row.caller_id == "web-1"
    assert row.attempts.get().correlation_id == row.correlation_id != ""
    assert rows.enqueue().caller_id == ""


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\nb", "é", "-a", "a\x00"])
def test_an_id_of_another_form_is_dropped(given: str) -> None:
    with correlation.correlated("outer"), correlation.correlated(given):
        assert correlation.current() == ""
    assert correlation.current() == ""


def seen(_: Any) -> HttpResponse:
    return HttpResponse(correlation.current())


async def seen_later(_: Any) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse(correlation.current())


urlpatterns = [path("seen/", seen), path("seen-later/", seen_later)]


@pytest.mark.parametrize("page", ["/seen/", "/seen-later/"])
def test_the_middleware_takes_it_from_the_header(settings: Any, page: str) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["django_cybs_jwt.middleware.correlation"]
    header = {"X-Request-ID": "edge-42"}
    assert Client().get(page, headers=header).content == b"edge-42"
    assert Client().get(page).content == b""

    async def visit() -> bytes:
        return bytes((await AsyncClient().get(page, headers=header)).content)

    assert async_to_sync(visit)() == b"edge-42"


# OpenTelemetry


@pytest.fixture(scope="session")
def exported() -> tuple[InMemorySpanExporter, InMemoryMetricReader]:
    """The process's providers: OpenTelemetry lets them be set once."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    return spans, reader


@pytest.fixture
def spans(exported: tuple[InMemorySpanExporter, InMemoryMetricReader]) -> InMemorySpanExporter:
    exported[0].clear()
    return exported[0]


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def test_a_try_is_a_span_with_allowed_facts(acme: Simulation, spans: InMemorySpanExporter) -> None:
    row = rows.work(rows.enqueue())
    span = only(spans)
    assert span.name == "cybs POST /pts/v2/payments"
    assert span.kind == trace.SpanKind.CLIENT
    assert span.attributes is not None
    assert span.attributes["cybs.state"] == "ANSWERED"
    assert span.attributes["cybs.request"] == str(row.pk)
    assert span.attributes["cybs.correlation_id"] == row.correlation_id
    assert span.status.is_ok or span.status.is_unset
    shown = span.to_json()
    for secret in (rows.CARD, "102.21", row.idempotency_key, "eyJ"):
        assert secret not in shown


@pytest.mark.parametrize("kind", ["reset_after", "broken_jwe", "truncate"])
def test_a_try_without_an_answer_is_an_error_and_records_no_exception(
    acme: Simulation, spans: InMemorySpanExporter, kind: str
) -> None:
    rows.fail(acme, kind)
    row = rows.work(rows.enqueue())
    span = only(spans)
    assert span.status.status_code == trace.StatusCode.ERROR
    assert span.status.description == row.reason
    assert span.events == ()
    assert rows.CARD not in span.to_json()


@pytest.mark.django_db(transaction=True)
def test_asubmit_has_a_span_under_its_callers(
    acme: Simulation, spans: InMemorySpanExporter
) -> None:
    async def pay() -> OutboundRequest:
        with trace.get_tracer("tests").start_as_current_span("web"):
            body = rows.payment()
            return await cybs.asubmit(
                "acme", "POST", rows.PAYMENTS, json=body, idempotency_key="a-1"
            )

    row = async_to_sync(pay)()
    ours, web = spans.get_finished_spans()
    assert ours.parent is not None
    assert web.context is not None
    assert ours.parent.span_id == web.context.span_id
    assert row.caller_id == format(web.context.trace_id, "032x")


@pytest.mark.django_db(transaction=True)
def test_tries_and_ends_are_counted_without_merchants(
    acme: Simulation, exported: tuple[InMemorySpanExporter, InMemoryMetricReader]
) -> None:
    rows.work(rows.enqueue())
    found = exported[1].get_metrics_data()
    assert found is not None
    shown = found.to_json()
    named = {
        metric.name: metric.data.data_points
        for resource in found.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    kinds = {point.attributes["kind"] for point in named["cybs.attempt.duration"]}  # type: ignore[index]
    states = {point.attributes["state"] for point in named["cybs.requests"]}  # type: ignore[index]
    assert "answered" in kinds
    assert "ANSWERED" in states
    assert "acme" not in shown
    assert rows.CARD not in shown


def test_without_opentelemetry_all_works(acme: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    telemetry._installed.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(telemetry, "import_module", missing)
        row = rows.work(rows.enqueue())
        assert telemetry.trace_id() == ""
    telemetry._installed.cache_clear()
    assert row.state == "ANSWERED"
    assert importlib.import_module("opentelemetry.trace") is not None
