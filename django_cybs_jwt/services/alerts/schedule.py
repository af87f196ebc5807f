"""When an end is worth an alert, and how loud. Pure: endings, open alerts and a time in, plan out.

Live and in use: 90, 60, 30, 14, 7, 3, 2, 1, 0 days before the end, then daily.
Test, and a key-encryption key's age: 30, 7, 1, 0 days, then weekly, never louder than a warning.
A certificate made for less than 270 days: first when a third of its life is left, a day at least.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from django_cybs_jwt.models import ExpiryAlert
from django_cybs_jwt.services.expiry.endings import Artefact, Ending, Successor

THRESHOLDS: Final = (90, 60, 30, 14, 7, 3, 2, 1, 0)
QUIET_THRESHOLDS: Final = (30, 7, 1, 0)
HORIZON: Final = timedelta(days=max(THRESHOLDS))
SHORT_LIFE: Final = timedelta(days=270)
_DAY: Final = timedelta(days=1)
_CRITICAL: Final = 14
_WARNING: Final = 60
_URGENT_AGAIN: Final = 7
"""Days from which on a successor that nobody activates is no comfort any more."""

COMPARED: Final = (
    "artefact",
    "subject",
    "ends",
    "threshold",
    "severity",
    "stops",
    "raised_at",
    "snoozed_until",
)
"""The columns of an open alert that a plan looks at."""

Key = tuple[str, UUID, datetime]


class Severity(StrEnum):
    """How loud an alert is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    def is_above(self, other: str) -> bool:
        """True where this one is louder."""
        ascending = list(Severity)
        return ascending.index(self) > ascending.index(Severity(other))


@dataclass(frozen=True, slots=True)
class Due:
    """An alert that should stand now; *before* is the one that it replaces."""

    ending: Ending
    threshold: int
    severity: Severity
    before: ExpiryAlert | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to change so that for each end in use exactly the due alert is open."""

    raised: list[Due] = field(default_factory=list)
    changed: list[tuple[ExpiryAlert, Due]] = field(default_factory=list)
    over: list[ExpiryAlert] = field(default_factory=list)


def thresholds(ending: Ending) -> tuple[int, ...]:
    """Days before the end at which an alert is due, the largest first."""
    usual = THRESHOLDS if is_urgent(ending) else QUIET_THRESHOLDS
    life = None if ending.begins is None else ending.ends - ending.begins
    if life is None or life >= SHORT_LIFE:
        return usual
    first = max(life // 3 // _DAY, 1)
    return (first, *(days for days in usual if days < first))


def due_threshold(ending: Ending, now: datetime) -> int | None:
    """The smallest threshold that has been reached; below zero once the end has passed."""
    # In UTC: a difference of two times in one zone would take a day of 23 hours for a whole one.
    left = ending.ends.astimezone(UTC) - now.astimezone(UTC)
    if left <= timedelta(0):
        every = 1 if is_urgent(ending) else 7
        return -((-left // _DAY) // every * every)
    return min((days for days in thresholds(ending) if left <= days * _DAY), default=None)


def severity(ending: Ending, threshold: int) -> Severity:
    """How loud the alert at *threshold* is."""
    if ending.successor == Successor.SCHEDULED:
        return Severity.INFO
    if threshold > _WARNING or (
        ending.successor == Successor.VERIFIED and threshold > _URGENT_AGAIN
    ):
        return Severity.INFO
    if threshold > _CRITICAL or not is_urgent(ending):
        return Severity.WARNING
    return Severity.CRITICAL


def is_urgent(ending: Ending) -> bool:
    """True where payments of real customers depend on it."""
    return ending.live and ending.artefact != Artefact.KEK


def plan(endings: Iterable[Ending], opened: Iterable[ExpiryAlert], now: datetime) -> Plan:
    """Compare what should stand at *now* with the alerts that stand.

    However often it is asked, an alert that stands is not raised again; thresholds that were
    missed collapse to the smallest due one. Only ends of what is in use are worth an alert.
    """
    standing: dict[Key, list[ExpiryAlert]] = defaultdict(list)
    for alert in opened:
        standing[alert.artefact, alert.subject, alert.ends].append(alert)
    result = Plan()
    for ending in endings:
        threshold = due_threshold(ending, now) if ending.in_use else None
        if threshold is None:
            continue
        alerts = standing.pop((ending.artefact, ending.subject, ending.ends), [])
        due = Due(
            ending, threshold, severity(ending, threshold), max(alerts, key=_age, default=None)
        )
        same = [alert for alert in alerts if alert.threshold == threshold]
        if not same:
            result.raised.append(due)
        elif (same[0].severity, same[0].stops) != (due.severity, len(ending.stops)):
            result.changed.append((same[0], due))
        result.over.extend(alert for alert in alerts if alert.threshold != threshold)
    result.over.extend(alert for alerts in standing.values() for alert in alerts)
    return result


def _age(alert: ExpiryAlert) -> datetime:
    return alert.raised_at
