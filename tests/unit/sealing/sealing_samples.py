"""Rings and contexts for the sealing tests; the material is new in every run."""

from __future__ import annotations

import base64
import os
from typing import Any
from uuid import UUID, uuid4

from django_cybs_jwt.sealing import Context, KeyRing

MATERIAL = {name: os.urandom(32) for name in ("new", "old", "shut", "index", "audit")}
STATUS = {"new": "enabled", "old": "enabled", "shut": "blocked"}


def encoded(material: bytes) -> str:
    return base64.b64encode(material).decode()


def ring_mapping(primary: str = "new", **statuses: str) -> dict[str, Any]:
    """A legal ring of new, old and shut; *statuses* change what a key may do."""
    return {
        "primary": primary,
        "keys": {
            kek_id: {"key": encoded(MATERIAL[kek_id]), "status": status}
            for kek_id, status in (STATUS | statuses).items()
        },
        "index_key": encoded(MATERIAL["index"]),
        "audit_key": encoded(MATERIAL["audit"]),
    }


def members_of(mapping, path):
    *parents, last = path
    for name in parents:
        mapping = mapping[name]
    return mapping, last


def with_value(*path, value):
    mapping = ring_mapping()
    parent, name = members_of(mapping, path)
    parent[name] = value
    return mapping


def without(*path):
    mapping = ring_mapping()
    parent, name = members_of(mapping, path)
    del parent[name]
    return mapping


def with_key(material, *path):
    return with_value(*(path or ("keys", "old", "key")), value=encoded(material))


def with_id(kek_id):
    return with_value("keys", kek_id, value={"key": encoded(os.urandom(32)), "status": "enabled"})


def make_ring(primary: str = "new", *, without: str = "", **statuses: str) -> KeyRing:
    mapping = ring_mapping(primary, **statuses)
    mapping["keys"].pop(without, None)
    return KeyRing.from_mapping(mapping)


def make_context(
    *,
    live: bool = False,
    kind: str = "credential",
    owner: UUID | None = None,
    row: UUID | None = None,
    field: str = "sealed_secret",
) -> Context:
    return Context(live=live, kind=kind, owner=owner or uuid4(), row=row or uuid4(), field=field)


RING = make_ring()
HOME = make_context()
SECRET = b"a shared secret, say"
