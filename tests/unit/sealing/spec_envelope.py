"""The blob format again, written from its description alone: nothing of the package is imported.

Reads and writes single parts, so that tests can check the package and craft what it never writes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, replace
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM


def hkdf(key: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    """RFC 5869 with SHA-512, for at most one block of output."""
    pseudo_random_key = hmac.new(salt, key, hashlib.sha512).digest()
    return hmac.new(pseudo_random_key, info + b"\x01", hashlib.sha512).digest()[:length]


def gcm_encrypt(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    encryptor = Cipher(AES(key), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(aad)
    return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag


def gcm_decrypt(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    decryptor = Cipher(AES(key), GCM(nonce, sealed[-16:])).decryptor()
    decryptor.authenticate_additional_data(aad)
    return decryptor.update(sealed[:-16]) + decryptor.finalize()


def context(*, live: bool, kind: str, owner: UUID, row: UUID, field: str) -> bytes:
    out = b""
    for text in (
        *("app", "cybs_jwt"),
        *("env", "live" if live else "test"),
        *("field", field),
        *("kind", kind),
        *("owner", str(owner)),
        *("row", str(row)),
        *("schema", "1"),
    ):
        data = text.encode("utf-8")
        out += len(data).to_bytes(2, "big") + data
    return out


@dataclass(frozen=True, kw_only=True)
class Blob:
    """One blob, part by part."""

    kek_id: bytes
    salt: bytes
    commitment: bytes = bytes(32)
    wrap_nonce: bytes = bytes(12)
    wrapped_key: bytes = bytes(48)
    nonce: bytes = bytes(12)
    sealed: bytes = bytes(17)

    @classmethod
    def split(cls, blob: bytes) -> Blob:
        assert blob[:5] == b"CJE1\x01"
        rest, parts = blob[6 + blob[5] :], []
        for length in (32, 32, 12, 48, 12):
            parts.append(rest[:length])
            rest = rest[length:]
        salt, commitment, wrap_nonce, wrapped_key, nonce = parts
        return cls(
            kek_id=blob[6 : 6 + blob[5]],
            salt=salt,
            commitment=commitment,
            wrap_nonce=wrap_nonce,
            wrapped_key=wrapped_key,
            nonce=nonce,
            sealed=rest,
        )

    def join(self) -> bytes:
        return self.header + self.wrap_nonce + self.wrapped_key + self.nonce + self.sealed

    @property
    def header(self) -> bytes:
        start = b"CJE1\x01" + bytes([len(self.kek_id)]) + self.kek_id
        return start + self.salt + self.commitment

    def wrap_key(self, kek: bytes) -> bytes:
        return hkdf(kek, self.salt, b"WRAP")

    def data_key(self, kek: bytes, bound: bytes) -> bytes:
        aad = self.header + bound
        return gcm_decrypt(self.wrap_key(kek), self.wrap_nonce, self.wrapped_key, aad)

    def encryption_key(self, data_key: bytes) -> bytes:
        return hkdf(data_key, self.salt, b"\x01DERIVEKEY")

    def commitment_to(self, data_key: bytes) -> bytes:
        return hkdf(data_key, self.salt, b"\x01COMMITKEY")

    def payload_aad(self, bound: bytes) -> bytes:
        return b"\x01" + self.salt + self.commitment + bound

    def plaintext(self, data_key: bytes, bound: bytes) -> bytes:
        key = self.encryption_key(data_key)
        return gcm_decrypt(key, self.nonce, self.sealed, self.payload_aad(bound))

    def wrap(self, data_key: bytes, kek: bytes, bound: bytes) -> Blob:
        key, aad = self.wrap_key(kek), self.header + bound
        return replace(self, wrapped_key=gcm_encrypt(key, self.wrap_nonce, data_key, aad))

    def encrypt(self, plaintext: bytes, data_key: bytes, bound: bytes) -> Blob:
        key, aad = self.encryption_key(data_key), self.payload_aad(bound)
        return replace(self, sealed=gcm_encrypt(key, self.nonce, plaintext, aad))


def read(blob: bytes, kek: bytes, bound: bytes) -> bytes:
    """Open a whole blob, or fail."""
    parts = Blob.split(blob)
    data_key = parts.data_key(kek, bound)
    assert parts.commitment == parts.commitment_to(data_key)
    return parts.plaintext(data_key, bound)


def write(
    plaintext: bytes,
    *,
    kek_id: bytes,
    kek: bytes,
    wrap_bound: bytes,
    payload_bound: bytes,
    commitment: bytes | None = None,
) -> bytes:
    """Seal with a valid tag everywhere, whatever else is odd about it."""
    data_key = os.urandom(32)
    blob = Blob(kek_id=kek_id, salt=os.urandom(32))
    committed = blob.commitment_to(data_key) if commitment is None else commitment
    blob = replace(blob, commitment=committed)
    return blob.wrap(data_key, kek, wrap_bound).encrypt(plaintext, data_key, payload_bound).join()
