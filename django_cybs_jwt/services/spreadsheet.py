"""Values as cells of a CSV file that a spreadsheet program will open."""

from __future__ import annotations

from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_WIDE: Final = str.maketrans("\uff1d\uff0b\uff0d\uff20", "=+-@")
"""A spreadsheet in an East Asian locale takes the full-width signs for the narrow ones."""


def cell(value: Any) -> str:
    """*value* as text that is never taken for a formula."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return ""
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    if isinstance(value, int | float):
        return text
    is_formula = text.lstrip(" \u00a0\ufeff").translate(_WIDE).startswith(_FORMULA)
    return f"'{text}" if is_formula else text
