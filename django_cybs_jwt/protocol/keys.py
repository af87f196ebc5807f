"""Frozen key values: what signs, what encrypts, what decrypts.

Instances are always legal, show nothing in a repr and cannot be pickled or copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import NameOID

from django_cybs_jwt.exceptions import KeyMismatch, WeakKey, WrongKeyFile
from django_cybs_jwt.texts import Text

ResponseMLE = Literal["required", "ask", "never"]

RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# RFC 7518, 3.2: the key is at least as long as the hash, in bytes.
HMAC_MINIMUM: Final[Mapping[str, int]] = {"HS256": 32, "HS384": 48, "HS512": 64}
ANOTHER_KIND: Final = Text(
    "This is a key or a certificate, not a shared secret. A shared secret is one line of Base64, "
    "about 44 characters."
)


class _Uncopied:
    """What `dataclasses.asdict` and `astuple`, which copy field by field, stumble over."""

    __slots__ = ()

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("This holds a secret and is never pickled or copied")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Secret:
    """Base of everything that holds key material: no repr, no pickle, no copy, no dictionary."""

    _uncopied: _Uncopied = field(default=_Uncopied(), init=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} redacted>"

    def __init_subclass__(cls) -> None:
        # A frozen dataclass with slots writes itself a __getstate__ unless its class has one.
        cls.__getstate__ = Secret.__getstate__  # type: ignore[method-assign]

    def __getstate__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds a secret and is never pickled or copied")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self.__getstate__()

    def __reduce__(self) -> NoReturn:
        self.__getstate__()

    def __copy__(self) -> NoReturn:
        self.__getstate__()

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__getstate__()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False, weakref_slot=True)
class SigningKey(Secret):
    """What signs a JWT: an RSA private key or a shared secret, under its owner's name.

    *owner* becomes `iss`, *kid* the JOSE header's `kid`.
    *fingerprint* is `spki_fingerprint` for RSA, a keyed hash for a shared secret.
    *common_name*, *not_after* and *state* are there to explain a refusal,
    *reference* to count uses: whatever names the key where it is stored.
    """

    owner: str
    kid: str
    algorithm: str
    material: RSAPrivateKey | bytes
    fingerprint: str = ""
    common_name: str = ""
    not_after: datetime | None = None
    state: str = ""
    reference: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.material, bytes):
            check_shared_secret(self.algorithm, self.material)
        elif self.algorithm not in RSA_ALGORITHMS:
            raise WeakKey(
                "An RSA key signs {known}, not {algorithm!r}.",
                known=", ".join(RSA_ALGORITHMS),
                algorithm=self.algorithm,
            )
        else:
            check_rsa(self.material.public_key())


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False, weakref_slot=True)
class ResponseKey(Secret):
    """A private key that opens encrypted replies sent under its *kid*."""

    owner: str
    kid: str
    private_key: RSAPrivateKey
    fingerprint: str = ""
    not_after: datetime | None = None
    reference: str = ""

    def __post_init__(self) -> None:
        check_rsa(self.private_key.public_key())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class GatewayCertificate:
    """The gateway's public certificate that request MLE encrypts for."""

    kid: str
    common_name: str
    public_key: RSAPublicKey = field(repr=False)
    not_before: datetime
    not_after: datetime

    def is_valid(self, now: datetime) -> bool:
        """True inside the certificate's validity; *now* carries a zone."""
        return self.not_before <= now < self.not_after

    @classmethod
    def from_x509(cls, certificate: x509.Certificate) -> GatewayCertificate:
        """Read a certificate, or raise WrongKeyFile or WeakKey."""
        public_key = certificate.public_key()
        if not isinstance(public_key, RSAPublicKey):
            raise WrongKeyFile("A request-MLE certificate carries an RSA key; this one does not.")
        check_rsa(public_key)
        return cls(
            kid=subject_serial_number(certificate),
            common_name=common_name(certificate),
            public_key=public_key,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class ReplyKeys(Secret):
    """What opens replies: *response_keys* holds one owner's keys that may, by kid.

    *response_mle* is the organization's own policy; None leaves it to the project's.
    """

    response_keys: Mapping[str, ResponseKey] = field(default_factory=dict)
    response_mle: ResponseMLE | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class MerchantKeys(ReplyKeys):
    """Everything one merchant's message needs.

    *merchant* becomes `v-c-merchant-id`, *host* becomes `request-host`.
    *response_kid* names the response key that is announced, if any.
    """

    merchant: str
    host: str
    signing: SigningKey
    response_kid: str | None = None
    gateway_certificate: GatewayCertificate | None = None

    def __post_init__(self) -> None:
        owner = self.signing.owner
        for kid, key in self.response_keys.items():
            if key.kid != kid:
                raise KeyMismatch(
                    "The response key {own} is listed under {kid}.", own=key.kid, kid=kid
                )
            # The gateway takes a response key of the organization that signs, no other's.
            if key.owner != owner:
                raise KeyMismatch(
                    "The response key {kid} is {holder}'s, and {owner} signs.",
                    kid=kid,
                    holder=key.owner,
                    owner=owner,
                )
        if self.response_kid is not None and self.response_kid not in self.response_keys:
            raise KeyMismatch(
                "The response key {kid} is to be announced and is not there: "
                "no reply under it would open.",
                kid=self.response_kid,
            )


def check_rsa(key: RSAPublicKey) -> None:
    """Raise WeakKey unless *key* has 2048 to 4096 bits and the exponent 65537."""
    if not 2048 <= key.key_size <= 4096:
        raise WeakKey(
            "RSA keys have 2048 to 4096 bits here; this one has {bits}.", bits=key.key_size
        )
    if key.public_numbers().e != 65537:
        raise WeakKey("The RSA exponent must be 65537.")


def check_shared_secret(algorithm: str, secret: bytes) -> None:
    """Raise WeakKey unless *secret* is long enough for *algorithm*, WrongKeyFile for a PEM file."""
    minimum = HMAC_MINIMUM.get(algorithm)
    if minimum is None:
        raise WeakKey(
            "A shared secret signs {known}, not {algorithm!r}.",
            known=", ".join(HMAC_MINIMUM),
            algorithm=algorithm,
        )
    if len(secret) < minimum:
        raise WeakKey(
            "{algorithm} needs a secret of {minimum} bytes; this one has {count}.",
            algorithm=algorithm,
            minimum=minimum,
            count=len(secret),
        )
    # A public key as the secret of an HMAC would let everybody sign.
    if b"-----BEGIN" in secret:
        raise WrongKeyFile(ANOTHER_KIND)


def spki_fingerprint(key: RSAPublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo in DER, as 64 hex digits."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def common_name(certificate: x509.Certificate) -> str:
    """The subject's CN, empty where there is none."""
    return _subject(certificate, NameOID.COMMON_NAME)


def subject_serial_number(certificate: x509.Certificate) -> str:
    """The subject's serialNumber attribute: the gateway's key id, never the X.509 serial.

    Empty where there is none, as in certificates that customers submit.
    """
    return _subject(certificate, NameOID.SERIAL_NUMBER)


def _subject(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(oid)
    return str(values[0].value) if values else ""
