"""Secrets at rest: sealed under a ring of keys and bound to the row that holds them."""

from __future__ import annotations

from django_cybs_jwt.sealing import ring_file
from django_cybs_jwt.sealing.envelope import (
    MAX_PLAINTEXT,
    Context,
    beginnings,
    kek_id_of,
    needs_rewrap,
    open_blob,
    payload_digest,
    rewrap,
    seal,
)
from django_cybs_jwt.sealing.followed import FollowedFile
from django_cybs_jwt.sealing.keyring import KeyRing, Status

__all__ = [
    "MAX_PLAINTEXT",
    "Context",
    "FollowedFile",
    "KeyRing",
    "Status",
    "beginnings",
    "kek_id_of",
    "needs_rewrap",
    "open_blob",
    "payload_digest",
    "rewrap",
    "ring_file",
    "seal",
]
