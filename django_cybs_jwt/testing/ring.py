"""A key ring for tests. It is published with this package, so it protects nothing."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

RING_ID = "testing"
"""The system check cybs_jwt.W007 knows this id."""


def testing_ring() -> dict[str, Any]:
    """A value for CYBS_JWT["KEYRING"]."""
    return {
        "primary": RING_ID,
        "keys": {RING_ID: {"key": _material("kek"), "status": "enabled"}},
        "index_key": _material("index"),
        "audit_key": _material("audit"),
    }


def _material(label: str) -> str:
    return b64encode(hashlib.sha256(f"published {label}".encode()).digest()).decode()
