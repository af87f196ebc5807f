"""Decisions that only time changes: when a planned key comes into force, or an overlap is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, Generic, NamedTuple, TypeVar

from django_cybs_jwt.models import Credential
from django_cybs_jwt.services import resolution

T = TypeVar("T")
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Span(NamedTuple, Generic[T]):
    """What holds from *begins* until before *ends*."""

    begins: datetime
    ends: datetime
    value: T

    def holds(self, at: datetime) -> bool:
        """True at that moment."""
        return self.begins <= at < self.ends


def decided(
    rows: Iterable[Credential], now: datetime, decide: Callable[[datetime], T]
) -> Iterator[Span[T]]:
    """What *decide* says from *now* on, asked again whenever time changes one of *rows*."""
    turns = {moment for row in rows if (moment := resolution.turns_at(row)) is not None}
    moments = [now, *sorted(moment for moment in turns if moment > now), _NEVER]
    for begins, ends in pairwise(moments):
        yield Span(begins, ends, decide(begins))
