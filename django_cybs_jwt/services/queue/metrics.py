"""The queue's numbers for Prometheus: gauges of what is open, counters of what was done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django_cybs_jwt.models import OPEN, OutboundRequest
from django_cybs_jwt.services.exposition import Sample, gauge
from django_cybs_jwt.services.queue import counters, numbers
from django_cybs_jwt.services.queue.numbers import Waiting


def render(now: datetime) -> str:
    """All of them in the text format."""
    return "\n".join([*lines(now), *counters.lines()]) + "\n"


def lines(now: datetime) -> list[str]:
    """The gauges line by line, to stand among others: one query that reads open rows only."""
    waits = list(numbers.waiting(OutboundRequest.objects.all(), now))
    return [
        *gauge(
            "cybs_jwt_queue_requests",
            "Requests that have not ended.",
            ((_labels(row), row.count) for row in waits),
        ),
        *gauge(
            "cybs_jwt_queue_waits_since_timestamp_seconds",
            "When the longest wait began; of queued requests only those that are due.",
            ((_labels(row), row.since.timestamp()) for row in waits if row.since is not None),
        ),
        *gauge("cybs_jwt_queue_open_requests", "The same for all merchants.", _totals(waits)),
    ]


def _totals(waits: list[Waiting]) -> Iterator[Sample]:
    # Always there: a rule can tell an empty queue from a collector that is gone.
    for state in OPEN:
        yield {"state": state}, sum(row.count for row in waits if row.state == state)


def _labels(row: Waiting) -> dict[str, str]:
    return {
        "organization": row.organization,
        "host": row.host,
        "environment": "live" if row.live else "test",
        "state": row.state,
    }
