"""What the queue has done so far, for Prometheus: counted from rows, which stay.

So no process that is killed takes a count along, and none is counted twice. Nothing here may ever
fall: an attempt whose worker said nothing more (`LOST`) may be answered yet, and is counted then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from django.db.models import Count, Q

from django_cybs_jwt.models import Attempt, OutboundRequest
from django_cybs_jwt.services.exposition import Sample, counter
from django_cybs_jwt.services.queue.states import TERMINAL


def lines() -> list[str]:
    """Two queries, which read every attempt and every request that has ended."""
    tried = list(_tried())
    return [
        *counter(
            "cybs_jwt_queue_attempts_total",
            "Tries at the wire, by what they came to.",
            (
                ({"host": each.host, "kind": each.kind}, each.tries)
                for each in tried
                if each.kind != Attempt.Kind.LOST
            ),
        ),
        *counter(
            "cybs_jwt_queue_retries_total",
            "Tries that were not the first of their request.",
            _retries(tried),
        ),
        *counter(
            "cybs_jwt_queue_ended_total",
            "Requests that ended, by how; in_doubt tells whether it was cleared up first.",
            _ended(),
        ),
    ]


class _Tried(NamedTuple):
    host: str
    kind: str
    tries: int
    repeated: int


def _tried() -> Iterator[_Tried]:
    names = ("request__host", "kind")
    rows = Attempt.objects.order_by(*names).values_list(*names)
    again = Count("pk", filter=Q(number__gt=1))
    for host, kind, tries, repeated in rows.annotate(Count("pk"), repeated=again):
        yield _Tried(host, kind, tries, repeated)


def _retries(tried: Iterable[_Tried]) -> Iterator[Sample]:
    found: Counter[str] = Counter()
    for each in tried:
        found[each.host] += each.repeated
    for host, count in found.items():
        yield {"host": host}, count


def _ended() -> Iterator[Sample]:
    names = ("host", "state", "outcome", "maybe_sent")
    rows = OutboundRequest.objects.filter(state__in=TERMINAL).order_by(*names)
    for host, state, outcome, doubted, count in rows.values_list(*names).annotate(Count("pk")):
        labels = {"host": host, "state": state, "outcome": outcome}
        yield {**labels, "in_doubt": str(doubted).lower()}, count
