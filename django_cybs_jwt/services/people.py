"""Who is one person: a name in the admin, behind `--user`, or of an account on the machine."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

ACCOUNT: Final = "os:"
"""Stands before the account's name where a command is given no `--user`."""

_ACCOUNTS: Final = re.compile(rf"\A(?:{ACCOUNT}\s*)+")
_LONGEST: Final = 150  # characters of a column


def person(name: str) -> str:
    """Alice, alice, a full-width Alice and the account os:alice are one."""
    plain = unicodedata.normalize("NFKC", name).strip().casefold()
    return _ACCOUNTS.sub("", plain)[:_LONGEST]
