"""The claim set held against the request it came with."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, Final

from .messages import SimRequest
from .refusals import Refusal, RefusalError

VERSION: Final = "2"
MAX_LIFETIME: Final = 120
# Where these are called by name, the name called and the name claimed must be one.
GATEWAY_HOSTS: Final = frozenset(
    {
        "apitest.cybersource.com",
        "api.cybersource.com",
        "api.in.cybersource.com",
        "apitest.sa.cybersource.com",
        "api.sa.cybersource.com",
        "apitest.visaacceptance.com",
        "api.visaacceptance.com",
        "apitest.merchant-services.bankofamerica.com",
        "api.merchant-services.bankofamerica.com",
        "api.smartpayfuse-test.barclaycard",
        "api.smartpayfuse.barclaycard",
        "api-matest.cybersource.com",
        "api-ma.cybersource.com",
    }
)

Claims = Mapping[str, Any]


def text(claims: Claims, name: str) -> str:
    """The claim *name*, which must be a non-empty string."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise RefusalError(Refusal.BAD_CLAIM, f"{name} must be a string that is not empty")
    return value


def host(claims: Claims) -> str:
    """The host that the token claims, in lower case; empty where it claims none."""
    claimed = claims.get("request-host")
    return claimed.lower() if isinstance(claimed, str) else ""


def check_version(claims: Claims) -> None:
    """Refuse anything but version "2", as a string."""
    if claims.get("v-c-jwt-version") != VERSION:
        raise RefusalError(Refusal.WRONG_VERSION, 'v-c-jwt-version must be the string "2"')


def check_times(claims: Claims, *, now: float, leeway: float) -> int:
    """Refuse a token outside its two minutes; return `exp`. Times are epoch seconds."""
    iat, exp = _seconds(claims, "iat"), _seconds(claims, "exp")
    if not 0 < exp - iat <= MAX_LIFETIME:
        raise RefusalError(
            Refusal.LIFETIME_TOO_LONG, f"exp must be 1 to {MAX_LIFETIME} s after iat"
        )
    if iat > now + leeway:
        raise RefusalError(Refusal.NOT_YET_VALID, f"iat is {iat - int(now)} s in the future")
    if now > exp + leeway:
        raise RefusalError(Refusal.EXPIRED, f"exp was {int(now) - exp} s ago")
    return exp


def check_target(claims: Claims, request: SimRequest) -> None:
    """Refuse a token made for another method or another path; the query is part of the path."""
    if text(claims, "request-method").casefold() != request.method.casefold():
        raise RefusalError(Refusal.WRONG_METHOD, f"the request is a {request.method}")
    if text(claims, "request-resource-path") != request.target:
        raise RefusalError(
            Refusal.WRONG_PATH, "request-resource-path is not the request target with its query"
        )


def check_digest(claims: Claims, body: bytes) -> None:
    """Refuse a digest of other bytes, and one of no bytes."""
    names = [name for name in ("digestAlgorithm", "digest-algorithm") if name in claims]
    if not body:
        if names or "digest" in claims:
            raise RefusalError(Refusal.WRONG_DIGEST, "no body, so no digest claims")
        return
    algorithms = {str(claims[name]).upper() for name in names}
    if algorithms != {"SHA-256"}:
        raise RefusalError(Refusal.WRONG_DIGEST, "digestAlgorithm must be SHA-256")
    digest = claims.get("digest")
    raw = hashlib.sha256(body)
    if digest == base64.b64encode(raw.hexdigest().encode()).decode():
        raise RefusalError(
            Refusal.WRONG_DIGEST, "Base64 of the hex text; encode the 32 raw bytes instead"
        )
    expected = base64.b64encode(raw.digest()).decode()
    if digest != expected:
        raise RefusalError(Refusal.WRONG_DIGEST, "digest is not that of the bytes that arrived")


def check_host(claims: Claims, request: SimRequest, hosts: frozenset[str], *, strict: bool) -> None:
    """Refuse a host where the merchant is not, or which is not the one that was called.

    On loopback the Host header says nothing, and the claim alone counts.
    """
    if "request-host" not in claims and not strict:
        return
    claimed = text(claims, "request-host").lower()
    if claimed not in hosts:
        raise RefusalError(Refusal.WRONG_HOST, "the merchant does not exist on request-host")
    called = _hostname(request.headers.get("host", ""))
    if called in GATEWAY_HOSTS | hosts and called != claimed:
        raise RefusalError(Refusal.WRONG_HOST, f"request-host is not {called}, which was called")


def check_jti(claims: Claims) -> str:
    """Refuse a token id that is not a version 4 UUID; return it."""
    jti = text(claims, "jti")
    try:
        parsed = uuid.UUID(jti)
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != jti.lower() or parsed.version != 4:
        raise RefusalError(Refusal.BAD_CLAIM, "jti must be a version 4 UUID")
    return jti


def _seconds(claims: Claims, name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**40:
        raise RefusalError(Refusal.BAD_CLAIM, f"{name} must be whole epoch seconds, as a number")
    return value


def _hostname(host_header: str) -> str:
    name, colon, port = host_header.rpartition(":")
    return (name if colon and port.isdigit() else host_header).lower()
