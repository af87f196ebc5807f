"""Key material for tests, made in memory: P12 files, certificates and shared secrets.

Everything has the gateway's own shape and opens nothing of value. Making an RSA key takes
about 0.1 s, so name it (`rsa_key(name="acme")`) to share it, or pass one in.
"""

from __future__ import annotations

import base64
import functools
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID

from django_cybs_jwt.protocol.keys import Secret
from django_cybs_jwt.testing.p12_encoding import gateway_p12

Order = Literal["own-first", "gateway-first", "issuer-first"]

GATEWAY_NAME = "CyberSource_SJC_US"
ISSUER_NAME = "CyberSourceCertAuth"
PASSWORD = "Correct-Horse-1"
LIFE = timedelta(days=1095)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class GatewayMaterial(Secret):
    """The gateway's request-MLE certificate, in PEM too, and the key that decrypts for it."""

    certificate: x509.Certificate
    private_key: RSAPrivateKey
    kid: str
    pem: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class P12File(Secret):
    """A P12 file with its password, and what is inside."""

    data: bytes
    password: str
    kid: str
    org_id: str
    private_key: RSAPrivateKey
    certificate: x509.Certificate
    gateway: GatewayMaterial | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class SharedSecretFile(Secret):
    """A shared secret key pair; *secret* is the Base64 text that is pasted."""

    key_id: str
    secret: str


def rsa_key(bits: int = 2048, *, name: str | None = None) -> RSAPrivateKey:
    """An RSA key: a new one, or for a *name* the same one each time in this process."""
    return _generate(bits) if name is None else _named_key(bits, name)


def new_kid() -> str:
    """A key id as the gateway gives them: 22 decimal digits."""
    return str(10**21 + secrets.randbelow(9 * 10**21))


def certificate(
    private_key: RSAPrivateKey,
    *,
    common_name: str,
    kid: str | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> x509.Certificate:
    """A certificate for *private_key* under the test issuer; without *kid* no serialNumber.

    Valid from yesterday, for three years, unless told otherwise; times carry a zone.
    """
    begin = not_before or datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(common_name, kid))
        .issuer_name(_subject(ISSUER_NAME))
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(not_after or begin + LIFE)
        .sign(_named_key(2048, ISSUER_NAME), hashes.SHA256())
    )


def issuer_certificate() -> x509.Certificate:
    """The self-signed certificate of the test issuer."""
    return certificate(_named_key(2048, ISSUER_NAME), common_name=ISSUER_NAME)


def gateway_certificate(
    *,
    common_name: str = GATEWAY_NAME,
    kid: str | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    private_key: RSAPrivateKey | None = None,
) -> GatewayMaterial:
    """A request-MLE certificate as the gateway puts it into P12 files.

    Without *private_key* all share one key, as calls are many and keys are slow to make.
    """
    key = private_key or _named_key(2048, GATEWAY_NAME)
    kid = kid or new_kid()
    made = certificate(
        key, common_name=common_name, kid=kid, not_before=not_before, not_after=not_after
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode("ascii")
    return GatewayMaterial(certificate=made, private_key=key, kid=kid, pem=pem)


def p12(
    org_id: str,
    *,
    kid: str | None = None,
    password: str = PASSWORD,
    gateway: GatewayMaterial | Literal["default"] | None = "default",
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    private_key: RSAPrivateKey | None = None,
    order: Order = "own-first",
    common_name: str | None = None,
) -> P12File:
    """A P12 file for *org_id* in the gateway's own shape: its certificate, MLE, issuer, key.

    *gateway* None leaves the request-MLE certificate out; *order* says which comes first.
    The key is new unless *private_key* is given.
    """
    key, kid = private_key or rsa_key(), kid or new_kid()
    own = certificate(
        key,
        common_name=org_id if common_name is None else common_name,
        kid=kid,
        not_before=not_before,
        not_after=not_after,
    )
    mle = gateway_certificate() if gateway == "default" else gateway
    inside = {"own-first": own, "issuer-first": issuer_certificate()}
    if mle is not None:
        inside["gateway-first"] = mle.certificate
    ordered = sorted(inside, key=lambda place: place != order)
    return P12File(
        data=gateway_p12(key, [inside[place] for place in ordered], password),
        password=password,
        kid=kid,
        org_id=org_id,
        private_key=key,
        certificate=own,
        gateway=mle,
    )


def shared_secret() -> SharedSecretFile:
    """A new shared secret key pair: a UUID and 32 random bytes in Base64."""
    return SharedSecretFile(
        key_id=str(uuid.uuid4()), secret=base64.b64encode(secrets.token_bytes(32)).decode("ascii")
    )


def _generate(bits: int) -> RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def _named_key(bits: int, name: str) -> RSAPrivateKey:
    return _generate(bits)


def _subject(common_name: str, kid: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if kid is not None:
        attributes.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, kid))
    return x509.Name(attributes)
