"""The JWT v2 claim set.

Source: "Construct Messages Using JSON Web Tokens", revision 26.06.01.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from datetime import datetime
from typing import Any, Final

from django_cybs_jwt.protocol.keys import MerchantKeys
from django_cybs_jwt.protocol.profiles import Profile

METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})


def body_digest(body: bytes) -> str:
    """Base64 of the raw SHA-256 of the bytes on the wire.

    The guide's shell example encodes the hash's hex text instead; its code examples,
    and every official SDK, encode the 32 raw bytes.
    """
    return b64encode(hashlib.sha256(body).digest()).decode("ascii")


def build_claims(
    keys: MerchantKeys,
    *,
    method: str,
    path: str,
    body: bytes,
    now: datetime,
    jti: str,
    profile: Profile,
    response_kid: str | None,
) -> dict[str, Any]:
    """The claims for one request; *body* is what goes on the wire, encrypted or not."""
    issued_at = int(now.timestamp()) - profile.backdate
    claims: dict[str, Any] = {}
    if body:
        claims["digest"] = body_digest(body)
        claims[profile.digest_algorithm_claim] = profile.digest_algorithm
    claims["iat"] = issued_at
    claims["exp"] = issued_at + profile.lifetime
    claims["iss"] = keys.signing.owner
    claims["jti"] = jti
    claims["request-method"] = method.lower()
    if profile.request_host:
        claims["request-host"] = keys.host
    claims["request-resource-path"] = path if profile.query_in_path else path.partition("?")[0]
    claims["v-c-jwt-version"] = "2"
    claims["v-c-merchant-id"] = keys.merchant
    if response_kid is not None:
        claims[profile.response_kid_claim] = response_kid
    return claims
