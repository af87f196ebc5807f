"""Seal one secret into a blob that opens only for its own row.

A blob, version 1, lengths in bytes:

    "CJE1" 4 | suite 1 | length of kek_id 1 | kek_id | salt 32 | commitment 32
    | wrap nonce 12 | wrapped data key 48 | nonce 12 | ciphertext and tag

Each blob has a data key of its own. HKDF with the salt turns it into the encryption key and the
commitment; the key-encryption key (KEK) that the blob names wraps it. The context is part of what
both tags authenticate and is never stored: whoever opens the blob states where it was found.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from django_cybs_jwt.exceptions import SealingError, SecretIntegrityError
from django_cybs_jwt.sealing.keyring import KeyRing, is_kek_id

MAGIC: Final = b"CJE1"
# Whoever can write a row, or queue a payload, could otherwise fill a column with gigabytes that
# every worker then copies and decrypts at once.
MAX_PLAINTEXT: Final = 1 << 20
_NONCE: Final = 12
_TAG: Final = 16
_KEY: Final = 32
_FIXED: Final = struct.Struct("32s 32s 12s 48s")
_MAX_BLOB: Final = len(MAGIC) + 2 + 64 + _FIXED.size + _NONCE + MAX_PLAINTEXT + _TAG


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a secret lives: live or test, kind of row, owner, row and field.

    All of it is taken from the row, never from the blob, and none of it may change while the
    secret is stored.
    """

    live: bool
    kind: str
    owner: UUID
    row: UUID
    field: str

    def __post_init__(self) -> None:
        # An unsaved row's None would be one and the same context for all unsaved rows.
        if not all(isinstance(identity, UUID) for identity in (self.owner, self.row)):
            raise SealingError("A sealing context names its owner and its row by UUID.")
        if not isinstance(self.live, bool):
            raise SealingError("A sealing context says live=True or live=False.")
        names: tuple[object, ...] = (self.kind, self.field)
        if not all(isinstance(name, str) for name in names):
            raise SealingError("A sealing context names the kind of its row and its field in text.")

    def encode(self) -> bytes:
        """Sorted UTF-8 names and values, each after its length as u16: no two contexts alike."""
        pairs = {
            "app": "cybs_jwt",
            "env": "live" if self.live else "test",
            "field": self.field,
            "kind": self.kind,
            "owner": str(self.owner),
            "row": str(self.row),
            "schema": "1",
        }
        return b"".join(_prefixed(text) for pair in sorted(pairs.items()) for text in pair)


@dataclass(frozen=True, slots=True)
class Suite:
    """The algorithms that one suite byte stands for; every suite has the same layout."""

    number: int
    aead: type[AESGCM]
    digest: HashAlgorithm

    def wrapper(self, kek: bytes, salt: bytes) -> AESGCM:
        """What wraps the data key of the blob with this *salt*."""
        return self.aead(self._derive(kek, salt, b"WRAP"))

    def split(self, data_key: bytes, salt: bytes) -> tuple[AESGCM, bytes]:
        """What encrypts the payload, and the commitment to *data_key*."""
        suite = bytes([self.number])
        encryption_key = self._derive(data_key, salt, suite + b"DERIVEKEY")
        return self.aead(encryption_key), self._derive(data_key, salt, suite + b"COMMITKEY")

    def _derive(self, key: bytes, salt: bytes, info: bytes) -> bytes:
        return HKDF(self.digest, _KEY, salt, info).derive(key)


SUITES: Final[Mapping[int, Suite]] = {1: Suite(1, AESGCM, SHA512())}
CURRENT: Final = 1
"""The suite of new blobs; the others are read for as long as they are listed."""


class _Blob(NamedTuple):
    suite: Suite
    salt: bytes
    commitment: bytes
    payload: bytes
    kek_id: str = ""
    wrap_nonce: bytes = b""
    wrapped_key: bytes = b""

    @property
    def header(self) -> bytes:
        kek_id = self.kek_id.encode()
        start = MAGIC + bytes([self.suite.number, len(kek_id)])
        return start + kek_id + self.salt + self.commitment

    def __bytes__(self) -> bytes:
        return self.header + self.wrap_nonce + self.wrapped_key + self.payload


def seal(plaintext: bytes, *, context: Context, ring: KeyRing) -> bytes:
    """Seal 1 byte to MAX_PLAINTEXT bytes for *context* under the ring's primary key."""
    # An empty value would be a legal way to blank a secret.
    if not plaintext:
        raise SealingError("There is nothing to seal: the secret is empty.")
    if not isinstance(plaintext, bytes | bytearray | memoryview):
        raise SealingError("Bytes are sealed, not {type}.", type=type(plaintext).__name__)
    if len(plaintext) > MAX_PLAINTEXT:
        raise SealingError("At most {most} bytes are sealed; make it smaller.", most=MAX_PLAINTEXT)
    suite, bound = SUITES[CURRENT], context.encode()
    data_key, salt, nonce = os.urandom(_KEY), os.urandom(32), os.urandom(_NONCE)
    cipher, commitment = suite.split(data_key, salt)
    aad = _payload_aad(suite, salt, commitment, bound)
    payload = nonce + cipher.encrypt(nonce, plaintext, aad)
    return bytes(_wrap(_Blob(suite, salt, commitment, payload), data_key, bound, ring))


def open_blob(blob: object, *, context: Context, ring: KeyRing) -> bytes:
    """Give back what was sealed for *context*.

    Raise SecretIntegrityError for anything that is not such a blob, bytes or not, its facts saying
    which part; KeyUnavailable or KeyBlocked when the ring does not give out the key it names.
    """
    sealed, bound = _parse(blob), context.encode()
    _, cipher = _unwrap(sealed, bound, ring)
    aad = _payload_aad(sealed.suite, sealed.salt, sealed.commitment, bound)
    try:
        return cipher.decrypt(sealed.payload[:_NONCE], sealed.payload[_NONCE:], aad)
    except InvalidTag:
        raise SecretIntegrityError(part="payload", kek_id=sealed.kek_id) from None


def kek_id_of(blob: object) -> str:
    """The id of the key-encryption key that *blob* names, not authenticated."""
    return _parse(blob).kek_id


def needs_rewrap(blob: object, ring: KeyRing) -> bool:
    """True when *blob* names another key than the ring's primary."""
    return kek_id_of(blob) != ring.primary_id


def beginnings(kek_id: str) -> list[bytes]:
    """How a blob under this key may begin, for a search in a column: one per suite."""
    name = kek_id.encode()
    return [MAGIC + bytes([number, len(name)]) + name for number in SUITES]


def payload_digest(blob: object) -> str:
    """SHA-256 in hex of what a rewrap keeps: it tells a replayed older blob from the right one."""
    sealed = _parse(blob)
    kept = bytes([sealed.suite.number]) + sealed.salt + sealed.commitment + sealed.payload
    return hashlib.sha256(kept).hexdigest()


def rewrap(blob: object, *, context: Context, ring: KeyRing) -> bytes:
    """Move the data key to the ring's primary key; the payload is neither opened nor changed.

    A blob that is there already comes back as it is, checked all the same.
    """
    sealed, bound = _parse(blob), context.encode()
    data_key, _ = _unwrap(sealed, bound, ring)
    if sealed.kek_id == ring.primary_id:
        return bytes(sealed)
    return bytes(_wrap(sealed, data_key, bound, ring))


def _wrap(blob: _Blob, data_key: bytes, bound: bytes, ring: KeyRing) -> _Blob:
    blob = blob._replace(kek_id=ring.primary_id, wrap_nonce=os.urandom(_NONCE))
    wrapper = blob.suite.wrapper(ring.kek(blob.kek_id), blob.salt)
    wrapped_key = wrapper.encrypt(blob.wrap_nonce, data_key, blob.header + bound)
    return blob._replace(wrapped_key=wrapped_key)


def _unwrap(blob: _Blob, bound: bytes, ring: KeyRing) -> tuple[bytes, AESGCM]:
    wrapper = blob.suite.wrapper(ring.kek(blob.kek_id), blob.salt)
    try:
        data_key = wrapper.decrypt(blob.wrap_nonce, blob.wrapped_key, blob.header + bound)
    except InvalidTag:
        raise SecretIntegrityError(part="data key", kek_id=blob.kek_id) from None
    cipher, commitment = blob.suite.split(data_key, blob.salt)
    # A GCM tag alone can be made to fit two keys; the commitment cannot.
    if not hmac.compare_digest(commitment, blob.commitment):
        raise SecretIntegrityError(part="commitment", kek_id=blob.kek_id)
    return data_key, cipher


def _payload_aad(suite: Suite, salt: bytes, commitment: bytes, bound: bytes) -> bytes:
    # The KEK's id stays out, so that a rewrap leaves the payload alone.
    return bytes([suite.number]) + salt + commitment + bound


def _parse(blob: object) -> _Blob:
    # Database drivers differ in what they return for a binary column.
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise SecretIntegrityError(part="layout")
    if memoryview(blob).nbytes > _MAX_BLOB:
        raise SecretIntegrityError(part="layout")
    raw = bytes(blob)
    suite = SUITES.get(raw[4]) if len(raw) > 6 and raw.startswith(MAGIC) else None
    if suite is None:
        raise SecretIntegrityError(part="layout")
    start = 6 + raw[5]
    kek_id = raw[6:start].decode("ascii", "replace")
    payload = raw[start + _FIXED.size :]
    if not is_kek_id(kek_id) or len(payload) <= _NONCE + _TAG:
        raise SecretIntegrityError(part="layout")
    salt, commitment, wrap_nonce, wrapped_key = _FIXED.unpack_from(raw, start)
    return _Blob(suite, salt, commitment, payload, kek_id, wrap_nonce, wrapped_key)


def _prefixed(text: str) -> bytes:
    try:
        data = text.encode()
        return struct.pack(">H", len(data)) + data
    except (UnicodeEncodeError, struct.error):
        raise SealingError("A sealing context holds at most 65535 bytes of UTF-8.") from None
