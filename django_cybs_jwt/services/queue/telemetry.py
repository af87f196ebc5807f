"""Spans and metrics for OpenTelemetry, where it is installed; the one file that knows of it.

A span is one try at the wire. Its attributes are `request_facts`; no exception is recorded, as
its text could quote a request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services.queue import request_facts
from django_cybs_jwt.signals import RequestEvent

NAME: Final = "django_cybs_jwt"


@contextmanager
def attempt(request: OutboundRequest) -> Iterator[None]:
    """A span around one exchange of *request*; afterwards it says where the row stands."""
    trace = _installed("trace")
    if trace is None:
        yield
        return
    with trace.get_tracer(NAME).start_as_current_span(
        f"cybs {request.operation}",
        kind=trace.SpanKind.CLIENT,
        attributes=_attributes(request),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            span.set_attributes(_attributes(request))
            if request.state not in ("ANSWERED", "SENDING"):
                span.set_status(trace.StatusCode.ERROR, request.reason)


def tried(request: OutboundRequest, *, kind: str, elapsed_ms: int | None) -> None:
    """Count one try, and how long it took."""
    if _installed("metrics") is None:
        return
    told = {"operation": request.operation, "host": request.host, "kind": str(kind)}
    _duration().record((elapsed_ms or 0) / 1000, told)


def moved(event: RequestEvent) -> None:
    """Count a request that has ended, is in doubt, or is parked."""
    if _installed("metrics") is not None:
        told = {"operation": event.operation, "host": event.host, "state": event.state}
        _events().add(1, told)


def trace_id() -> str:
    """The id of the caller's trace as 32 hex digits, empty where there is none."""
    trace = _installed("trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else ""


@cache
def _installed(part: str) -> ModuleType | None:
    try:
        return import_module(f"opentelemetry.{part}")
    except ImportError:
        return None


@cache
def _duration() -> Any:
    return _meter().create_histogram(
        "cybs.attempt.duration", unit="s", description="One try at the wire, by what it came to."
    )


@cache
def _events() -> Any:
    return _meter().create_counter(
        "cybs.requests", unit="{request}", description="Requests that ended, in doubt, or parked."
    )


def _meter() -> Any:
    metrics: Any = _installed("metrics")
    return metrics.get_meter(NAME)


def _attributes(request: OutboundRequest) -> dict[str, str | int]:
    return {f"cybs.{name}": value for name, value in request_facts.of(request).items()}
