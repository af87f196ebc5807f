"""A secret in the wrong box: told from what belongs there, so that no page and no row shows it."""

from __future__ import annotations

import re
from typing import Final

_LONG: Final = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
"""Base64 of 18 bytes and more; so are many key IDs and organization IDs."""
_FOREIGN: Final = re.compile(r"[^\w .@:/-]", re.ASCII)
"""What is in passwords and in no name of ours."""


def may_be_secret(text: str) -> bool:
    """True for Base64, PEM and what else is no ID.

    Large and small letters in one long run tell Base64 from IDs: a UUID, a serial number and a
    merchant's ID have one kind.
    """
    runs = _LONG.findall("".join(text.split()))
    is_mixed = any(run.lower() != run != run.upper() for run in runs)
    return is_mixed or "-----" in text or bool(_FOREIGN.search(text))
