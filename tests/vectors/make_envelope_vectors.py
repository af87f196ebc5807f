"""Write envelope_v1.json again, byte for byte: python -m tests.vectors.make_envelope_vectors

The random source is replaced by SHAKE-256 of a vector's name, so every run seals alike.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID, uuid5

from django_cybs_jwt.sealing import Context, KeyRing, rewrap, seal

FILE = Path(__file__).with_name("envelope_v1.json")
NAMESPACE = UUID("0b0f4b2e-9f0f-4c39-8a3e-2f6f0f0f7a11")
KEK_IDS = ("2026-11", "2025-11", "k", "A-Za-z0-9._-" + "x" * 52)
PURPOSES = ("secret-fingerprint", "idempotency", "transaction-id")

# name, KEK, bytes of plaintext, and what differs from the usual context
CASES: tuple[tuple[str, str, int, dict[str, Any]], ...] = (
    ("one byte", "2026-11", 1, {}),
    ("one byte less than a block", "2026-11", 15, {}),
    ("one block", "2026-11", 16, {}),
    ("one byte more than a block", "2026-11", 17, {}),
    ("a shared secret", "2026-11", 32, {}),
    ("a shared secret, live", "2026-11", 32, {"live": True}),
    ("a private key", "2026-11", 1218, {}),
    ("a private key, live", "2026-11", 1218, {"live": True}),
    ("a file", "2026-11", 2600, {"field": "sealed_p12"}),
    ("a payload", "2026-11", 300, {"kind": "outbound", "field": "payload"}),
    ("a payload, live", "2026-11", 300, {"kind": "outbound", "field": "payload", "live": True}),
    ("another owner", "2026-11", 32, {"owner": "another"}),
    ("another row", "2026-11", 32, {"row": "another"}),
    ("owner and row are one", "2026-11", 32, {"owner": "same", "row": "same"}),
    ("the older KEK", "2025-11", 32, {}),
    ("the older KEK, live", "2025-11", 32, {"live": True}),
    ("the shortest KEK id", "k", 32, {}),
    ("the longest KEK id", KEK_IDS[3], 32, {}),
    ("composed character", "2026-11", 32, {"field": "caf\u00e9"}),
    ("decomposed character", "2026-11", 32, {"field": "cafe\u0301"}),
    ("no kind", "2026-11", 32, {"kind": ""}),
    ("no field", "2026-11", 32, {"field": ""}),
    ("kind and field exchanged", "2026-11", 32, {"kind": "sealed_secret", "field": "credential"}),
    ("a kind of 256 bytes", "2026-11", 32, {"kind": "k" * 256}),
)
MOVED = ("the older KEK", "a private key, live")
"""These are written once more after a rewrap, under another KEK."""


def document() -> dict[str, Any]:
    vectors = [vector(*case) for case in CASES]
    vectors += [moved(*case) for case in CASES if case[0] in MOVED]
    ring = make_ring("2026-11")
    return {
        "keys": "A key is the SHA-256 of its label.",
        "labels": {name: label(name) for name in (*KEK_IDS, "index_key", "audit_key")},
        "vectors": vectors,
        "derived": {
            "audit_key": ring.audit_key().hex(),
            "index_key": {purpose: ring.index_key(purpose).hex() for purpose in PURPOSES},
            "fingerprint": {kek_id: ring.fingerprint(kek_id) for kek_id in KEK_IDS},
        },
    }


def vector(name: str, kek_id: str, length: int, changes: dict[str, Any]) -> dict[str, Any]:
    context = make_context(changes)
    plaintext = hashlib.shake_256(f"plaintext of {name}".encode()).digest(length)
    with mock.patch("os.urandom", Stream(name)):
        blob = seal(plaintext, context=context, ring=make_ring(kek_id))
    return written(name, kek_id, context, plaintext, blob)


def moved(name: str, kek_id: str, length: int, changes: dict[str, Any]) -> dict[str, Any]:
    before, context = vector(name, kek_id, length, changes), make_context(changes)
    name, target = f"{name}, moved", KEK_IDS[2]
    with mock.patch("os.urandom", Stream(name)):
        blob = rewrap(base64.b64decode(before["blob"]), context=context, ring=make_ring(target))
    return written(name, target, context, base64.b64decode(before["plaintext"]), blob)


def written(
    name: str, kek_id: str, context: Context, plaintext: bytes, blob: bytes
) -> dict[str, Any]:
    return {
        "name": name,
        "kek_id": kek_id,
        "context": {
            "live": context.live,
            "kind": context.kind,
            "owner": str(context.owner),
            "row": str(context.row),
            "field": context.field,
        },
        "plaintext": base64.b64encode(plaintext).decode(),
        "blob": base64.b64encode(blob).decode(),
    }


def make_context(changes: dict[str, Any]) -> Context:
    usual = {"live": False, "kind": "credential", "field": "sealed_secret"}
    identities = {name: uuid5(NAMESPACE, changes.get(name, name)) for name in ("owner", "row")}
    return Context(**(usual | changes | identities))


def make_ring(primary: str) -> KeyRing:
    return KeyRing.from_mapping(
        {
            "primary": primary,
            "keys": {kek_id: {"key": key(kek_id), "status": "enabled"} for kek_id in KEK_IDS},
            "index_key": key("index_key"),
            "audit_key": key("audit_key"),
        }
    )


def label(name: str) -> str:
    return f"envelope vectors: {name}"


def key(name: str) -> str:
    return base64.b64encode(hashlib.sha256(label(name).encode()).digest()).decode()


class Stream:
    """A stand-in for os.urandom that gives the same bytes in every run."""

    def __init__(self, name: str) -> None:
        self.name, self.calls = name, 0

    def __call__(self, size: int) -> bytes:
        self.calls += 1
        return hashlib.shake_256(f"{self.name}:{self.calls}".encode()).digest(size)


def text() -> str:
    return json.dumps(document(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="ascii")
