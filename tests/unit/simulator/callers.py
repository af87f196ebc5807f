"""Organizations that call the simulator, on PyJWT and joserfc and not on our own protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc import jwe
from joserfc.jwk import RSAKey

from django_cybs_jwt.simulator import Gateway, MemoryRegistry, SimRequest

HOST = "apitest.cybersource.com"
NOW = 1_800_000_000
CARD_NUMBER = "4111111111111111"
PAYMENT: dict[str, Any] = {
    "clientReferenceInformation": {"code": "order-1", "transactionId": "tx-1"},
    "paymentInformation": {"card": {"number": CARD_NUMBER, "securityCode": "123"}},
    "orderInformation": {"amountDetails": {"totalAmount": "102.21", "currency": "USD"}},
}


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Caller:
    """One organization that signs, encrypts and decrypts."""

    org_id: str
    kid: str
    material: rsa.RSAPrivateKey | bytes
    algorithm: str = "RS256"
    merchant: str = ""
    response_kid: str = ""
    response_key: rsa.RSAPrivateKey | None = None
    clock: Clock = field(default_factory=Clock)

    def claims(self, method: str, target: str, body: bytes, **changes: Any) -> dict[str, Any]:
        iat = int(self.clock())
        claims = {
            "iat": iat,
            "exp": iat + 120,
            "iss": self.org_id,
            "jti": str(uuid.uuid4()),
            "request-method": method.lower(),
            "request-host": HOST,
            "request-resource-path": target,
            "v-c-jwt-version": "2",
            "v-c-merchant-id": self.merchant or self.org_id,
        }
        if body:
            claims |= {"digest": digest(body), "digestAlgorithm": "SHA-256"}
        if self.response_kid:
            claims["v-c-response-mle-kid"] = self.response_kid
        claims |= {name.replace("_", "-"): value for name, value in changes.items()}
        return claims

    def token(self, claims: Mapping[str, Any], **header: Any) -> str:
        return jwt.encode(
            dict(claims),
            self.material,
            algorithm=header.pop("algorithm", self.algorithm),
            headers={"kid": self.kid, **header},
        )

    def request(
        self,
        method: str = "POST",
        target: str = "/pts/v2/payments",
        document: Any = None,
        *,
        encrypt_for: Gateway | None = None,
        drop: Iterable[str] = (),
        claims: Mapping[str, Any] | None = None,
        header: Mapping[str, Any] | None = None,
        http: Mapping[str, str] | None = None,
    ) -> SimRequest:
        """A correct request, wrong in what the arguments change."""
        if document is None and method == "POST":
            document = PAYMENT
        body = b"" if document is None else json.dumps(document).encode()
        if encrypt_for is not None:
            body = envelope(body, encrypt_for)
        claim_set = self.claims(method, target, body) | dict(claims or {})
        for name in drop:
            del claim_set[name]
        headers = {
            "host": HOST,
            "content-type": "application/json",
            "authorization": "Bearer " + self.token(claim_set, **(header or {})),
            **(http or {}),
        }
        return SimRequest(method, target, headers, body)

    def open(self, body: bytes) -> Any:
        """Decrypt an answer that must be encrypted."""
        document = json.loads(body)
        assert list(document) == ["encryptedResponse"]
        key = RSAKey.import_key(pem_private(self.response_key))
        registry = jwe.JWERegistry(
            algorithms=["RSA-OAEP-256", "A256GCM"], strict_check_header=False
        )
        opened = jwe.decrypt_compact(document["encryptedResponse"], key, registry=registry)
        return json.loads(opened.plaintext or b"")


def digest(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def envelope(body: bytes, gateway: Gateway, **header: Any) -> bytes:
    """Request MLE as joserfc makes it."""
    public = gateway.identity.certificate.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    protected = {
        "alg": "RSA-OAEP-256",
        "enc": "A256GCM",
        "kid": gateway.identity.kid,
        "iat": NOW,
        **header,
    }
    registry = jwe.JWERegistry(
        algorithms=[protected["alg"], protected["enc"], "DEF"], strict_check_header=False
    )
    token = jwe.encrypt_compact(protected, body, RSAKey.import_key(public), registry=registry)
    return json.dumps({"encryptedRequest": token}).encode()


def certificate(
    key: rsa.RSAPrivateKey, kid: str, name: str, *, not_after: datetime | None = None
) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.SERIAL_NUMBER, kid),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    end = not_after or datetime.fromtimestamp(NOW, UTC) + timedelta(days=365)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=730))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )


def pem(cert: x509.Certificate) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()


def pem_private(key: rsa.RSAPrivateKey | None) -> bytes:
    assert key is not None
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def register(registry: MemoryRegistry, caller: Caller, **options: Any) -> None:
    """Make *caller* known to *registry*."""
    if isinstance(caller.material, bytes):
        options["secret"] = caller.material
    else:
        options["certificate"] = certificate(caller.material, caller.kid, caller.org_id)
    if caller.response_key is not None:
        response = certificate(caller.response_key, caller.response_kid, caller.org_id)
        options |= {"response_kid": caller.response_kid, "response_certificate": response}
    registry.add(caller.org_id, kid=caller.kid, **options)
