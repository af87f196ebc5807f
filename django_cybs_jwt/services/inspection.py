"""Look into a key file or a pasted secret before anything is stored."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ExpiredKey, WrongKeyFile
from django_cybs_jwt.models import Credential, Purpose
from django_cybs_jwt.protocol import p12, pem, shared_secrets
from django_cybs_jwt.protocol.certificate_facts import CertificateFacts, clean_text
from django_cybs_jwt.protocol.jwe import ALGORITHM as RESPONSE_ALGORITHM
from django_cybs_jwt.protocol.keys import (
    RSA_ALGORITHMS,
    Secret,
    check_shared_secret,
    common_name,
    spki_fingerprint,
    subject_serial_number,
)
from django_cybs_jwt.texts import Text
from django_cybs_jwt.tracebacks import forgetful

# Kept with the key and said again by its page, which finds the words of a whole sentence only.
_SECRET: Final = Text("No end is stored: a shared secret carries none.")
_BARE_KEY: Final = Text("No end is stored: a key without certificate carries none.")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Inspection(Secret):
    """One key as it came in: *secret* is PKCS#8 DER or the decoded shared secret.

    *certificates* and *notices* are safe to show, the rest is what a row stores; *bits* is the
    length of the key.
    """

    kind: str
    purpose: str
    key_id: str
    algorithm: str
    secret: bytes
    fingerprint: str
    bits: int | None = None
    original: bytes = b""
    password: bytes = b""
    certificate: x509.Certificate | None = None
    common_name: str = ""
    issued_by_gateway: bool = False
    expires_at: datetime | None = None
    gateway_certificates: tuple[x509.Certificate, ...] = ()
    certificates: Sequence[CertificateFacts] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the operator says the file is.

    *owner* is the id of the organization that it is for: of several certificates of one key, its
    own is taken.
    """

    purpose: str
    owner: str = ""
    key_id: str = ""
    algorithm: str = ""
    expires_at: datetime | None = None
    notices: tuple[str, ...] = field(default=())


@forgetful
def inspect_file(
    data: bytes, password: bytes | None, wanted: Wanted, *, now: datetime
) -> Inspection:
    """Read a P12 or PEM file, or raise KeyMaterialError with the cure."""
    if b"-----BEGIN " in data:
        return _inspect_pem(data, password, wanted, now=now)
    return _inspect_p12(data, password or b"", wanted, now=now)


@forgetful
def inspect_shared_secret(text: str, wanted: Wanted, *, now: datetime) -> Inspection:
    """Read a pasted shared secret; it signs requests and nothing else."""
    if wanted.purpose != Purpose.SIGNING:
        raise WrongKeyFile(
            "A shared secret signs requests; a Response MLE key is a P12 or PEM file."
        )
    algorithm = wanted.algorithm or "HS256"
    check_shared_secret(algorithm, b"\0" * 64)
    secret = shared_secrets.parse_shared_secret(text, algorithm=algorithm)
    return Inspection(
        kind=Credential.Kind.SHARED_SECRET,
        purpose=wanted.purpose,
        key_id=shared_secrets.parse_key_id(wanted.key_id),
        algorithm=algorithm,
        secret=secret,
        fingerprint=secret_fingerprint(secret),
        bits=len(secret) * 8,
        expires_at=_end(None, wanted, now),
        notices=(*_trimmed(text), *_without_end(wanted, _SECRET)),
    )


def _trimmed(text: str) -> list[str]:
    # What stays behind of a line or a selection is no part of Base64, and was not typed.
    return (
        [Text("White space around the shared secret was dropped.")] if text != text.strip() else []
    )


def secret_fingerprint(secret: bytes) -> str:
    """A keyed hash, 64 hex digits: a bare hash of a secret could be searched."""
    key = conf.keyring().index_key("secret-fingerprint")
    return hmac.new(key, secret, hashlib.sha256).hexdigest()


def _inspect_p12(data: bytes, password: bytes, wanted: Wanted, *, now: datetime) -> Inspection:
    settings = conf.current()
    bundle = p12.load_p12(
        data,
        password,
        now=now,
        common_name=wanted.owner,
        gateway_aliases=settings.GATEWAY_CERTIFICATE_NAMES,
        interpreter=settings.P12_INTERPRETER,
    )
    look_alike = Text(
        "A signing P12 and a Response MLE P12 look alike inside; "
        "only a verification with the gateway tells them apart."
    )
    return _from_certificate(
        bundle.private_key,
        bundle.certificate,
        wanted,
        now=now,
        kind=Credential.Kind.P12,
        original=data,
        password=password,
        gateway_certificates=bundle.gateway_certificates,
        certificates=bundle.describe(),
        notices=(*bundle.notices, *_ended(bundle.gateway_certificates, now), look_alike),
    )


def _without_end(wanted: Wanted, notice: Text) -> tuple[str, ...]:
    return () if wanted.expires_at else (notice,)


def _ended(certificates: Sequence[x509.Certificate], now: datetime) -> list[str]:
    return [
        Text(
            "The request-MLE certificate inside ended on {ends:%Y-%m-%d}: "
            "nothing is encrypted with it. Get the host's current one.",
            ends=certificate.not_valid_after_utc,
        )
        for certificate in certificates
        if certificate.not_valid_after_utc <= now
    ]


def _inspect_pem(
    data: bytes, password: bytes | None, wanted: Wanted, *, now: datetime
) -> Inspection:
    bundle = pem.load_bundle(
        data,
        password,
        now=now,
        common_name=wanted.owner,
        interpreter=conf.current().P12_INTERPRETER,
    )
    return _from_certificate(
        bundle.private_key,
        bundle.certificate,
        wanted,
        now=now,
        kind=Credential.Kind.PRIVATE_KEY,
        original=b"",
        password=b"",
        gateway_certificates=(),
        certificates=bundle.describe(),
        notices=(
            *bundle.notices,
            *(() if bundle.certificate else _without_end(wanted, _BARE_KEY)),
        ),
    )


def _from_certificate(
    private_key: RSAPrivateKey,
    certificate: x509.Certificate | None,
    wanted: Wanted,
    *,
    now: datetime,
    kind: str,
    original: bytes,
    password: bytes,
    gateway_certificates: tuple[x509.Certificate, ...],
    certificates: Sequence[CertificateFacts],
    notices: tuple[str, ...],
) -> Inspection:
    return Inspection(
        kind=kind,
        purpose=wanted.purpose,
        key_id=_key_id(certificate, wanted),
        algorithm=_algorithm(wanted),
        secret=_pkcs8(private_key),
        fingerprint=spki_fingerprint(private_key.public_key()),
        bits=private_key.key_size,
        original=original,
        password=password,
        certificate=certificate,
        common_name=clean_text(common_name(certificate)) if certificate else "",
        issued_by_gateway=certificate is not None and _is_gateway_issued(certificate),
        expires_at=_end(certificate, wanted, now),
        gateway_certificates=gateway_certificates,
        certificates=certificates,
        notices=notices,
    )


def _key_id(certificate: x509.Certificate | None, wanted: Wanted) -> str:
    inside = subject_serial_number(certificate) if certificate else ""
    if inside and wanted.key_id and wanted.key_id != inside:
        raise WrongKeyFile(
            "The file's key ID is {inside}, not {wanted}.",
            inside=inside,
            wanted=wanted.key_id[:128],
        )
    if not inside and not wanted.key_id:
        raise WrongKeyFile(
            "The file names no key ID. Take it from the Business Center's Key Management page "
            "and give it too (--key-id).",
            page="The file names no key ID. Take it from the Business Center's Key Management page "
            "and write it into the field of that name.",
        )
    return shared_secrets.parse_key_id(inside or wanted.key_id)


def _algorithm(wanted: Wanted) -> str:
    if wanted.purpose == Purpose.RESPONSE_MLE:
        if wanted.algorithm not in ("", RESPONSE_ALGORITHM):
            raise WrongKeyFile(
                "A Response MLE key opens {algorithm}, nothing else.", algorithm=RESPONSE_ALGORITHM
            )
        return RESPONSE_ALGORITHM
    algorithm = wanted.algorithm or "RS256"
    if algorithm not in RSA_ALGORITHMS:
        raise WrongKeyFile(
            "An RSA key signs {known}, not {algorithm!r}.",
            known=", ".join(RSA_ALGORITHMS),
            algorithm=algorithm[:20],
        )
    return algorithm


def _end(certificate: x509.Certificate | None, wanted: Wanted, now: datetime) -> datetime | None:
    ends = [certificate.not_valid_after_utc] if certificate else []
    if wanted.expires_at is not None:
        ends.append(wanted.expires_at)
    end = min(ends, default=None)
    if end is not None and end <= now:
        raise ExpiredKey(
            "The key ended on {end:%Y-%m-%d}. Generate a new one in the Business Center.", end=end
        )
    return end


def _is_gateway_issued(certificate: x509.Certificate) -> bool:
    """Only the gateway writes its key id into the subject; customers' own certificates lack it."""
    return bool(subject_serial_number(certificate))


def _pkcs8(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
