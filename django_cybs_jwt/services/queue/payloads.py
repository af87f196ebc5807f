"""What is sent and what came back, sealed into the row; and the names derived from the ring."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import InvalidBody, ReplyUnreadable
from django_cybs_jwt.models import OutboundRequest, Safety
from django_cybs_jwt.protocol.bodies import decode_json, encode_json
from django_cybs_jwt.sealing import MAX_PLAINTEXT, Context, open_blob, seal

_LENGTH: Final = struct.Struct(">I")
_LONGEST_ID: Final = 64
UNSEARCHABLE: Final = frozenset('"\\')
"""What a quoted text of the gateway's search cannot hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One message as the caller gave it; the repr shows nothing of it."""

    method: str
    path: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    mle: bool | None
    body: bytes = field(repr=False)

    @property
    def document(self) -> dict[str, Any]:
        """The body as an object, empty where it is none."""
        return _object(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReply:
    """A gateway's answer as it was kept; the repr shows no body.

    *readable* is False for one that was kept as it was on the wire because it did not open.
    """

    status_code: int
    content: bytes = field(repr=False)
    readable: bool = True

    def json(self) -> Any:
        """The body as data; ReplyUnreadable when it is not JSON, or did not open."""
        try:
            return json.loads(self.content) if self.readable else _refuse()
        except (ValueError, RecursionError):
            _refuse()


def _refuse() -> None:
    raise ReplyUnreadable("The answer is not JSON that can be read.")


def context(request: OutboundRequest, column: str) -> Context:
    """What a sealed column is bound to: recomputed from the row, never read from the blob."""
    return Context(
        live=request.organization.live,
        kind="request",
        owner=request.organization_id,
        row=request.pk,
        field=column,
    )


def seal_payload(request: OutboundRequest, payload: Payload) -> bytes:
    """The blob for `sealed_payload`; InvalidBody when it is too long to be kept."""
    head = {
        "method": payload.method,
        "path": payload.path,
        "headers": payload.headers,
        "mle": payload.mle,
    }
    packed = _pack(head, payload.body)
    if len(packed) > MAX_PLAINTEXT:
        raise InvalidBody(
            "A queued request has at most {most} bytes. Use cybs.send.", most=MAX_PLAINTEXT
        )
    return seal(packed, context=context(request, "sealed_payload"), ring=conf.keyring())


def open_payload(request: OutboundRequest) -> Payload:
    """What is to be sent; raises SealingError."""
    blob = request.sealed_payload
    head, body = _unpack(_opened(request, "sealed_payload", blob))
    return Payload(body=body, **head)


def seal_reply(request: OutboundRequest, reply: StoredReply) -> bytes | None:
    """The blob for `sealed_reply`; None for a reply too long to be kept."""
    packed = _pack({"status_code": reply.status_code, "readable": reply.readable}, reply.content)
    if len(packed) > MAX_PLAINTEXT:
        return None
    return seal(packed, context=context(request, "sealed_reply"), ring=conf.keyring())


def open_reply(request: OutboundRequest) -> StoredReply | None:
    """What came back; None where nothing did, or where its time is over. Raises SealingError."""
    if request.sealed_reply is None:
        return None
    head, content = _unpack(_opened(request, "sealed_reply", request.sealed_reply))
    return StoredReply(content=content, **head)


def fingerprint(payload: Payload) -> str:
    """Tells one payload from another and gives nothing of it away: 64 hex digits.

    Keyed, as a plain hash of a body with a card number in it is found by trying them all. The
    order of a JSON object's members does not count.
    """
    known = (payload.method, payload.path, payload.headers, _canonical(payload.body).hex())
    return _keyed("request fingerprint", json.dumps(known, sort_keys=True)).hex()


def transaction_id(request: OutboundRequest) -> str:
    """26 letters and digits, the same at every try and whenever the same row is made again.

    So a row that a database lost in a failover, and its caller made again, sends the id that the
    gateway has seen, and is refused as its twin.
    """
    named = [str(request.organization), request.idempotency_key]
    return base64.b32encode(_keyed("transactionId", json.dumps(named)))[:26].decode()


def given_transaction_id(payload: Payload) -> str:
    """The caller's own transactionId, empty where there is none; InvalidBody for one too long."""
    information = payload.document.get("clientReferenceInformation")
    given = information.get("transactionId") if isinstance(information, dict) else None
    if isinstance(given, str) and len(given) > _LONGEST_ID:
        raise InvalidBody("A transactionId has at most {most} characters.", most=_LONGEST_ID)
    return given if isinstance(given, str) else ""


def body_to_send(request: OutboundRequest, payload: Payload) -> bytes:
    """The body with what the resolver needs: a transactionId, and a code where there is none."""
    if request.safety != Safety.GUARDED or request.transaction_id is None:
        return payload.body
    document = payload.document
    information = document.get("clientReferenceInformation")
    named = dict(information) if isinstance(information, Mapping) else {}
    named["transactionId"] = request.transaction_id
    named["code"] = code_in(document) or request.transaction_id
    return encode_json({**document, "clientReferenceInformation": named})


def code_in(document: Mapping[str, Any]) -> str:
    """The caller's own reference; empty where there is none that a search could name."""
    information = document.get("clientReferenceInformation")
    code = information.get("code") if isinstance(information, Mapping) else None
    return code if isinstance(code, str) else ""


def check_guarded(payload: Payload) -> None:
    """InvalidBody for money that could not be given a transactionId, or not be searched for."""
    document = _object(payload.body)
    information = document.get("clientReferenceInformation", {})
    if not document or not isinstance(information, dict):
        raise InvalidBody(
            "A queued payment is a JSON object whose clientReferenceInformation, where it has "
            "one, is an object."
        )
    if not isinstance(information.get("code"), str | None):
        raise InvalidBody(
            "clientReferenceInformation.code is text, as the gateway's search has it: str(code)."
        )


def _opened(request: OutboundRequest, column: str, blob: object) -> bytes:
    return open_blob(blob, context=context(request, column), ring=conf.keyring())


def _keyed(purpose: str, text: str) -> bytes:
    return hmac.new(conf.keyring().index_key(purpose), text.encode(), hashlib.sha256).digest()


def _canonical(body: bytes) -> bytes:
    try:
        return json.dumps(decode_json(body), sort_keys=True, separators=(",", ":")).encode()
    except ValueError:
        return body


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = decode_json(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _pack(head: dict[str, Any], body: bytes) -> bytes:
    encoded = json.dumps(head, separators=(",", ":")).encode()
    return _LENGTH.pack(len(encoded)) + encoded + body


def _unpack(packed: bytes) -> tuple[dict[str, Any], bytes]:
    start = _LENGTH.size + _LENGTH.unpack_from(packed)[0]
    head: dict[str, Any] = json.loads(packed[_LENGTH.size : start])
    return head, packed[start:]
