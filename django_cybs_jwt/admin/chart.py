"""A bar chart as numbers for a template: no script draws it, and a table says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django_cybs_jwt.services.overview.watching import Hour

HEIGHT: Final = 120
WIDTH: Final = 720
_GAP: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One hour: the old key's uses stand on the new one's."""

    hour: Hour
    x: float
    width: float
    new_y: float
    new_height: float
    old_y: float
    old_height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What the template draws; *highest* is the number at the top, *first* and *last* its hours."""

    bars: Sequence[Bar]
    highest: int
    first: datetime | None
    last: datetime | None
    width: int = WIDTH
    height: int = HEIGHT


def hourly(hours: Sequence[Hour]) -> Chart:
    """Uses by hour, stacked, scaled to the busiest hour."""
    highest = max((hour.old + hour.new for hour in hours), default=0)
    step = WIDTH / max(len(hours), 1)
    return Chart(
        bars=[_bar(hour, number * step, step, highest) for number, hour in enumerate(hours)],
        highest=highest,
        first=hours[0].begins if hours else None,
        last=hours[-1].begins if hours else None,
    )


def _bar(hour: Hour, x: float, step: float, highest: int) -> Bar:
    scale = HEIGHT / highest if highest else 0.0
    new, old = hour.new * scale, hour.old * scale
    return Bar(
        hour=hour,
        x=round(x, 1),
        width=round(step - _GAP, 1),
        new_y=round(HEIGHT - new, 1),
        new_height=round(new, 1),
        old_y=round(HEIGHT - new - old, 1),
        old_height=round(old, 1),
    )
