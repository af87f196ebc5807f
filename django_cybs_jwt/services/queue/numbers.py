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

    *since* is when the longest wait began: of a queued request when it was first to be sent, which
    is None where all are planned for later; of the others when they were claimed.
    """

    organization: str
    host: str
    live: bool
    state: RequestState
    count: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How many requests stand in one state for one *reason*."""

    state: RequestState
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The queue at one moment: *counts* of every state, who *waits*, and what *held* them up."""

    at: datetime
    counts: dict[RequestState, int]
    waits: tuple[Waiting, ...]
    held: tuple[Held, ...] = ()

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
_OLDER: Final = Q(waiting_since=None)
"""Stored by a version that did not keep it: the next time such a row is due has to do."""
_QUEUED: Final = Coalesce("waiting_since", "due_at")
_CLAIMED: Final = Coalesce("sent_at", "waiting_since", "created_at")


def of(rows: QuerySet[OutboundRequest], now: datetime) -> Numbers:
    """The numbers of *rows*: three queries."""
    found = dict(rows.order_by().values_list("state").annotate(Count("pk")))
    return Numbers(
        at=now,
        counts={state: found.get(state.value, 0) for state in RequestState},
        waits=tuple(waiting(rows, now)),
        held=tuple(_held(rows)),
    )


def waiting(rows: QuerySet[OutboundRequest], now: datetime) -> Iterable[Waiting]:
    """Who waits among *rows*, by merchant and state: one query that reads open rows only."""
    grouped = (
        rows.filter(state__in=OPEN)
        .order_by("organization__org_id", "host", "state")
        .values("organization__org_id", "organization__live", "host", "state")
        .annotate(
            requests=Count("pk"),
            queued=Min(_QUEUED, filter=Q(waiting_since__lte=now) | _OLDER & Q(due_at__lte=now)),
            claimed=Min(_CLAIMED),
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
            since=row["queued"] if state == RequestState.QUEUED else row["claimed"],
        )


def _held(rows: QuerySet[OutboundRequest]) -> Iterable[Held]:
    grouped = (
        rows.filter(state__in=OPEN)
        .exclude(reason="")
        .order_by("state", "reason")
        .values_list("state", "reason")
        .annotate(Count("pk"))
    )
    for state, reason, count in grouped:
        yield Held(state=RequestState(state), reason=reason, count=count)
