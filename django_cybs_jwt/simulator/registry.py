"""Who may call: organizations, their keys and what these keys cover.

The gateway asks at every request, so that a key imported or retired a moment ago counts at once.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID

DEFAULT_HOST = "apitest.cybersource.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredKey:
    """What the gateway knows of a signing key: a public key, or a shared secret."""

    owner: str
    kid: str
    algorithm_family: Literal["RSA", "HMAC"]
    public_key: RSAPublicKey | None = field(default=None, repr=False)
    secret: bytes | None = field(default=None, repr=False)
    not_after: datetime | None = None

    def __post_init__(self) -> None:
        if self.algorithm_family == "RSA":
            legal = self.public_key is not None and self.secret is None
        else:
            legal = bool(self.secret) and self.public_key is None
        if not legal:
            raise ValueError("An RSA key carries a public key, an HMAC key a shared secret.")

    @property
    def material(self) -> RSAPublicKey | bytes:
        """What verifies a signature."""
        return self.public_key if self.public_key is not None else self.secret or b""


class Registry(Protocol):
    """What the gateway must be told about organizations.

    A key is good on the host where it was registered and nowhere else: an organization's test key
    says nothing on the live host. *host* is the one that the token claims, in lower case; empty
    where it claims none, which only a lenient gateway lets pass.
    """

    def signing_key(self, issuer: str, kid: str, host: str) -> RegisteredKey | None:
        """The key that *issuer* registered as *kid*, if it may sign now."""
        ...

    def response_key(self, owner: str, kid: str, host: str) -> RSAPublicKey | None:
        """The REST-API Response MLE key that *owner* registered as *kid*."""
        ...

    def covers(self, issuer: str, kid: str, merchant: str, host: str) -> bool:
        """True if this key may speak for *merchant*: its own, or under a meta key."""
        ...

    def hosts(self, merchant: str) -> frozenset[str]:
        """The gateway hosts on which *merchant* exists; empty for an unknown one."""
        ...


Registered = TypeVar("Registered")


class _Places(Generic[Registered]):
    """What was registered by owner and kid, on each host apart."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[str, Registered]] = {}

    def put(self, owner: str, kid: str, host: str, registered: Registered) -> None:
        self._found.setdefault((owner, kid), {})[host] = registered

    def get(self, owner: str, kid: str, host: str) -> Registered | None:
        places = self._found.get((owner, kid), {})
        return places.get(host) if host else next(iter(places.values()), None)


class MemoryRegistry:
    """Organizations in memory."""

    def __init__(self) -> None:
        self._signing: _Places[RegisteredKey] = _Places()
        self._response: _Places[RSAPublicKey] = _Places()
        self._covers: _Places[frozenset[str]] = _Places()
        self._hosts: dict[str, frozenset[str]] = {}
        self._lock = threading.Lock()

    def add(
        self,
        org_id: str,
        *,
        kid: str = "",
        host: str = DEFAULT_HOST,
        certificate: x509.Certificate | str | bytes | None = None,
        secret: str | bytes | None = None,
        response_kid: str | None = None,
        response_certificate: x509.Certificate | str | bytes | None = None,
        covers: Iterable[str] = (),
    ) -> tuple[str, str]:
        """Register a signing key, and a response key if its certificate is given.

        Certificates may be PEM, a secret may be Base64 text. A kid left out is read from the
        subject's serialNumber. Merchants in *covers* exist on the same host from then on.
        Returns both kids, the second empty where there is no response key.
        Raises ValueError when something is missing or cannot be read.
        """
        key = _signing_key(org_id, kid, certificate, secret)
        response = _response_key(response_kid, response_certificate)
        merchants, host = frozenset(covers), host.lower()
        with self._lock:
            self._signing.put(org_id, key.kid, host, key)
            self._covers.put(org_id, key.kid, host, merchants)
            if response:
                self._response.put(org_id, response[0], host, response[1])
            for merchant in merchants | {org_id}:
                self._hosts[merchant] = self.hosts(merchant) | {host}
        return key.kid, response[0] if response else ""

    def signing_key(self, issuer: str, kid: str, host: str) -> RegisteredKey | None:
        return self._signing.get(issuer, kid, host)

    def response_key(self, owner: str, kid: str, host: str) -> RSAPublicKey | None:
        return self._response.get(owner, kid, host)

    def covers(self, issuer: str, kid: str, merchant: str, host: str) -> bool:
        return issuer == merchant or merchant in (self._covers.get(issuer, kid, host) or ())

    def hosts(self, merchant: str) -> frozenset[str]:
        return self._hosts.get(merchant, frozenset())


class ChainedRegistry:
    """Two registries as one; the first has precedence."""

    def __init__(self, first: Registry, second: Registry) -> None:
        self._first = first
        self._second = second

    def signing_key(self, issuer: str, kid: str, host: str) -> RegisteredKey | None:
        first, second = self._first, self._second
        return first.signing_key(issuer, kid, host) or second.signing_key(issuer, kid, host)

    def response_key(self, owner: str, kid: str, host: str) -> RSAPublicKey | None:
        first, second = self._first, self._second
        return first.response_key(owner, kid, host) or second.response_key(owner, kid, host)

    def covers(self, issuer: str, kid: str, merchant: str, host: str) -> bool:
        return any(r.covers(issuer, kid, merchant, host) for r in (self._first, self._second))

    def hosts(self, merchant: str) -> frozenset[str]:
        return self._first.hosts(merchant) | self._second.hosts(merchant)


def _signing_key(
    org_id: str,
    kid: str,
    certificate: x509.Certificate | str | bytes | None,
    secret: str | bytes | None,
) -> RegisteredKey:
    if not org_id or (certificate is None) == (secret is None):
        raise ValueError("Give org_id and one of certificate and shared secret.")
    if secret is not None:
        if not kid:
            raise ValueError("Give the kid of the shared secret.")
        return RegisteredKey(
            owner=org_id, kid=kid, algorithm_family="HMAC", secret=_secret_bytes(secret)
        )
    loaded = _load(certificate)
    return RegisteredKey(
        owner=org_id,
        kid=kid or _subject_kid(loaded),
        algorithm_family="RSA",
        public_key=_rsa(loaded),
        not_after=loaded.not_valid_after_utc,
    )


def _response_key(
    kid: str | None, certificate: x509.Certificate | str | bytes | None
) -> tuple[str, RSAPublicKey] | None:
    if certificate is None:
        if kid:
            raise ValueError("A response kid needs its response certificate.")
        return None
    loaded = _load(certificate)
    return kid or _subject_kid(loaded), _rsa(loaded)


def _load(certificate: x509.Certificate | str | bytes | None) -> x509.Certificate:
    if isinstance(certificate, x509.Certificate):
        return certificate
    data = certificate.encode() if isinstance(certificate, str) else certificate or b""
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError:
        raise ValueError("A certificate is one PEM block, BEGIN CERTIFICATE.") from None


def _rsa(certificate: x509.Certificate) -> RSAPublicKey:
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        # One error class for everything that cannot be registered.
        raise ValueError("The certificate carries no RSA key.")
    return key


def _subject_kid(certificate: x509.Certificate) -> str:
    values = certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    if not values:
        raise ValueError("Give the kid: the certificate's subject has no serialNumber.")
    return str(values[0].value)


def _secret_bytes(secret: str | bytes) -> bytes:
    if isinstance(secret, bytes):
        return secret
    try:
        return base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("A shared secret is Base64 text.") from None
