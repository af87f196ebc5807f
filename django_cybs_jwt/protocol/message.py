"""The two verbs of the wire: seal a request, open a response. No I/O, no clock, no settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django_cybs_jwt.exceptions import (
    BodyNotEncryptable,
    EncryptionImpossible,
    EncryptionRequired,
    InvalidBody,
    MessageError,
    MLEDecryptError,
    ReplyNotEncrypted,
)
from django_cybs_jwt.protocol import jwe, jws
from django_cybs_jwt.protocol.bodies import check_body, decode_json
from django_cybs_jwt.protocol.claims import METHODS, build_claims
from django_cybs_jwt.protocol.headers import Headers, check_headers
from django_cybs_jwt.protocol.keys import GatewayCertificate, MerchantKeys, ReplyKeys, ResponseMLE
from django_cybs_jwt.protocol.operations import Operations, Policy
from django_cybs_jwt.protocol.paths import check_path
from django_cybs_jwt.protocol.profiles import Profile

JSON: Final = "application/json"
_TYPES: Final = (("content-type", JSON), ("accept", "*/*"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRequest:
    """A request ready to send: these bytes, this path, nothing re-encoded.

    *path* is the request target, *body* the wire bytes, *response_kid* the announced key,
    *request_mle_kid* the certificate that the body is encrypted for, if it is.
    """

    method: str
    host: str
    path: str = field(repr=False)  # it may carry a card number
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    kid: str
    request_mle_kid: str | None
    response_kid: str | None

    @property
    def url(self) -> str:
        """The gateway's own URL for this request."""
        return f"https://{self.host}{self.path}"

    @property
    def request_encrypted(self) -> bool:
        """True where the body is an encrypted one."""
        return self.request_mle_kid is not None

    @property
    def jti(self) -> str:
        """The token's unique id, a UUID version 4."""
        return str(self.claims["jti"])


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedResponse:
    """A reply's plain bytes; *kid* names the response key that opened it, if one did."""

    content: bytes = field(repr=False)
    encrypted: bool
    kid: str | None = None


def seal_request(
    keys: MerchantKeys,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    now: datetime,
    jti: str,
    operations: Operations,
    profile: Profile,
    mle: bool | None = None,
    response_mle: ResponseMLE = "ask",
    headers: Headers = (),
) -> SealedRequest:
    """Encrypt *body* where the policy asks for it, then sign what results.

    *mle* overrides an optional operation's policy. Raises MessageError, never falls back.
    """
    _check_occasion(method, now)
    extra = check_headers(headers)
    wanted = _wants_encryption(operations.policy(method, check_path(path)), mle, check_body(body))
    if wanted:
        body, extra = _encrypt(keys.gateway_certificate, body, extra, now, profile)
    response_kid = _announced(keys, response_mle)
    claims = build_claims(
        keys,
        method=method,
        path=path,
        body=body,
        now=now,
        jti=jti,
        profile=profile,
        response_kid=response_kid,
    )
    return SealedRequest(
        method=method.upper(),
        host=keys.host,
        path=path,
        headers=(("authorization", f"Bearer {jws.sign(claims, keys.signing)}"), *_typed(extra)),
        body=body,
        claims=claims,
        kid=keys.signing.kid,
        request_mle_kid=_mle_kid(keys.gateway_certificate) if wanted else None,
        response_kid=response_kid,
    )


def open_response(
    keys: ReplyKeys, body: bytes, *, status: int, response_mle: ResponseMLE = "ask"
) -> OpenedResponse:
    """Return the plain bytes of a reply of any *status*; a plain reply passes as it is.

    Raises MLEDecryptError when an encrypted reply does not open,
    ReplyNotEncrypted when a plain 2xx reply breaks `response_mle="required"`.
    """
    if not isinstance(body, bytes):
        raise InvalidBody(
            "A reply is opened from its bytes, as in response.content, not from {type}.",
            type=type(body).__name__,
        )
    token = _encrypted_response(body)
    if token is not None:
        content, kid = jwe.decrypt(token, keys.response_keys)
        if not _is_json(content):
            raise MLEDecryptError(kid=kid, known=True)
        return OpenedResponse(content=content, encrypted=True, kid=kid)
    if response_mle == "required" and body and 200 <= status < 300:
        raise ReplyNotEncrypted
    return OpenedResponse(content=body, encrypted=False)


def check_method(method: object) -> None:
    """Refuse what is no method of the gateway, in either case."""
    if not isinstance(method, str) or method.lower() not in METHODS:
        raise MessageError(
            "{method!r} is not a method of the gateway. Give one of {known}.",
            method=str(method)[:20],
            known=", ".join(sorted(METHODS)).upper(),
        )


def check_mle(mle: object) -> None:
    """Refuse everything but True, False and None: 0 or "" would pass for "in clear"."""
    if mle is not None and not isinstance(mle, bool):
        # Its type alone: by a slip of the position it may be the body.
        raise MessageError(
            "mle is True, False or None, not of type {type}.", type=type(mle).__name__
        )


def _check_occasion(method: object, now: object) -> None:
    check_method(method)
    # Without one, a token would begin hours from now wherever the clock is not on UTC.
    if not isinstance(now, datetime) or now.utcoffset() is None:
        raise MessageError("The time of a message carries a zone, like datetime.now(UTC).")


def _wants_encryption(policy: Policy, mle: bool | None, body: bytes) -> bool:
    check_mle(mle)
    if not body:
        return False
    if mle is False and policy == "mandatory":
        raise EncryptionRequired
    return policy != "off" if mle is None else mle


def _encrypt(
    certificate: GatewayCertificate | None,
    body: bytes,
    headers: tuple[tuple[str, str], ...],
    now: datetime,
    profile: Profile,
) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    content_type = dict(headers).get("content-type", JSON).partition(";")[0].strip().lower()
    if content_type != JSON:
        raise BodyNotEncryptable(
            "Only JSON bodies can be encrypted, not {content_type}. "
            "Say mle=False where the operation takes a plain body.",
            content_type=content_type[:80],
        )
    if certificate is None:
        raise EncryptionImpossible
    if not certificate.is_valid(now):
        raise EncryptionImpossible(
            "The request-MLE certificate {kid} is valid from "
            "{begins:%Y-%m-%d} to {ends:%Y-%m-%d}. Import a P12 "
            "with a newer one, or add the host's with `manage.py cybs_gateway_cert add`.",
            page="The request-MLE certificate {kid} is valid from {begins:%Y-%m-%d} to "
            "{ends:%Y-%m-%d}. Import a P12 with a newer one.",
            kid=certificate.kid,
            begins=certificate.not_before,
            ends=certificate.not_after,
        )
    token = jwe.encrypt(body, certificate, now=now, content_type=profile.content_type_header)
    envelope = b'{"encryptedRequest":"' + token.encode("ascii") + b'"}'
    return envelope, tuple(pair for pair in headers if pair[0] != "content-type")


def _mle_kid(certificate: GatewayCertificate | None) -> str | None:
    return certificate.kid if certificate else None


def _announced(keys: MerchantKeys, response_mle: ResponseMLE) -> str | None:
    if response_mle == "never":
        return None
    if response_mle == "required" and keys.response_kid is None:
        raise EncryptionImpossible(
            "RESPONSE_MLE is 'required' and {owner} has no active Response MLE key. Import one "
            "with `manage.py cybs_import ORG_ID FILE --purpose response-mle --activate`.",
            page="RESPONSE_MLE is 'required' and {owner} has no active Response MLE key. "
            "Import one and activate it.",
            owner=keys.signing.owner,
        )
    return keys.response_kid


def _typed(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if not headers:
        return _TYPES
    names = {name for name, _ in headers}
    return (*headers, *(pair for pair in _TYPES if pair[0] not in names))


def _encrypted_response(body: bytes) -> str | None:
    """The token of `{"encryptedResponse": "..."}`, None for every other body."""
    if b'"encryptedResponse"' not in body[:64]:
        return None
    try:
        envelope = decode_json(body)
    except ValueError:
        raise MLEDecryptError from None
    if not isinstance(envelope, dict) or set(envelope) != {"encryptedResponse"}:
        return None
    token = envelope["encryptedResponse"]
    if not isinstance(token, str):
        raise MLEDecryptError
    return token


def _is_json(content: bytes) -> bool:
    try:
        decode_json(content)
    except ValueError:
        return False
    return True
