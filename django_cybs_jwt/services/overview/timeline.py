"""The keys of one organization along time, as bars that a page can draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django_cybs_jwt.models import Credential, Organization, State


@dataclass(frozen=True, slots=True)
class Bar:
    """A key from where it came into use until it ends; *left* and *width* in percent."""

    key: Credential
    begins: datetime
    ends: datetime | None
    left: float
    width: float
    in_use: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """*today* in percent of the time from *begins* to *ends*."""

    bars: tuple[Bar, ...]
    begins: datetime
    ends: datetime
    today: float


def of(organization: Organization, *, now: datetime, most: int = 50) -> Timeline:
    """Its keys, the newest first, *most* of them: one query, nothing sealed."""
    rows = (
        Credential.objects.filter(organization=organization)
        .select_related("slot")
        .defer("sealed_secret", "sealed_p12", "certificate")
        .order_by("slot__purpose", "slot__name", "-staged_at", "pk")
    )
    return draw(list(rows[:most]), now=now)


def draw(rows: Sequence[Credential], *, now: datetime) -> Timeline:
    """Bars for *rows* on one scale that has *now* inside."""
    spans = [(row, *_span(row, now)) for row in rows]
    first = min([now - timedelta(days=30), *(begin for _, begin, _ in spans)])
    last = max([now + timedelta(days=90), *(end for _, _, end in spans if end)])
    whole = (last - first).total_seconds()

    def percent(moment: datetime) -> float:
        return round(100 * (moment - first).total_seconds() / whole, 2)

    bars = tuple(
        Bar(
            row,
            begin,
            end,
            percent(begin),
            max(round(percent(end or last) - percent(begin), 2), 0.5),
            row.state in (State.ACTIVE, State.RETIRING),
        )
        for row, begin, end in spans
    )
    return Timeline(bars, first, last, percent(now))


def _span(row: Credential, now: datetime) -> tuple[datetime, datetime | None]:
    begins = row.activated_at or row.activate_at or row.staged_at or row.not_before or now
    gone = row.destroyed_at or row.compromised_at or row.retired_at
    ends = [moment for moment in (gone, row.expires_at) if moment is not None]
    end = min(ends, default=None)
    return (begins, end) if end is None or end > begins else (end, end)
