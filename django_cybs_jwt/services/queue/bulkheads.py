"""How many requests of one merchant, and of one host, are on the wire at once, over all workers.

Counted in the rows, so that threads, processes and machines share one number. Two that count at
the same moment may both be let through: a limit is kept about, not exactly.
"""

from __future__ import annotations

import random
import time
from typing import Final
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.models import OutboundRequest, RequestState
from django_cybs_jwt.services import doorbell
from django_cybs_jwt.services.queue import database_clock

_REMEMBERED: Final = 60.0  # seconds
_crowded: dict[UUID, float] = {}
"""Merchants that had to wait for themselves, and when this process saw it."""


def full(request: OutboundRequest) -> bool:
    """True where its merchant or its host has as many on the wire as it may have."""
    queue = conf.current().queue
    if not queue.merchant_at_once and not queue.host_at_once:
        return False
    merchant, host = Q(organization=request.organization_id), Q(host=request.host)
    rows = _on_the_wire().filter(host if queue.host_at_once else merchant)
    found = rows.aggregate(of_merchant=Count("pk", filter=merchant), of_host=Count("pk"))
    if queue.merchant_at_once and found["of_merchant"] >= queue.merchant_at_once:
        _crowded[request.organization_id] = time.monotonic()
        _ring_soon(request)
        return True
    return bool(queue.host_at_once) and found["of_host"] >= queue.host_at_once


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
    """A place is free: ring for another row of a merchant that had to wait."""
    seen = _crowded.get(request.organization_id)
    if seen is None or conf.current().DOORBELL is None:
        return
    waiting = OutboundRequest.objects.filter(
        state=RequestState.QUEUED,
        organization=request.organization_id,
        due_at__lte=database_clock.now(),
    ).order_by("priority", "due_at")
    # One of several: who ends at the same moment should not ring for the same row.
    ids = waiting.values_list("pk", flat=True)[: 4 * int(conf.current().queue.merchant_at_once)]
    found = list(ids)
    if found:
        doorbell.ring(random.choice(found), request.host)  # noqa: S311  # lots, not secrets
    elif time.monotonic() - seen > _REMEMBERED:
        _crowded.pop(request.organization_id, None)


def _ring_soon(request: OutboundRequest) -> None:
    """Its ring is spent: the next sweep that finds room rings again, however often it has."""
    if request.rung_at is not None:
        row = OutboundRequest.objects.filter(pk=request.pk, state=RequestState.QUEUED)
        row.update(rung_at=None, rings=0)


def _on_the_wire() -> QuerySet[OutboundRequest]:
    return OutboundRequest.objects.filter(state=RequestState.SENDING)
