"""What is sealed of a key: its secret, and the names under which it may be used.

Whoever writes to the database can put another key ID or algorithm into a row. What is sealed
names them too, so such a row signs nothing.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Final

from django_cybs_jwt.protocol.keys import Secret

# No key begins like this: PKCS#8 does not, and of random bytes one in 2**64.
_MARK: Final = b"cybs-key"
_LENGTH: Final = struct.Struct(">H")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class KeyPayload(Secret):
    """*key_id* and *algorithm* are None where the secret was sealed alone, as it once was."""

    secret: bytes
    key_id: str | None = None
    algorithm: str | None = None


def pack(secret: bytes, *, key_id: str, algorithm: str) -> bytes:
    """The bytes to seal."""
    names = json.dumps([key_id, algorithm]).encode()
    return _MARK + _LENGTH.pack(len(names)) + names + secret


def unpack(opened: bytes) -> KeyPayload:
    """What `pack` has packed."""
    if not opened.startswith(_MARK):
        return KeyPayload(secret=opened)
    begin = len(_MARK) + _LENGTH.size
    end = begin + _LENGTH.unpack_from(opened, len(_MARK))[0]
    key_id, algorithm = json.loads(opened[begin:end])
    return KeyPayload(secret=opened[end:], key_id=key_id, algorithm=algorithm)
