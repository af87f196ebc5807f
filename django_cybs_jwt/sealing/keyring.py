"""The ring of keys that secrets at rest are sealed under.

    {"primary": "2026-11",
     "keys": {"2026-11": {"key": "<32 bytes in Base64>", "status": "enabled",
                          "created": "2026-11-22"}},
     "index_key": "<32 bytes in Base64>",
     "audit_key": "<32 bytes in Base64>"}

No message here repeats a value of the ring: a key may stand where it does not belong.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any, Final, NoReturn, Self

from django_cybs_jwt.exceptions import KeyBlocked, KeyRingError, KeyUnavailable
from django_cybs_jwt.randomness import looks_random
from django_cybs_jwt.sealing.material import (
    KEY_BYTES,
    derive,
    from_base64,
    guesses_from,
    to_base64,
)
from django_cybs_jwt.texts import Text

_KEK_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
GENERATE: Final = Text("Make one with `manage.py cybs_keyring generate`.")
_CORRECT: Final = Text("Correct it, or restore the ring from its backup.")
_REPLACE: Final = Text(
    "Restore it from a backup if anything is sealed under it; "
    "else take one from `manage.py cybs_keyring generate`."
)


class Status(StrEnum):
    """What a key-encryption key may do: open and be the primary, open, or nothing."""

    ENABLED = "enabled"
    DECRYPT_ONLY = "decrypt_only"
    BLOCKED = "blocked"


def is_kek_id(text: str) -> bool:
    """True for 1 to 64 ASCII letters, digits, dots, underscores and hyphens."""
    return _KEK_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class _Kek:
    key: bytes
    status: Status
    created: date | None


class KeyRing:
    """Key-encryption keys (KEKs) by id, and one index and one audit key that outlive them.

    Instances are always legal, show nothing in a repr and cannot be pickled or copied.
    """

    __slots__ = ("_audit_key", "_index_key", "_keks", "_primary_id")

    def __init__(
        self, primary_id: str, keks: Mapping[str, _Kek], index_key: bytes, audit_key: bytes
    ) -> None:
        self._primary_id = primary_id
        self._keks = keks
        self._index_key = index_key
        self._audit_key = audit_key
        _check_primary(primary_id, keks)
        _check_materials(self._materials())

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read the ring's members, or raise KeyRingError."""
        ring = _members(
            mapping, Text("The key ring"), ("primary", "keys", "index_key", "audit_key")
        )
        if not isinstance(ring["keys"], Mapping):
            raise KeyRingError('"keys" is not an object of keys by their id. {cure}', cure=_CORRECT)
        return cls(
            ring["primary"],
            {kek_id: _read_kek(kek_id, kek) for kek_id, kek in ring["keys"].items()},
            _read_key("index_key", ring["index_key"]),
            _read_key("audit_key", ring["audit_key"]),
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a ring from JSON, or raise KeyRingError."""
        return cls.from_mapping(_parse(text))

    @classmethod
    def generate(cls, kek_id: str, *, created: date | None = None) -> KeyRing:
        """Make a new ring with one enabled key."""
        _check_id(kek_id)
        kek = _Kek(os.urandom(KEY_BYTES), Status.ENABLED, created)
        return cls(kek_id, {kek_id: kek}, os.urandom(KEY_BYTES), os.urandom(KEY_BYTES))

    def with_new(self, kek_id: str, *, created: date | None = None) -> KeyRing:
        """This ring and one key more, which opens and does not seal yet."""
        if _check_id(kek_id) in self._keks:
            raise KeyRingError(
                "The ring has a key {kek_id!r} already. Choose another id.", kek_id=kek_id
            )
        kek = _Kek(os.urandom(KEY_BYTES), Status.DECRYPT_ONLY, created)
        return self._changed(self._primary_id, {kek_id: kek})

    def promoted(self, kek_id: str) -> KeyRing:
        """This ring with another primary; the one before it still opens.

        KeyBlocked for a blocked key, KeyUnavailable for one that is not in the ring.
        """
        self.kek(kek_id)
        before, after = self._keks[self._primary_id], self._keks[kek_id]
        changes = {
            self._primary_id: replace(before, status=Status.DECRYPT_ONLY),
            kek_id: replace(after, status=Status.ENABLED),
        }
        return self._changed(kek_id, changes)

    def with_status(self, kek_id: str, status: Status) -> KeyRing:
        """This ring with another status of one key; KeyRingError for the primary's."""
        return self._changed(
            self._primary_id, {kek_id: replace(self._kek(kek_id), status=Status(status))}
        )

    def to_json(self) -> str:
        """The whole ring in clear, for its file and nothing else."""
        ring = {
            "primary": self._primary_id,
            "keys": {kek_id: _write_kek(kek) for kek_id, kek in self._keks.items()},
            "index_key": to_base64(self._index_key),
            "audit_key": to_base64(self._audit_key),
        }
        return json.dumps(ring, indent=2) + "\n"

    @property
    def primary_id(self) -> str:
        """The id of the key that seals."""
        return self._primary_id

    def ids(self) -> tuple[str, ...]:
        """Every id in the ring, blocked ones too."""
        return tuple(self._keks)

    def status(self, kek_id: str) -> Status:
        """What this key may do; KeyUnavailable if it is not in the ring."""
        return self._kek(kek_id).status

    def created(self, kek_id: str) -> date | None:
        """The day this key was made, where the ring says it."""
        return self._kek(kek_id).created

    def kek(self, kek_id: str) -> bytes:
        """The key's 32 bytes; KeyUnavailable if it is not in the ring, KeyBlocked if refused."""
        kek = self._kek(kek_id)
        if kek.status is Status.BLOCKED:
            raise KeyBlocked(
                "The key-encryption key {kek_id!r} is blocked in the ring. "
                "Set its status to {status!r} to read what it sealed.",
                status=Status.DECRYPT_ONLY.value,
                kek_id=kek_id,
            )
        return kek.key

    def fingerprint(self, kek_id: str) -> str:
        """16 hex digits that tell this key from others and give nothing of it away."""
        return derive(self._kek(kek_id).key, b"fingerprint", 8).hex()

    def index_key(self, purpose: bytes | str) -> bytes:
        """32 bytes for keyed hashes of one *purpose*; a rotation of the KEK keeps them."""
        label = purpose.encode() if isinstance(purpose, str) else purpose
        return derive(self._index_key, b"index:" + label)

    def audit_key(self) -> bytes:
        """32 bytes for the audit chain; a rotation of the KEK keeps them."""
        return derive(self._audit_key, b"audit")

    def continues(self, other: KeyRing) -> bool:
        """True for another state of the same ring: it has the two keys that no rotation changes."""
        return (self._index_key, self._audit_key) == (other._index_key, other._audit_key)

    def equals_or_derives(self, secret_key: str) -> bool:
        """True if a key of the ring is *secret_key*, its Base64 decoding or its SHA-256."""
        return not set(guesses_from(secret_key)).isdisjoint(self._materials().values())

    def _kek(self, kek_id: str) -> _Kek:
        try:
            return self._keks[kek_id]
        except KeyError:
            raise KeyUnavailable(
                "The key-encryption key {kek_id!r} is not in the ring. Put it back and try again.",
                kek_id=kek_id,
            ) from None

    def _changed(self, primary_id: str, keks: Mapping[str, _Kek]) -> KeyRing:
        return KeyRing(primary_id, {**self._keks, **keks}, self._index_key, self._audit_key)

    def _materials(self) -> dict[str, bytes]:
        materials = {f"keys.{kek_id}": kek.key for kek_id, kek in self._keks.items()}
        return materials | {"index_key": self._index_key, "audit_key": self._audit_key}

    def __repr__(self) -> str:
        return "<KeyRing redacted>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A KeyRing holds secrets and is never pickled or copied.")

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(None)


def _parse(text: str | bytes) -> Any:
    # Not raised from the parser's error, nor beside it: that one carries the whole ring.
    with suppress(ValueError, RecursionError):
        return json.loads(text, object_pairs_hook=_unique)
    raise KeyRingError("The key ring is not valid JSON. {cure}", cure=_CORRECT)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise KeyRingError("A member of the key ring is given twice. Keep one of them.")
    return members


def _members(
    value: object, name: str, required: tuple[str, ...], optional: str | None = None
) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise KeyRingError("{name} is not an object with members. {cure}", name=name, cure=_CORRECT)
    if value.keys() - {optional} != set(required):
        known = ", ".join(required)
        if optional:
            known = Text("{known} and, if you like, {optional}", known=known, optional=optional)
        raise KeyRingError(
            "{name} must have the members {known}, and no others.", name=name, known=known
        )
    return value


def _read_kek(kek_id: object, value: object) -> _Kek:
    name = f"keys.{_check_id(kek_id)}"
    kek = _members(value, name, ("key", "status"), optional="created")
    if kek["status"] not in list(Status):
        raise KeyRingError(
            "The status of {name} is not one of {known}.", name=name, known=", ".join(Status)
        )
    key, created = _read_key(f"{name}.key", kek["key"]), kek.get("created")
    return _Kek(key, Status(kek["status"]), _read_date(name, created))


def _write_kek(kek: _Kek) -> dict[str, str]:
    members = {"key": to_base64(kek.key), "status": kek.status.value}
    return members | ({"created": kek.created.isoformat()} if kek.created else {})


def _read_key(name: str, value: object) -> bytes:
    key = from_base64(value) if isinstance(value, str) else None
    if key is None or len(key) != KEY_BYTES:
        raise KeyRingError(
            "{name} is not {length} bytes in standard Base64. {cure}",
            name=name,
            length=KEY_BYTES,
            cure=_REPLACE,
        )
    return key


def _read_date(name: str, value: object) -> date | None:
    if value is None:
        return None
    with suppress(ValueError):
        return date.fromisoformat(value if isinstance(value, str) else "")
    raise KeyRingError("{name}.created is not a date like 2026-11-22.", name=name)


def _check_id(kek_id: object) -> str:
    if not isinstance(kek_id, str) or not is_kek_id(kek_id):
        raise KeyRingError("The id of a key is 1 to 64 letters, digits, dots, '_' and '-'.")
    return kek_id


def _check_primary(primary_id: object, keks: Mapping[str, _Kek]) -> None:
    if not isinstance(primary_id, str) or primary_id not in keks:
        raise KeyRingError('"primary" names no key of the ring. Set it to the id of one.')
    if keks[primary_id].status is not Status.ENABLED:
        raise KeyRingError(
            "The primary key {kek_id!r} is not {status}. "
            "Set its status, or make another key the primary.",
            kek_id=primary_id,
            status=Status.ENABLED.value,
        )


def _check_materials(materials: Mapping[str, bytes]) -> None:
    names: dict[bytes, str] = {}
    for name, material in materials.items():
        if not looks_random(material):
            raise KeyRingError(
                "{name} is a pattern or a text, not random. {cure}", name=name, cure=_REPLACE
            )
        if material in names:
            raise KeyRingError(
                "{name} and {other} are the same key. {cure}",
                name=name,
                other=names[material],
                cure=_REPLACE,
            )
        names[material] = name
