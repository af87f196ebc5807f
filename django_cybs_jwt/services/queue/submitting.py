"""Send one request durably and at once, in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db import close_old_connections, transaction
from django.utils import timezone

from django_cybs_jwt.client import Parcel, Reply
from django_cybs_jwt.exceptions import CybsError, QueueError
from django_cybs_jwt.models import OutboundRequest, RequestState
from django_cybs_jwt.services import organizations, sending
from django_cybs_jwt.services.queue import (
    bulkheads,
    database_clock,
    durability,
    executing,
    failpoints,
    picking,
    queueing,
    states,
    telemetry,
)
from django_cybs_jwt.services.queue.payloads import Payload
from django_cybs_jwt.services.queue.settling import settle
from django_cybs_jwt.tracebacks import aforgetful, forgetful

_running: Final[set[asyncio.Task[OutboundRequest]]] = set()
"""Held here, as the event loop alone holds a task but weakly."""


@forgetful
def submit(
    org_id: str,
    method: str,
    path: str,
    *,
    json: Any = None,
    content: bytes | None = None,
    idempotency_key: str,
    mle: bool | None = None,
    headers: Mapping[str, str] | None = None,
    deadline: datetime | None = None,
) -> OutboundRequest:
    """Like `enqueue`, and sent before it returns; look at `state` and `outcome`.

    ANSWERED is the usual end. QUEUED was not sent and will be tried again, IN_DOUBT is being
    cleared up: never send such a one again under another key. A key that was used before returns
    its row. Raises OpenTransaction inside a transaction, and like `enqueue` and `keys_for`.
    """
    request, parcel = _begin(
        org_id,
        method,
        path,
        json=json,
        content=content,
        idempotency_key=idempotency_key,
        mle=mle,
        headers=headers,
        deadline=deadline,
    )
    if parcel is not None:
        executing.deliver(request, parcel)
    return request


@aforgetful
async def asubmit(
    org_id: str,
    method: str,
    path: str,
    *,
    json: Any = None,
    content: bytes | None = None,
    idempotency_key: str,
    mle: bool | None = None,
    headers: Mapping[str, str] | None = None,
    deadline: datetime | None = None,
) -> OutboundRequest:
    """The asynchronous twin of `submit`; goes on to its end when its caller is cancelled."""
    task = asyncio.ensure_future(
        _submit(
            org_id,
            method,
            path,
            json=json,
            content=content,
            idempotency_key=idempotency_key,
            mle=mle,
            headers=headers,
            deadline=deadline,
        )
    )
    _running.add(task)
    task.add_done_callback(_running.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # A closed browser tab ends the view, and with it the thread whose connection this uses.
        task.add_done_callback(_close_connections)
        raise


@aforgetful  # a task of its own: what asubmit forgets is no more than the awaiting of it
async def _submit(*what: str, **options: Any) -> OutboundRequest:
    request, parcel = await sync_to_async(_begin)(*what, **options)
    if parcel is not None:
        await _deliver(request, parcel)
    return request


async def _deliver(request: OutboundRequest, parcel: Parcel) -> None:
    """See executing.deliver."""
    with telemetry.attempt(request):
        await _exchange(request, parcel)


async def _exchange(request: OutboundRequest, parcel: Parcel) -> None:
    failpoints.reached("claimed")
    started = time.monotonic()
    try:
        async with sending.aclient(str(request.organization)) as http:
            reply = Reply.of(await http.dispatch(parcel), received_at=timezone.now())
    except BaseException as error:
        result = executing.of_error(request, parcel, error, started=started)
        await sync_to_async(settle)(request, result)
        if isinstance(error, CybsError):
            return
        raise
    failpoints.reached("answered")
    result = await sync_to_async(executing.of_reply)(request, parcel, reply, started=started)
    await sync_to_async(settle)(request, result)


@forgetful
def _begin(
    org_id: str,
    method: str,
    path: str,
    *,
    json: Any,
    content: bytes | None,
    idempotency_key: str,
    mle: bool | None,
    headers: Mapping[str, str] | None,
    deadline: datetime | None,
) -> tuple[OutboundRequest, Parcel | None]:
    """A row that says SENDING, committed, and its message; or a row that is there, and None."""
    executing.refuse_open_transaction()
    durability.require()
    payload = queueing.payload_of(
        method, path, json=json, content=content, mle=mle, headers=headers
    )
    now = database_clock.now()
    request = queueing.build(
        organizations.find_alone(org_id),
        payload,
        idempotency_key=idempotency_key,
        priority=0,
        deadline=deadline,
        now=now,
    )
    # What may have been sent is looked up before anything says that nothing was.
    if (stored := queueing.find(request)) is not None:
        return _take_up(stored, now)
    if deadline is not None and deadline <= now:
        raise QueueError("The deadline has passed. Nothing was sent.")
    return _write_ahead(request, payload, now)


def _write_ahead(
    request: OutboundRequest, payload: Payload, now: datetime
) -> tuple[OutboundRequest, Parcel | None]:
    parcel = executing.prepare(request, payload)
    states.begin_sending(request, **executing.mark(parcel, attempt=1, now=now))
    with transaction.atomic(durable=True):
        stored = queueing.insert(request)
    if stored.pk == request.pk:
        return request, parcel
    return _take_up(stored, now)


def _take_up(stored: OutboundRequest, now: datetime) -> tuple[OutboundRequest, Parcel | None]:
    """A row that was there before, and its message where it waits for nobody."""
    found = picking.pick(stored.pk)
    if found is None:
        return stored, None
    request, beside = found
    is_due = request.state == RequestState.QUEUED and (request.due_at or now) <= now
    if not is_due or not bulkheads.enter(request, beside):
        return request, None
    try:
        return request, executing.take(request, now=now)
    finally:
        bulkheads.leave(request)  # once it is claimed the rows tell of it


def _close_connections(_task: asyncio.Task[OutboundRequest]) -> None:
    closing = asyncio.ensure_future(sync_to_async(close_old_connections)())
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)


_closing: Final[set[asyncio.Future[None]]] = set()
