"""What the queue has done so far, for Prometheus: counted from rows, which stay.

So no process that is killed takes a count along, and none is counted twice. Nothing here may ever
fall: an attempt whose worker said nothing more (`LOST`) may be answered yet, and is counted then.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count, Q

from django_cybs_jwt.models import Attempt, OutboundRequest
from django_cybs_jwt.services.exposition import Sample, counter
from django_cybs_jwt.services.queue.states import TERMINAL


def lines() -> list[str]:
    """Three queries, which read every attempt and every request that has ended."""
    return [
        *counter(
            "cybs_jwt_queue_attempts_total", "Tries at the wire, by what they came to.", _tried()
        ),
        *counter(
            "cybs_jwt_queue_retries_total",
            "Tries that were not the first of their request.",
            [({}, Attempt.objects.filter(number__gt=1).count())],
        ),
        *counter(
            "cybs_jwt_queue_ended_total",
            "Requests that ended, by how; in_doubt tells whether it was cleared up first.",
            _ended(),
        ),
    ]


def _tried() -> Iterator[Sample]:
    # Without their hosts: those stand with the requests, and a join of all to all is slow.
    rows = Attempt.objects.filter(~Q(kind=Attempt.Kind.LOST)).order_by("kind").values_list("kind")
    for kind, count in rows.annotate(Count("pk")):
        yield {"kind": kind}, count


def _ended() -> Iterator[Sample]:
    names = ("host", "state", "outcome", "maybe_sent")
    rows = OutboundRequest.objects.filter(state__in=TERMINAL).order_by(*names)
    for host, state, outcome, doubted, count in rows.values_list(*names).annotate(Count("pk")):
        labels = {"host": host, "state": state, "outcome": outcome}
        yield {**labels, "in_doubt": str(doubted).lower()}, count
