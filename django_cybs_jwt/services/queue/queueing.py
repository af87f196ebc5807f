"""Put a request into the queue: one sealed row, in the caller's own transaction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet

from django_cybs_jwt import conf, correlation
from django_cybs_jwt.card_numbers import is_card_number
from django_cybs_jwt.exceptions import (
    CybsError,
    EncryptionRequired,
    IdempotencyConflict,
    InvalidBody,
    QueueError,
    TransactionIdConflict,
)
from django_cybs_jwt.models import Organization, OutboundRequest, RequestState, Safety
from django_cybs_jwt.protocol.bodies import check_body, encode_json
from django_cybs_jwt.protocol.headers import check_headers
from django_cybs_jwt.protocol.message import check_method, check_mle
from django_cybs_jwt.protocol.paths import check_path
from django_cybs_jwt.services import doorbell, organizations, statements
from django_cybs_jwt.services.queue import (
    database_clock,
    payloads,
    safety,
    telemetry,
)
from django_cybs_jwt.services.queue.payloads import Payload
from django_cybs_jwt.tracebacks import forgetful

LAST: Final = 9
"""The least urgent priority; 0 is the most urgent."""

_KEY: Final = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?\Z")


@forgetful
def enqueue(
    org_id: str,
    method: str,
    path: str,
    *,
    json: Any = None,
    content: bytes | None = None,
    idempotency_key: str,
    mle: bool | None = None,
    headers: Mapping[str, str] | None = None,
    send_after: datetime | None = None,
    deadline: datetime | None = None,
    priority: int = 5,
) -> OutboundRequest:
    """Store one request in the caller's transaction; it is sent after that has committed.

    The same *idempotency_key* with the same request returns the row that is there, with another
    one IdempotencyConflict. No try is begun after *deadline*. *priority* is 0, soonest, to 9.
    A call that moves money is given a `transactionId` where it has none; one of your own is used
    once, else TransactionIdConflict. Two queries, or three where the key was used before; once a
    minute one more, for the database's clock.
    Raises MessageError, OrganizationError or QueueError.
    """
    payload = payload_of(method, path, json=json, content=content, mle=mle, headers=headers)
    organization = organizations.find_alone(org_id)
    now = database_clock.now()
    request = build(
        organization,
        payload,
        idempotency_key=idempotency_key,
        priority=priority,
        deadline=deadline,
        now=now,
    )
    request.state = RequestState.QUEUED
    due = _not_before(send_after, now)
    request.due_at = request.waiting_since = due
    if deadline is not None and due >= deadline:
        return _made_in_time(request)
    # Who is rung now need not be rung by the sweeper as well.
    request.rung_at = now if due == now else None
    stored = insert(request)
    if stored.pk == request.pk and due == now:
        doorbell.ring_after_commit(stored)
    return stored


def _made_in_time(request: OutboundRequest) -> OutboundRequest:
    """The row of the same call, which came before its deadline; QueueError where none did."""
    stored = find(request)
    if stored is None:
        raise QueueError("It would be sent after its deadline. Give a later deadline.")
    return stored


def payload_of(
    method: str,
    path: str,
    *,
    json: Any,
    content: bytes | None,
    mle: bool | None,
    headers: Mapping[str, str] | None,
) -> Payload:
    """The message, checked as far as it can be without a key. Raises MessageError."""
    if json is not None and content is not None:
        raise InvalidBody("Give json= or content=, not both: only one of them can be sent.")
    check_method(method)
    check_mle(mle)
    check_path(path)
    checked = dict(check_headers(headers or {}))
    body = encode_json(json) if json is not None else check_body(content or b"")
    if mle is False and body and conf.operations().policy(method, path) == "mandatory":
        raise EncryptionRequired
    return Payload(method=method.upper(), path=path, headers=checked, mle=mle, body=body)


def build(
    organization: Organization,
    payload: Payload,
    *,
    idempotency_key: str,
    priority: int,
    deadline: datetime | None,
    now: datetime,
) -> OutboundRequest:
    """A row that is not stored yet and has no state."""
    _check_key(idempotency_key)
    _check_zone(deadline)
    if not 0 <= priority <= LAST:
        raise QueueError("A priority is from 0, the soonest, to {last}.", last=LAST)
    operation = conf.operations().name(payload.method, payload.path)[:200]
    request = OutboundRequest(
        organization=organization,
        host=organization.host,
        operation=operation,
        safety=safety.of(operation),
        idempotency_key=idempotency_key,
        fingerprint=payloads.fingerprint(payload),
        priority=priority,
        deadline=deadline,
        caller_id=correlation.current() or telemetry.trace_id(),
        created_at=now,
        waiting_since=now,
    )
    if request.safety == Safety.GUARDED:
        payloads.check_guarded(payload)
        given = payloads.given_transaction_id(payload)
        request.transaction_id = given or payloads.transaction_id(request)
    elif request.safety == Safety.UNGUARDED:
        # What was never announced to the gateway cannot be added: none is no reason to make one.
        request.transaction_id = payloads.given_transaction_id(payload) or None
    _check_searchable(request, payload)
    request.sealed_payload = payloads.seal_payload(request, payload)
    return request


def _check_searchable(request: OutboundRequest, payload: Payload) -> None:
    """Before it is stored. Where the same call was stored already, that row is the answer."""
    named = payloads.UNSEARCHABLE & set(payloads.code_in(payload.document))
    if named and safety.policy(request) in safety.SEARCHING and find(request) is None:
        raise InvalidBody(
            "clientReferenceInformation.code has a quotation mark or a backslash. Leave it out: "
            "the gateway's search could not name it, nor tell what became of the payment."
        )


def insert(request: OutboundRequest) -> OutboundRequest:
    """Store *request*, or return the row that has its key.

    Raises IdempotencyConflict where that is another request's, TransactionIdConflict where
    another row has its transactionId.
    """
    if statements.insert(request, unless_there=True):
        return request
    stored = find(request)
    if stored is None:
        _refuse_taken_id(request)
        raise CybsError("The database did not take the row. Look at its log.")
    return stored


def find(request: OutboundRequest) -> OutboundRequest | None:
    """The row that is there for a request built anew: one query, None where there is none.

    Raises IdempotencyConflict where its key is another request's.
    """
    stored = _of_merchant(request).filter(idempotency_key=request.idempotency_key).first()
    if stored is None:
        return None
    # Some collations of MySQL hold two keys for one: never take another order's row.
    same = stored.idempotency_key == request.idempotency_key
    if not same or stored.fingerprint != request.fingerprint:
        raise IdempotencyConflict(request=str(stored.pk))
    return stored


def _of_merchant(request: OutboundRequest) -> QuerySet[OutboundRequest]:
    lean = OutboundRequest.objects.defer("sealed_payload", "sealed_reply")
    return lean.select_related("organization").filter(organization=request.organization)


def _refuse_taken_id(request: OutboundRequest) -> None:
    named, mine = request.transaction_id, _of_merchant(request)
    other = mine.filter(transaction_id=named).first() if named is not None else None
    if other is not None:
        raise TransactionIdConflict(request=str(other.pk))


def _check_key(key: str) -> None:
    if not _KEY.match(key):
        raise QueueError(
            "An idempotency key has 1 to 128 printable ASCII characters, no space at either end. "
            "Use the id of your order; never card data: it is stored in clear."
        )
    if is_card_number(key):
        raise QueueError(
            "This idempotency key looks like a card number, and is stored in clear. Use the id of "
            "your order; put letters before one that is all digits, like order-7."
        )


def _not_before(send_after: datetime | None, now: datetime) -> datetime:
    _check_zone(send_after)
    return now if send_after is None else max(send_after, now)


def _check_zone(moment: datetime | None) -> None:
    if moment is not None and moment.utcoffset() is None:
        raise QueueError("A time needs its zone: give one like `django.utils.timezone.now()`.")
