"""Open sealed keys into memory once: bounded, short-lived, single flight, never across a fork."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import KeyMismatch, SecretIntegrityError
from django_cybs_jwt.models import Credential
from django_cybs_jwt.protocol.keys import spki_fingerprint, subject_serial_number
from django_cybs_jwt.sealing import open_blob
from django_cybs_jwt.services import key_payload
from django_cybs_jwt.services.inspection import secret_fingerprint
from django_cybs_jwt.services.key_payload import KeyPayload
from django_cybs_jwt.services.keys import sealing_context
from django_cybs_jwt.tracebacks import forgetful

MOST: Final = 2048
LIFETIME: Final = 300.0  # seconds

Material = RSAPrivateKey | bytes
Key = tuple[object, tuple[object, ...], bytes]


@dataclass(slots=True)
class _Entry:
    lock: threading.Lock
    material: Material | None = field(default=None, repr=False)
    until: float = 0.0


_entries: OrderedDict[Key, _Entry] = OrderedDict()
_guard = threading.Lock()


@forgetful
def material(credential: Credential) -> Material:
    """The RSA key or shared secret of *credential*, held against what the row says of it.

    Raises SealingError when it does not open, KeyMismatch when it is another key, or one of
    another key ID or algorithm.
    """
    entry = _entry(_key(credential))
    with entry.lock:
        if entry.material is None or time.monotonic() >= entry.until:
            entry.material = open_anew(credential)
            entry.until = time.monotonic() + LIFETIME
        return entry.material


@forgetful
def open_anew(credential: Credential) -> Material:
    """Like `material`, past the cache: for whoever looks at every key once."""
    payload = key_payload.unpack(
        open_blob(
            credential.sealed_secret,
            context=sealing_context(credential, "sealed_secret"),
            ring=conf.keyring(),
        )
    )
    if credential.kind == Credential.Kind.SHARED_SECRET:
        opened: Material = payload.secret
        fingerprint = secret_fingerprint(payload.secret)
    else:
        opened = _load(payload.secret)
        fingerprint = spki_fingerprint(opened.public_key())
    if fingerprint != credential.fingerprint or not _fits(credential, payload):
        raise KeyMismatch(credential=str(credential.pk))
    return opened


def _fits(credential: Credential, payload: KeyPayload) -> bool:
    """True for a row whose key ID and algorithm are those that the key was imported with."""
    if payload.key_id is not None:
        return (payload.key_id, payload.algorithm) == (credential.key_id, credential.algorithm)
    # Sealed before keys named themselves; a gateway's certificate does.
    return _named_in(credential.certificate) in ("", credential.key_id)


def _named_in(certificate: str) -> str | None:
    """The key ID of a certificate in PEM: empty where there is none, None where none is read."""
    if not certificate:
        return ""
    try:
        return subject_serial_number(x509.load_pem_x509_certificate(certificate.encode()))
    except ValueError:
        return None


def forget() -> None:
    """Drop every opened key."""
    with _guard:
        _entries.clear()


def _key(credential: Credential) -> Key:
    blob = credential.sealed_secret
    # Whoever writes to the database can put anything there; open_blob says what is wrong with it.
    binary = blob if isinstance(blob, bytes | bytearray | memoryview) else b""
    # All that `open_anew` holds it against: another owner in the row is another key.
    facts = (
        credential.organization_id,
        credential.organization.live,
        credential.kind,
        credential.fingerprint,
        credential.key_id,
        credential.algorithm,
        credential.lock_version,
    )
    return credential.pk, facts, hashlib.sha256(binary).digest()


def _entry(key: Key) -> _Entry:
    with _guard:
        entry = _entries.get(key)
        if entry is None:
            entry = _entries[key] = _Entry(threading.Lock())
        _entries.move_to_end(key)
        while len(_entries) > MOST:
            _entries.popitem(last=False)
    return entry


def _load(pkcs8: bytes) -> RSAPrivateKey:
    # Validated once, at import; the seal proves that it is still the same key. 40 ms against 4 us.
    try:
        key = load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise SecretIntegrityError(part="key")
    return key


def _after_fork() -> None:
    global _guard  # noqa: PLW0603  # a lock held by another thread at fork stays locked for ever
    _guard = threading.Lock()
    _entries.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
