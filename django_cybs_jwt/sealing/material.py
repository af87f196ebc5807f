"""32 bytes of key material: read, judged and turned into keys for one use each."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32


def derive(key: bytes, label: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA512 of *key*; labels that differ give unrelated keys."""
    return HKDF(SHA512(), length, None, b"cybs_jwt:" + label).derive(key)


def guesses_from(secret: str) -> Iterator[bytes]:
    """What people make a key of when they have only a text: its bytes, Base64 and SHA-256."""
    yield secret.encode()
    yield hashlib.sha256(secret.encode()).digest()
    standard = secret.replace("-", "+").replace("_", "/")
    decoded = from_base64(standard + "=" * (-len(standard) % 4))
    if decoded is not None:
        yield decoded


def to_base64(key: bytes) -> str:
    """Standard Base64 with padding."""
    return base64.b64encode(key).decode()


def from_base64(text: str) -> bytes | None:
    """Decode what to_base64 writes, None for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if to_base64(data) == text else None
