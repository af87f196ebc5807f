"""How many requests wait, for whom, and since when: counted from rows, so true for all workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Coalesce

from django_cybs_jwt.models import OPEN, OutboundRequest, RequestState


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The requests of one merchant that have not ended and stand in one state.

    *since* is when the longest wait began: of a queued request when it was due, which is None
    where all are planned for later; of the others when they were claimed.
    """

    organization: str
    host: str
    live: bool
    state: RequestState
    count: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The queue at one moment: *counts* of every state, and who *waits*."""

    at: datetime
    counts: dict[RequestState, int]
    waits: tuple[Waiting, ...]

    @classmethod
    def of_waits(cls, waits: Iterable[Waiting], now: datetime) -> Numbers:
        """What can be told from those who wait: nothing of requests that have ended."""
        found, counts = tuple(waits), dict.fromkeys(RequestState, 0)
        for each in found:
            counts[each.state] += each.count
        return cls(at=now, counts=counts, waits=found)

    @property
    def depth(self) -> int:
        """How many are to be sent, now or later."""
        return self.counts[RequestState.QUEUED]

    def oldest(self, state: RequestState) -> float:
        """Seconds that the longest wait in *state* has lasted; 0 where nothing waits."""
        since = [row.since for row in self.waits if row.state == state and row.since is not None]
        return max(((self.at - min(since)) / _SECOND), 0.0) if since else 0.0


_SECOND: Final = timedelta(seconds=1)


def of(rows: QuerySet[OutboundRequest], now: datetime) -> Numbers:
    """The numbers of *rows*: two queries."""
    found = dict(rows.order_by().values_list("state").annotate(Count("pk")))
    return Numbers(
        at=now,
        counts={state: found.get(state.value, 0) for state in RequestState},
        waits=tuple(waiting(rows, now)),
    )


def waiting(rows: QuerySet[OutboundRequest], now: datetime) -> Iterable[Waiting]:
    """Who waits among *rows*, by merchant and state: one query that reads open rows only."""
    grouped = (
        rows.filter(state__in=OPEN)
        .order_by("organization__org_id", "host", "state")
        .values("organization__org_id", "organization__live", "host", "state")
        .annotate(
            requests=Count("pk"),
            due=Min("due_at", filter=Q(due_at__lte=now)),
            claimed=Min(Coalesce("sent_at", "created_at")),
        )
    )
    for row in grouped:
        state = RequestState(row["state"])
        yield Waiting(
            organization=row["organization__org_id"],
            host=row["host"],
            live=row["organization__live"],
            state=state,
            count=row["requests"],
            since=row["due"] if state == RequestState.QUEUED else row["claimed"],
        )
