"""When an alert is due: the table, and two simulated years of a job that is often down."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.models import ExpiryAlert
from django_cybs_jwt.services.alerts import schedule
from django_cybs_jwt.services.alerts.schedule import (
    QUIET_THRESHOLDS,
    THRESHOLDS,
    Plan,
    Severity,
    due_threshold,
    plan,
    severity,
    thresholds,
)
from django_cybs_jwt.services.expiry.endings import Artefact, Ending, Successor
from tests.unit.services.alert_runs import has_one, random_runs, windows

DAY = timedelta(days=1)
NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


def ending(
    ends: datetime = NOON,
    *,
    life: float | None = 1095,
    live: bool = True,
    in_use: bool = True,
    artefact: Artefact = Artefact.SIGNING_CERTIFICATE,
    successor: Successor = Successor.NONE,
    stops: tuple[str, ...] = ("acme@api.cybersource.com",),
) -> Ending:
    return Ending(
        artefact=artefact,
        subject=uuid.uuid4(),
        key_id="kid",
        ends=ends,
        begins=None if life is None else ends - life * DAY,
        live=live,
        in_use=in_use,
        successor=successor,
        stops=stops,
    )


@pytest.mark.parametrize(
    ("life", "live", "expected"),
    [
        (1095, True, THRESHOLDS),
        (270, True, THRESHOLDS),
        (None, True, THRESHOLDS),
        (1095, False, QUIET_THRESHOLDS),
        (269.9, True, (89, 60, 30, 14, 7, 3, 2, 1, 0)),
        (90, True, (30, 14, 7, 3, 2, 1, 0)),
        (30, True, (10, 7, 3, 2, 1, 0)),
        (30, False, (10, 7, 1, 0)),
        (5.9, True, (1, 0)),
        (2, True, (1, 0)),
        (2, False, (1, 0)),
        (0, True, (1, 0)),
    ],
)
def test_thresholds__are_shortened_for_a_short_life(
    life: float | None, live: bool, expected: tuple[int, ...]
) -> None:
    assert thresholds(ending(life=life, live=live)) == expected


@pytest.mark.parametrize(
    ("left", "live", "quiet"),
    [
        (91, None, None),
        (90, 90, None),
        (60.001, 90, None),
        (60, 60, None),
        (30, 30, 30),
        (29, 30, 30),
        (13.5, 14, 30),
        (6.9, 7, 7),
        (3, 3, 7),
        (1.5, 2, 7),
        (0.5, 1, 1),
        (0, 0, 0),
        (-0.9, 0, 0),
        (-1, -1, 0),
        (-6.9, -6, 0),
        (-7, -7, -7),
        (-400, -400, -399),
    ],
)
def test_due_threshold__is_the_smallest_that_was_reached(
    left: float, live: int | None, quiet: int | None
) -> None:
    now = NOON - left * DAY

    assert due_threshold(ending(), now) == live
    assert due_threshold(ending(live=False), now) == quiet
    assert due_threshold(ending(artefact=Artefact.KEK), now) == quiet


@pytest.mark.parametrize(
    ("threshold", "plain", "verified", "scheduled", "test"),
    [
        (90, "info", "info", "info", "info"),
        (60, "warning", "info", "info", "warning"),
        (30, "warning", "info", "info", "warning"),
        (14, "critical", "info", "info", "warning"),
        (7, "critical", "critical", "info", "warning"),
        (0, "critical", "critical", "info", "warning"),
        (-5, "critical", "critical", "info", "warning"),
    ],
)
def test_severity__grows_towards_the_end_and_sinks_with_a_successor(
    threshold: int, plain: str, verified: str, scheduled: str, test: str
) -> None:
    assert severity(ending(), threshold) == plain
    assert severity(ending(successor=Successor.VERIFIED), threshold) == verified
    assert severity(ending(successor=Successor.SCHEDULED), threshold) == scheduled
    assert severity(ending(live=False), threshold) == test
    assert severity(ending(artefact=Artefact.KEK), threshold) == test


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, ZoneInfo("Australia/Lord_Howe")])
def test_due_threshold__counts_days_of_24_hours_whatever_the_zone(zone: ZoneInfo) -> None:
    """In spring a wall clock loses an hour: 24 hours before noon is eleven o'clock."""
    for month in (3, 4, 10, 11):
        for day in range(1, 29):
            ends = datetime(2028, month, day, 12, tzinfo=zone)
            just_before = (ends.astimezone(UTC) - DAY - timedelta(seconds=1)).astimezone(zone)
            exactly = (ends.astimezone(UTC) - DAY).astimezone(zone)

            assert due_threshold(ending(ends), just_before) == 2
            assert due_threshold(ending(ends), exactly) == 1


def test_plan__passes_over_what_is_not_in_use() -> None:
    assert plan([ending(in_use=False)], [], NOON) == Plan()


def test_plan__changes_an_alert_whose_severity_or_reach_has_changed() -> None:
    before = ending(NOON + 20 * DAY)
    (due,) = plan([before], [], NOON).raised
    alert = as_row(due, NOON)
    after = before._replace(successor=Successor.VERIFIED)

    found = plan([after], [alert], NOON)

    assert found.changed[0][0] is alert
    assert found.changed[0][1].severity == Severity.INFO
    assert (found.raised, found.over) == ([], [])


def test_plan__resolves_what_is_not_in_use_any_more() -> None:
    before = ending(NOON + 20 * DAY)
    alert = as_row(plan([before], [], NOON).raised[0], NOON)

    assert plan([], [alert], NOON).over == [alert]
    assert plan([before._replace(in_use=False)], [alert], NOON).over == [alert]


def as_row(due: schedule.Due, now: datetime) -> ExpiryAlert:
    return ExpiryAlert(
        artefact=due.ending.artefact,
        subject=due.ending.subject,
        ends=due.ending.ends,
        threshold=due.threshold,
        severity=due.severity,
        stops=len(due.ending.stops),
        raised_at=now,
    )


class Ledger:
    """What `services.alerts` does with a plan, without a database."""

    def __init__(self) -> None:
        self.open: list[ExpiryAlert] = []
        self.raised: Counter[tuple[uuid.UUID, int]] = Counter()

    def run(self, endings: list[Ending], now: datetime) -> None:
        horizon = now.astimezone(UTC) + schedule.HORIZON
        found = plan([item for item in endings if item.ends <= horizon], self.open, now)
        over = set(map(id, found.over))
        self.open = [alert for alert in self.open if id(alert) not in over]
        for due in found.raised:
            self.open.append(as_row(due, now))
            self.raised[due.ending.subject, due.threshold] += 1


def test_ten_thousand_runs_with_downtime_lose_nothing_and_repeat_nothing() -> None:
    """Two years with a leap day and eight changes of the clock; 40 keys, replaced at random."""
    draw = random.Random(20_280_229)
    begin, end = datetime(2027, 9, 1, tzinfo=UTC), datetime(2029, 9, 1, tzinfo=UTC)
    span = (end - begin).total_seconds()
    items = [
        ending(
            begin + timedelta(seconds=draw.uniform(0, span)),
            life=draw.choice([1095, 365, 100, 30]),
            live=draw.random() < 0.7,
        )
        for _ in range(39)
    ]
    items.append(ending(datetime(2028, 2, 29, 23, 59, tzinfo=UTC)))
    replaced = {item.subject: item.ends + draw.uniform(-40, 60) * DAY for item in items}
    runs = random_runs(draw, 10_000, begin, end)
    ledger = Ledger()

    for now in runs:
        ledger.run([item for item in items if now < replaced[item.subject]], now)

    moments = [now.timestamp() for now in runs]
    expected = {
        (item.subject, step)
        for item in items
        for step, opens, closes in windows(item, end)
        if has_one(moments, opens, min(closes, replaced[item.subject].timestamp()))
    }
    duplicates = sum(count - 1 for count in ledger.raised.values())
    losses = expected - set(ledger.raised)
    assert len(expected) > 500
    assert (duplicates, losses) == (0, set())
    assert set(ledger.raised) == expected
    assert len(runs) == 10_000


@pytest.mark.parametrize("jump", [365 * DAY, -365 * DAY])
def test_a_clock_that_jumps_by_a_year_and_back_costs_no_alert(jump: timedelta) -> None:
    item, ledger = ending(NOON + 40 * DAY), Ledger()

    for hours in range(0, 24 * 45, 6):
        now = NOON + timedelta(hours=hours)
        ledger.run([item], now + jump if 30 <= hours < 60 else now)

    told = {threshold for _, threshold in ledger.raised if threshold >= -4}
    assert told >= {60, 30, 14, 7, 3, 2, 1, 0, -1, -2, -3, -4}


@given(st.floats(min_value=-3000, max_value=400), st.booleans(), st.integers(1, 2000))
def test_due_threshold__never_comes_early_and_never_grows(
    left: float, live: bool, life: int
) -> None:
    item = ending(life=life, live=live)
    now = NOON - left * DAY

    threshold, later = due_threshold(item, now), due_threshold(item, now + DAY)

    if threshold is not None:
        assert item.ends - now <= threshold * DAY
        assert later is not None
        assert later <= threshold
