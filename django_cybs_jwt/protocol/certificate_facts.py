"""What the certificates of a key file say, read as the hostile text that it may be."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Sized
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import NameOID, PublicKeyAlgorithmOID

from django_cybs_jwt.exceptions import ExpiredKey, UnreadableKeyFile, WeakKey, WrongKeyFile
from django_cybs_jwt.protocol import keys
from django_cybs_jwt.texts import Text

Role = Literal["own", "request-MLE", "issuer", "other"]

GATEWAY_ALIASES: Final = ("CyberSource_SJC_US",)
LONGEST_LIFE: Final = timedelta(days=5 * 366)
LONGEST_TEXT: Final = 256
_ATTRIBUTE_NAMES: Final = {NameOID.SERIAL_NUMBER: "serialNumber"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """One certificate of a file, safe to show: texts are cleaned, nothing in it is secret.

    *key_size* is in bits, None for a key that is not RSA.
    *fingerprint* is SHA-256 of the SubjectPublicKeyInfo, as `keys.spki_fingerprint` has it.
    """

    role: Role
    kid: str
    common_name: str
    issuer: str
    not_before: datetime
    not_after: datetime
    key_size: int | None
    fingerprint: str

    @classmethod
    def from_x509(cls, certificate: x509.Certificate, role: Role) -> CertificateFacts:
        """Read what a preview shows of *certificate*."""
        key = certificate.public_key()
        spki = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return cls(
            role=role,
            kid=clean_text(keys.subject_serial_number(certificate)),
            common_name=clean_text(keys.common_name(certificate)),
            issuer=clean_text(certificate.issuer.rfc4514_string(_ATTRIBUTE_NAMES)),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            key_size=key.key_size if isinstance(key, RSAPublicKey) else None,
            fingerprint=hashlib.sha256(spki).hexdigest(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCertificate:
    """The certificate that belongs to a private key, and what is odd about it."""

    certificate: x509.Certificate
    notices: tuple[str, ...]


def clean_text(text: str) -> str:
    """*text* with at most 256 characters, each control or direction character as U+FFFD.

    Replaced, not removed: a name with hidden characters never becomes equal to a clean one.
    """
    cut = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."
    return "".join(
        c if c == " " or unicodedata.category(c)[0] not in "CZ" else "\ufffd" for c in cut
    )


def read_certificate(der: bytes) -> x509.Certificate:
    """A certificate whose name, dates and key can be read; else UnreadableKeyFile."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        CertificateFacts.from_x509(certificate, "other")
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise UnreadableKeyFile("The certificate is damaged. Download it again.") from None
    return certificate


def read_certificates(ders: Iterable[bytes]) -> tuple[list[x509.Certificate], tuple[str, ...]]:
    """Those that can be read, and a notice when others were left out.

    A file's root may carry a key that nobody supports; that is no reason to refuse the leaf.
    """
    readable, left_out = [], 0
    for der in ders:
        try:
            readable.append(read_certificate(der))
        except UnreadableKeyFile:
            left_out += 1
    notice = Text("Certificates left out as unreadable: {left_out}.", left_out=left_out)
    return readable, (notice,) if left_out else ()


def find_own(
    certificates: Iterable[x509.Certificate],
    key: RSAPrivateKey,
    now: datetime,
    *,
    common_name: str = "",
) -> OwnCertificate | None:
    """The certificate of *key*; None where there is none.

    Of several those whose CN is *common_name*, in any case; of these the newest valid one.

    Raises ExpiredKey when it has ended, WeakKey or WrongKeyFile when it cannot be used.
    """
    matching = [c for c in certificates if is_for(c, key)]
    if not matching:
        return None
    own = max(matching, key=lambda c: (_is_named(c, common_name), *_preference(c, now)))
    _check_own(own, now)
    notices = []
    if len(matching) > 1:
        notices.append(_one_of(matching, clean_text(common_name) * _is_named(own, common_name)))
    if now < own.not_valid_before_utc:
        notices.append(
            Text(
                "Its certificate begins at {begin:%Y-%m-%d %H:%M UTC}; the key cannot sign before.",
                begin=own.not_valid_before_utc,
            )
        )
    return OwnCertificate(certificate=own, notices=tuple(notices))


def _one_of(matching: Sized, name: str) -> Text:
    if not name:
        return Text(
            "{count} certificates belong to this key; the newest valid one is used.",
            count=len(matching),
        )
    return Text(
        "{count} certificates belong to this key; the newest valid one for {name} is used.",
        count=len(matching),
        name=name,
    )


def is_for(certificate: x509.Certificate, key: RSAPrivateKey) -> bool:
    """True when *certificate* carries the public half of *key*."""
    return certificate.public_key() == key.public_key()


def is_gateway(certificate: x509.Certificate, aliases: Collection[str]) -> bool:
    """True when the CN is one of *aliases*, in any case."""
    return keys.common_name(certificate).casefold() in {alias.casefold() for alias in aliases}


def _is_named(certificate: x509.Certificate, common_name: str) -> bool:
    return bool(common_name) and (
        keys.common_name(certificate).casefold() == common_name.casefold()
    )


def _preference(certificate: x509.Certificate, now: datetime) -> tuple[bool, bool, datetime]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin <= now < end, now < end, begin


def _check_own(certificate: x509.Certificate, now: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if certificate.public_key_algorithm_oid != PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5:
        raise WeakKey("The key is restricted to RSA-PSS. Generate a plain RSA key.")
    if now >= end:
        raise ExpiredKey(
            "The certificate ended at {ends:%Y-%m-%d %H:%M UTC}. "
            "Generate a new key in the Business Center.",
            ends=end,
            not_after=end,
        )
    if end - begin > LONGEST_LIFE:
        raise WrongKeyFile(
            "The certificate is valid for {years} years; the gateway issues "
            "them for three at most, and more than five is refused. Use a shorter one.",
            years=(end - begin).days // 365,
        )
