"""Whether bytes came out of a generator, or out of somebody's head."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Final

# 32 random bytes show about 30 different values, and fewer than 17 never.
_FEWEST_VALUES: Final = 17


def looks_random(data: bytes) -> bool:
    """False for patterns and for text; 32 random bytes fail less than once in 10^9."""
    values = Counter(data)
    steps = {(after - before) % 256 for before, after in pairwise(data)}
    return (
        len(values) >= _FEWEST_VALUES
        and max(values.values()) <= len(data) // 4  # UTF-16 is zeros by half
        and len(steps) > 1
        and not _repeats(data)
        and not _is_text(data)
    )


def _repeats(data: bytes) -> bool:
    """True when *data* is one piece again and again, the last time at least 8 bytes of it."""
    return any(data[size:] == data[:-size] for size in range(1, len(data) - 7))


def _is_text(data: bytes) -> bool:
    """True for what people type, in any script and with its line breaks."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)
