"""Keys of one merchant as tests of the protocol need them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django_cybs_jwt.protocol import (
    DEFAULT,
    GatewayCertificate,
    MerchantKeys,
    Operations,
    ResponseKey,
    SealedRequest,
    SigningKey,
    seal_request,
)
from django_cybs_jwt.testing import material

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOST = "apitest.cybersource.com"
JTI = "6643fb9a-8093-47c6-95d3-8d69785b5e62"
KID, RESPONSE_KID, GATEWAY_KID = "1757695744950028980655", "1757970970891045729358", "17634241707"
OPERATIONS = Operations(
    [
        ("POST", "/must/v1/encrypt", "mandatory"),
        ("POST", "/may/v1/encrypt", "optional"),
        ("POST", "/not/v1/encrypt", "off"),
    ]
)

RSA = material.rsa_key(name="protocol signing")
RESPONSE_RSA = material.rsa_key(name="protocol response")
GATEWAY_RSA = material.rsa_key(name="protocol gateway")
SECRET = bytes(range(100, 164))

SIGNING = SigningKey(owner="acme_001", kid=KID, algorithm="RS256", material=RSA)
SHARED = SigningKey(owner="acme_001", kid="a-shared-secret", algorithm="HS512", material=SECRET)
RESPONSE = ResponseKey(owner="acme_001", kid=RESPONSE_KID, private_key=RESPONSE_RSA)


def certificate(*, begin: int = -10, end: int = 10) -> GatewayCertificate:
    """The gateway's certificate, valid from *begin* to *end*, in days from NOW."""
    return GatewayCertificate(
        kid=GATEWAY_KID,
        common_name="CyberSource_SJC_US",
        public_key=GATEWAY_RSA.public_key(),
        not_before=NOW + timedelta(days=begin),
        not_after=NOW + timedelta(days=end),
    )


def merchant(**changes: Any) -> MerchantKeys:
    usual: dict[str, Any] = {
        "merchant": "acme_001",
        "host": HOST,
        "signing": SIGNING,
        "response_keys": {RESPONSE_KID: RESPONSE},
        "response_kid": RESPONSE_KID,
        "gateway_certificate": certificate(),
    }
    return MerchantKeys(**(usual | changes))


def sealed(
    keys: MerchantKeys | None = None,
    method: str = "POST",
    path: str = "/may/v1/encrypt",
    body: bytes = b'{"a":1}',
    **changes: Any,
) -> SealedRequest:
    usual = {"now": NOW, "jti": JTI, "operations": OPERATIONS, "profile": DEFAULT}
    return seal_request(keys or merchant(), method, path, body, **(usual | changes))


def bearer(request: SealedRequest) -> str:
    """The token of a sealed request."""
    return dict(request.headers)["authorization"].removeprefix("Bearer ")
