"""Medians of what is measured turn by turn, so that a noisy moment strikes every side alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from benchmarks.official_sdk import OfficialSDK
from benchmarks.subjects import Action, Subject

BLOCKS: Final = 10
WARM_UP: Final = 20


@dataclass(frozen=True, kw_only=True)
class Times:
    """Median and minimum, in microseconds."""

    median: float
    minimum: float

    @classmethod
    def of(cls, nanoseconds: list[int]) -> Times:
        """Summed up from single measurements."""
        return cls(median=statistics.median(nanoseconds) / 1000, minimum=min(nanoseconds) / 1000)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A subject with its times; *sdk* is None where no SDK was there to measure."""

    subject: Subject
    ours: Times
    raw: Times
    sdk: Times | None
    samples: int

    @property
    def overhead(self) -> float:
        """Our median in units of the bare calls'."""
        return self.ours.median / self.raw.median

    @property
    def speedup(self) -> float | None:
        """The SDK's median in units of ours."""
        return None if self.sdk is None else self.sdk.median / self.ours.median

    @property
    def verdict(self) -> str:
        """`ok` or `MISSED` where there is a target that was measured, else empty."""
        met = []
        if self.subject.at_most is not None:
            met.append(self.overhead <= self.subject.at_most)
        if self.subject.faster is not None and self.speedup is not None:
            met.append(self.speedup >= self.subject.faster)
        return ("ok" if all(met) else "MISSED") if met else ""


def measured(subjects: Iterable[Subject], *, samples: int, sdk: OfficialSDK | None) -> list[Row]:
    """Measure each subject at least *samples* times, in blocks that take turns with the SDK."""
    return [_row(subject, -(-samples // BLOCKS), sdk) for subject in subjects]


def _row(subject: Subject, block: int, sdk: OfficialSDK | None) -> Row:
    ours: list[int] = []
    raw: list[int] = []
    theirs: list[int] = []
    _alternate(subject, WARM_UP)
    for _ in range(BLOCKS):
        if sdk is not None:
            theirs += sdk.measure(subject.sdk, block)
        both = _alternate(subject, block)
        raw += [pair[0] for pair in both]
        ours += [pair[1] for pair in both]
    return Row(
        subject=subject,
        ours=Times.of(ours),
        raw=Times.of(raw),
        sdk=Times.of(theirs) if theirs else None,
        samples=len(ours),
    )


def _alternate(subject: Subject, times: int) -> list[tuple[int, int]]:
    return [(_time(subject.raw), _time(subject.ours)) for _ in range(times)]


def _time(action: Action) -> int:
    start = time.perf_counter_ns()
    action()
    return time.perf_counter_ns() - start
