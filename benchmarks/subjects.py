"""What is measured: one key, one body, and for each row ours, the bare calls and the SDK's part."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import secrets
import uuid
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from django_cybs_jwt.protocol import jwe, jws
from django_cybs_jwt.protocol.keys import (
    GatewayCertificate,
    MerchantKeys,
    ResponseKey,
    SigningKey,
)
from django_cybs_jwt.protocol.message import SealedRequest, open_response, seal_request
from django_cybs_jwt.protocol.operations import default_operations
from django_cybs_jwt.protocol.profiles import DEFAULT
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.material import GatewayMaterial, P12File, SharedSecretFile

ORG_ID: Final = "benchmark"
HOST: Final = "apitest.cybersource.com"
PATH: Final = "/pts/v2/payments"
# The payment of the gateway's own guide, with its indentation.
PAYMENT: Final[dict[str, Any]] = {
    "clientReferenceInformation": {"code": "TC50171_3"},
    "paymentInformation": {
        "card": {
            "number": "4111111111111111",
            "expirationMonth": "12",
            "expirationYear": "2031",
        }
    },
    "orderInformation": {
        "amountDetails": {"totalAmount": "102.21", "currency": "USD"},
        "billTo": {
            "firstName": "John",
            "lastName": "Doe",
            "address1": "1MarketSt",
            "locality": "sanfrancisco",
            "administrativeArea": "CA",
            "postalCode": "94105",
            "country": "US",
            "email": "test@cybs.com",
            "phoneNumber": "4158880000",
        },
    },
}
BODY: Final = json.dumps(PAYMENT, indent=2).encode()
# Replies differ, as they do in life: nothing that remembers one gains by it.
REPLIES: Final = 64

SDKPart = Literal["p12_token", "shared_secret_token", "encryption", "decryption"]
Action = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One row: *ours* takes at most *at_most* times *raw*, and the SDK *faster* times ours."""

    name: str
    ours: Action
    raw: Action
    sdk: SDKPart
    at_most: float | None = None
    faster: float | None = None


@dataclass(frozen=True, kw_only=True)
class Material:
    """The keys of both sides: the merchant's one RSA key signs and opens replies."""

    p12: P12File
    shared: SharedSecretFile
    gateway: GatewayMaterial
    replies: list[str]

    @classmethod
    def make(cls) -> Material:
        """New keys, and replies encrypted for them."""
        gateway = material.gateway_certificate()
        p12 = material.p12(ORG_ID, gateway=gateway)
        own = GatewayCertificate.from_x509(p12.certificate)
        start = int(datetime.now(UTC).timestamp())
        times = (datetime.fromtimestamp(start - second, UTC) for second in range(REPLIES))
        return cls(
            p12=p12,
            shared=material.shared_secret(),
            gateway=gateway,
            replies=[jwe.encrypt(BODY, own, now=time) for time in times],
        )


def subjects(made: Material) -> list[Subject]:
    """Every row, in the order of the report."""
    return [*_tokens(made), _encryption(made), *_decryption(made)]


def _tokens(made: Material) -> list[Subject]:
    rsa, secret = made.p12.private_key, b64decode(made.shared.secret)
    by_p12 = SigningKey(owner=ORG_ID, kid=made.p12.kid, algorithm="RS256", material=rsa)
    by_secret = SigningKey(owner=ORG_ID, kid=made.shared.key_id, algorithm="HS256", material=secret)
    claims, pkcs1, sha256 = _sealing(by_p12)().claims, padding.PKCS1v15(), hashes.SHA256()
    signed = jws.sign(claims, by_p12).rpartition(".")[0].encode()

    def signature() -> bytes:
        return rsa.sign(signed, pkcs1, sha256)

    def mac() -> bytes:
        return hmac.digest(secret, signed, hashlib.sha256)

    return [
        Subject(
            name="P12 token: checks, claims, digest, JWS",
            ours=_sealing(by_p12),
            raw=signature,
            sdk="p12_token",
            at_most=1.25,
            faster=60,
        ),
        Subject(
            name="P12 token: JWS alone",
            ours=lambda: jws.sign(claims, by_p12),
            raw=signature,
            sdk="p12_token",
        ),
        Subject(
            name="shared-secret token: checks, claims, digest, JWS",
            ours=_sealing(by_secret),
            raw=mac,
            sdk="shared_secret_token",
            faster=2.5,
        ),
        Subject(
            name="shared-secret token: JWS alone",
            ours=lambda: jws.sign(claims, by_secret),
            raw=mac,
            sdk="shared_secret_token",
        ),
    ]


def _sealing(signing: SigningKey) -> Callable[[], SealedRequest]:
    keys = MerchantKeys(merchant=ORG_ID, host=HOST, signing=signing)
    operations = default_operations()

    def seal() -> SealedRequest:
        return seal_request(
            keys,
            "POST",
            PATH,
            BODY,
            now=datetime.now(UTC),
            jti=str(uuid.uuid4()),
            operations=operations,
            profile=DEFAULT,
            mle=False,
        )

    return seal


def _encryption(made: Material) -> Subject:
    certificate = GatewayCertificate.from_x509(made.gateway.certificate)
    public, oaep, header = certificate.public_key, _oaep(), made.replies[0].partition(".")[0]

    def raw() -> tuple[bytes, bytes]:
        key = secrets.token_bytes(32)
        wrapped = public.encrypt(key, oaep)
        return wrapped, AESGCM(key).encrypt(secrets.token_bytes(12), BODY, header.encode())

    return Subject(
        name="request encryption",
        ours=lambda: jwe.encrypt(BODY, certificate, now=datetime.now(UTC)),
        raw=raw,
        sdk="encryption",
        faster=2,
    )


def _decryption(made: Material) -> list[Subject]:
    rsa, kid, oaep = made.p12.private_key, made.p12.kid, _oaep()
    own = {kid: ResponseKey(owner=ORG_ID, kid=kid, private_key=rsa)}
    signing = SigningKey(owner=ORG_ID, kid=kid, algorithm="RS256", material=rsa)
    keys = MerchantKeys(
        merchant=ORG_ID, host=HOST, signing=signing, response_keys=own, response_kid=kid
    )
    tokens = itertools.cycle(made.replies)
    replies = itertools.cycle(
        [b'{"encryptedResponse":"' + token.encode() + b'"}' for token in made.replies]
    )
    wrapped = itertools.cycle(
        [urlsafe_b64decode(token.split(".")[1] + "==") for token in made.replies]
    )
    assert jwe.decrypt(next(tokens), own) == (BODY, kid)
    return [
        Subject(
            name="response decryption",
            ours=lambda: jwe.decrypt(next(tokens), own),
            raw=lambda: rsa.decrypt(next(wrapped), oaep),
            sdk="decryption",
            at_most=1.15,
            faster=60,
        ),
        Subject(
            name="response decryption: with envelope and JSON check",
            ours=lambda: open_response(keys, next(replies), status=201),
            raw=lambda: rsa.decrypt(next(wrapped), oaep),
            sdk="decryption",
        ),
    ]


def _oaep() -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
