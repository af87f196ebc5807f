"""How many requests of one merchant, and of one host, are on the wire at once, over all workers.

Counted in the rows, so that processes and machines share one number. Two of them that count at
the same moment may both be let through: between processes a limit is kept about, not exactly.
Within one it is never passed.
"""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Count, QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.models import OutboundRequest, RequestState
from django_cybs_jwt.services import doorbell, statements
from django_cybs_jwt.services.queue import database_clock

_REMEMBERED: Final = 60.0  # seconds
_LOTS: Final = 3
"""Merchants that are asked for a row when a place comes free: each is a query."""
_crowded: dict[tuple[UUID | str, UUID], float] = {}
"""The merchant or host that was full, the merchant that had to wait for it, and when this process
saw it."""
_here: dict[int, OutboundRequest] = {}
"""What threads of this process have in hand, each as it read it: of two that were rung for one
row, who comes too late gives back a place of its own and not the other's."""
_guard = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """How many are on the wire of a request's merchant, and of its host; 0 without a limit."""

    of_merchant: int
    of_host: int


def columns(of: str) -> str:
    """Beside, as columns of a statement in which the table of requests is called *of*."""
    queue = conf.current().queue
    merchant = _count("organization_id", of) if queue.merchant_at_once else "0"
    host = _count("host", of) if queue.host_at_once else "0"
    return f"{merchant} AS of_merchant, {host} AS of_host"


def _count(column: str, of: str) -> str:
    sending = f"b.state = '{RequestState.SENDING}'"
    same = f"b.{column} = {of}.{column}"
    table = statements.table(OutboundRequest)
    return f"(SELECT COUNT(*) FROM {table} b WHERE {sending} AND {same})"  # noqa: S608


def enter(request: OutboundRequest, beside: Beside) -> bool:
    """Take a place until `leave`; False where its merchant or its host has all it may have.

    *beside* was counted before this request is signed, which takes longer than the claims of
    others; what threads of this process have in hand is counted now.
    """
    with _guard:
        full = _full(request, beside)
        if not full:
            _here[id(request)] = request
        _crowded.update({(each, request.organization_id): time.monotonic() for each in full})
    if full:
        _ring_soon(request)
    return not full


def _full(request: OutboundRequest, beside: Beside) -> list[UUID | str]:
    """Its merchant, its host, both or neither."""
    queue = conf.current().queue
    limits = (
        ("organization_id", queue.merchant_at_once, beside.of_merchant),
        ("host", queue.host_at_once, beside.of_host),
    )
    return [
        getattr(request, column)
        for column, limit, counted in limits
        if limit and _most(counted, column, request) >= limit
    ]


def leave(request: OutboundRequest) -> None:
    """Give its place back, if it has one."""
    with _guard:
        _here.pop(id(request), None)


def _most(counted: int, column: str, request: OutboundRequest) -> int:
    name = getattr(request, column)
    here: int = sum(getattr(each, column) == name for each in _here.values())
    return max(counted, here)


def with_room(rows: QuerySet[OutboundRequest]) -> QuerySet[OutboundRequest]:
    """*rows* without those that would have to wait for others of their own."""
    queue = conf.current().queue
    limits = {"organization": queue.merchant_at_once, "host": queue.host_at_once}
    for name, limit in limits.items():
        if limit:
            counted = _on_the_wire().order_by().values(name).annotate(at_once=Count("pk"))
            busy = list(counted.filter(at_once__gte=limit).values_list(name, flat=True))
            rows = rows.exclude(**{f"{name}__in": busy}) if busy else rows
    return rows


def pass_on(request: OutboundRequest) -> None:
    """Give its place to another row, of a merchant that had to wait for it: ring for that one."""
    leave(request)
    if not _crowded or conf.current().DOORBELL is None:
        return
    for merchant, seen in _who_waited(request):
        if found := _next_of(merchant):
            # One of several: who ends at the same moment should not ring for the same row.
            doorbell.ring(random.choice(found), request.host)  # noqa: S311  # lots, not secrets
            return
        if time.monotonic() - seen > _REMEMBERED:
            for full in (request.organization_id, request.host):
                _crowded.pop((full, merchant), None)


def _who_waited(request: OutboundRequest) -> list[tuple[UUID, float]]:
    """Some of those that had to wait for its merchant or for its host, and when, by lot."""
    freed = (request.organization_id, request.host)
    with _guard:
        seen = {merchant: at for (full, merchant), at in _crowded.items() if full in freed}
    return random.sample(list(seen.items()), min(len(seen), _LOTS))


def _next_of(merchant: UUID) -> list[UUID]:
    """Rows of it that may go now, the most urgent first."""
    queue = conf.current().queue
    waiting = OutboundRequest.objects.filter(
        state=RequestState.QUEUED, organization=merchant, due_at__lte=database_clock.now()
    ).order_by("priority", "due_at")
    # Without a limit for hosts the free place is the merchant's own.
    rows = with_room(waiting) if queue.host_at_once else waiting
    most = 4 * int(max(queue.merchant_at_once, queue.host_at_once))
    return list(rows.values_list("pk", flat=True)[:most])


def _ring_soon(request: OutboundRequest) -> None:
    """Its ring is spent: the next sweep that finds room rings again, however often it has."""
    if request.rung_at is not None:
        row = OutboundRequest.objects.filter(pk=request.pk, state=RequestState.QUEUED)
        row.update(rung_at=None, rings=0)


def _on_the_wire() -> QuerySet[OutboundRequest]:
    return OutboundRequest.objects.filter(state=RequestState.SENDING)


def _after_fork() -> None:
    global _guard  # noqa: PLW0603  # a lock held by another thread at fork stays locked for ever
    _guard = threading.Lock()
    _here.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
