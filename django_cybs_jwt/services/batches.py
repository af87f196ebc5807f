"""Split long lists of ids, since databases limit the parameters of one statement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

SIZE: Final = 500


def in_batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """*rows* in pieces of at most 500."""
    for start in range(0, len(rows), SIZE):
        yield rows[start : start + SIZE]
