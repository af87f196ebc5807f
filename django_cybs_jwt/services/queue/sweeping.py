"""Find what is due, and mend what a lost ring, a dead broker or a killed worker left behind."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Least

from django_cybs_jwt import conf
from django_cybs_jwt.models import (
    ACTED_ON,
    Attempt,
    OutboundRequest,
    RequestState,
    Safety,
)
from django_cybs_jwt.services import doorbell
from django_cybs_jwt.services.queue import bulkheads, failpoints, parking, queueing
from django_cybs_jwt.services.queue.states import TERMINAL, Step, expire, move

BATCH: Final = 1000
_BEYOND_EVERY: Final = 1.0  # seconds: to look past 100,000 rows of one merchant takes 0.08
_beyond_from = float("-inf")
_SECOND: Final = 2000
"""Queued rows a sweep gives their second ring: a broker may have lost the first ones of all."""
_PUT_OFF: Final = 500
"""And of those that could not be sent when they were tried, as for want of a key."""
_FURTHER: Final = 200
"""And a further one: what waits that long waits for its turn, and rings would pile up before it.

Those in doubt as well."""
_HELD: Final = Q(reason__in=[*parking.HELD])
_KEPT_BACK: Final = Q(reason="breaker_open")
_AT_ONCE: Final = 100
_SHRED_FOR: Final = 10.0  # seconds of a tick, whose other parts wait for it
_DOUBLINGS: Final = 6
"""A ring is repeated after `ring_again` seconds, then after twice that, at most 64 times it."""


def due(now: datetime, *, limit: int = BATCH, hosts: Iterable[str] | None = None) -> list[UUID]:
    """Ids of rows that somebody should `work` on now, the most urgent of each state first.

    Ended leases, which hold places, and those in doubt come by turns with the queued, and with
    those of them that could not be sent when they were tried: none of the three holds up another.
    The queued of one priority come merchant by merchant.
    """

    def of(state: RequestState) -> QuerySet[OutboundRequest]:
        rows = _with_room(state, _due_in(state, now)).order_by("priority", "due_at")
        return rows if hosts is None else rows.filter(host__in=hosts)

    left_behind: list[UUID] = []
    for state in (RequestState.SENDING, RequestState.IN_DOUBT):
        left_behind.extend(of(state).values_list("pk", flat=True)[:limit])
    ready, put_off = _two_lines(of(RequestState.QUEUED))
    lines = (_in_turns(ready), _in_turns(put_off, merchants_first=True))
    turns = zip_longest(left_behind, *([row.pk for row in line] for line in lines))
    return [pk for turn in turns for pk in turn if pk is not None][:limit]


def _two_lines(queued: QuerySet[OutboundRequest]) -> tuple[list[_Row], list[_Row]]:
    """Those that wait for their turn, and those that could not be sent when they were tried."""
    beyond = _may_look_beyond()
    rows = _first_of_many(queued, BATCH, beyond=beyond)
    ready = [row for row in rows if row.reason not in parking.HELD]
    put_off = [row for row in rows if row.reason in parking.HELD]
    if beyond and len(rows) >= BATCH:  # of many the first may be of one kind
        ready = ready or _first_of_many(queued.exclude(_HELD), BATCH, beyond=False)
        put_off = put_off or _first_of_many(queued.filter(_HELD), BATCH, beyond=False)
    return ready, put_off


class _Row(NamedTuple):
    """What decides whose turn it is."""

    pk: UUID
    merchant: UUID
    priority: int
    host: str
    reason: str


def _in_turns(rows: Iterable[_Row], *, merchants_first: bool = False) -> list[_Row]:
    """The first of every merchant, then the second, and so on; each priority by itself.

    With *merchants_first* the priority counts among those whose turn it is. Ranked here, of the
    first thousand: a database that ranks all 100,000 that wait takes 160 ms.
    """
    turns: Counter[UUID] = Counter()
    ranked: list[tuple[int, int, int, _Row]] = []
    for row in rows:
        turns[row.merchant] += 1
        rank = (row.priority, turns[row.merchant])
        ranked.append((*(rank[::-1] if merchants_first else rank), len(ranked), row))
    return [row for *_, row in sorted(ranked)]


def _first_of_many(rows: QuerySet[OutboundRequest], most: int, *, beyond: bool) -> list[_Row]:
    """The first rows; where they are many, and *beyond*, those behind them that are of others."""
    facts = rows.values_list("pk", "organization_id", "priority", "host", "reason")
    first = [_Row(*row) for row in facts[:most]]
    if len(first) < most or not beyond:
        return first
    merchants = {row.merchant for row in first}
    others = facts.exclude(organization__in=merchants)[:most]
    return first + [_Row(*row) for row in others]


def _may_look_beyond() -> bool:
    """Now and then: of two threads both may, which is no harm."""
    global _beyond_from  # noqa: PLW0603
    if time.monotonic() < _beyond_from:
        return False
    _beyond_from = time.monotonic() + _BEYOND_EVERY
    return True


def is_anything_due(now: datetime) -> bool:
    """True also where all that is due has to wait for others of its own."""
    return any(_due_in(state, now).exists() for state in ACTED_ON)


def sweep(now: datetime) -> int:
    """End leases and deadlines, and ring again for what still waits; returns how many.

    Any number of sweepers may run at once.
    """
    lost = [end_lease(row, now=now) for row in _rows(RequestState.SENDING, now)]
    late = _rows(RequestState.QUEUED, now, Q(deadline__lte=now))
    expired = [expire(row, now=now) for row in late]
    return sum(lost) + sum(expired) + ring_again(now)


def end_lease(request: OutboundRequest, *, now: datetime) -> bool:
    """Its worker said nothing for a whole lease: what it sent, and whether, nobody knows."""
    times = conf.current().queue
    repeatable = request.safety in (Safety.SAFE, Safety.REPEATABLE)
    later = now if repeatable else now + timedelta(seconds=times.first_look)
    lost = Attempt(
        request=request,
        number=request.attempt,
        jti=request.jti or "",
        owner=request.owner,
        kind=Attempt.Kind.LOST,
        reason="lease_ended",
        started_at=request.sent_at or now,
    )
    with transaction.atomic():
        ended = move(
            request,
            Step.DOUBT,
            now=now,
            as_due=True,
            maybe_sent=True,
            failures=request.failures + repeatable,
            reason="lease_ended",
            due_at=later,
        )
        if ended:
            lost.save(force_insert=True)
    failpoints.reached("swept")
    return ended


def ring_again(now: datetime) -> int:
    """Ring for due rows that nobody took since the last ring; nothing without a DOORBELL."""
    settings = conf.current()
    if settings.DOORBELL is None:
        return 0
    patience = Q(rung_at=None)
    for rings in range(_DOUBLINGS + 1):
        waited = now - timedelta(seconds=settings.queue.ring_again * 2**rings)
        last = Q(rings__gte=rings) if rings == _DOUBLINGS else Q(rings=rings)
        patience |= last & Q(rung_at__lte=waited)
    rung = 0
    for state, which, most, merchants_first in _lines():
        waiting = _due_in(state, now).filter(patience, which)
        rows = _with_room(state, waiting).order_by("priority", "due_at")
        line = _first_of_many(rows, most, beyond=True)
        turns = _in_turns(line, merchants_first=merchants_first)
        facts = [(row.pk, row.host) for row in turns[:most]]
        for start in range(0, len(facts), _AT_ONCE):
            marked = _mark(waiting, dict(facts[start : start + _AT_ONCE]), now)
            heard = _ring(marked, state)
            rung += heard
            if heard < len(marked):
                return rung
    return rung


def _lines() -> Iterator[tuple[RequestState, Q, int, bool]]:
    """Who is rung for by one sweep, how many of them at most, and whether merchants go first."""
    first, further = Q(rings=0), Q(rings__gt=0)
    yield RequestState.IN_DOUBT, first, BATCH, False
    yield RequestState.IN_DOUBT, further, _FURTHER, False
    yield RequestState.QUEUED, first & ~_HELD & ~_KEPT_BACK, _SECOND, False
    yield RequestState.QUEUED, first & _KEPT_BACK, _SECOND, True
    yield RequestState.QUEUED, first & _HELD, _PUT_OFF, True
    yield RequestState.QUEUED, further, _FURTHER, False


def _mark(
    waiting: QuerySet[OutboundRequest], hosts: dict[UUID, str], now: datetime
) -> dict[UUID, str]:
    """Those of *hosts* that nobody took or rang for meanwhile; this sweeper rings for them now."""
    mine = waiting.filter(pk__in=hosts)
    # No more is told apart, and one row at the column's end would fail all that are rung with it.
    rings = Least(F("rings"), Value(_DOUBLINGS - 1)) + 1
    if mine.update(rung_at=now, rings=rings) == len(hosts):
        return hosts
    marked = OutboundRequest.objects.filter(pk__in=hosts, rung_at=now)
    return {pk: hosts[pk] for pk in marked.values_list("pk", flat=True)}


def _ring(marked: dict[UUID, str], state: str) -> int:
    """Ring for these; how many were. Where the broker is away none, and they are as before."""
    for pk, host in marked.items():
        if not doorbell.ring(pk, doorbell.whom_for(state, host)):
            break
    else:
        if not doorbell.is_away():
            return len(marked)
    # That is no ring, and nothing to be more patient for.
    rows = OutboundRequest.objects.filter(pk__in=marked, state=state)
    rows.update(rung_at=None, rings=0)
    return 0


def shred(now: datetime) -> int:
    """Overwrite payloads and replies whose time is over; the row's facts stay. Returns how many.

    All of them, however many end in a minute; what takes too long goes on at the next tick.
    """
    until = time.monotonic() + _SHRED_FOR
    shredded = some = _shred_some(now)
    while some == BATCH and time.monotonic() < until:
        some = _shred_some(now)
        shredded += some
    return shredded


def _shred_some(now: datetime) -> int:
    settings = conf.current()
    ids = list(
        OutboundRequest.objects.filter(
            state__in=TERMINAL, priority__in=range(queueing.LAST + 1), due_at__lte=now
        )
        .order_by()  # by when they were made, a database would walk back from the newest
        .values_list("pk", flat=True)[:BATCH]
    )
    reply_for = timedelta(days=settings.KEEP_REPLY_DAYS)
    payload_for = timedelta(days=settings.KEEP_PAYLOAD_DAYS)
    rows = OutboundRequest.objects.filter(pk__in=ids)
    rows.filter(finished_at__lte=now - payload_for).update(sealed_payload=None)
    rows.filter(finished_at__lte=now - reply_for).update(sealed_reply=None)
    empty = Q(sealed_payload=None, sealed_reply=None)
    rows.filter(empty).update(due_at=None)
    rows.filter(~empty & ~Q(sealed_reply=None)).update(due_at=F("finished_at") + reply_for)
    rows.filter(~Q(sealed_payload=None)).update(due_at=F("finished_at") + payload_for)
    return len(ids)


def _due_in(state: str, now: datetime) -> QuerySet[OutboundRequest]:
    # The priorities are spelled out for the index, which has them before the time.
    priorities = range(queueing.LAST + 1)
    return OutboundRequest.objects.filter(state=state, priority__in=priorities, due_at__lte=now)


def _with_room(state: str, rows: QuerySet[OutboundRequest]) -> QuerySet[OutboundRequest]:
    return bulkheads.with_room(rows) if state == RequestState.QUEUED else rows


def _rows(state: str, now: datetime, *only: Q) -> list[OutboundRequest]:
    rows = _due_in(state, now).filter(*only).select_related("organization")
    rows = rows.order_by("priority", "due_at")
    return list(rows.defer("sealed_payload", "sealed_reply")[:BATCH])
