"""The counts of the fault runs excuse nothing that was not measured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_cybs_jwt.models import Attempt
from tests.faults.counting import READ, Counts, was_late

CLAIMED = datetime(2026, 11, 1, tzinfo=UTC)


def answered(seconds: float) -> dict[str, float]:
    return {"j1": (CLAIMED + timedelta(seconds=seconds)).timestamp()}


@pytest.mark.parametrize(
    ("error", "times", "excused"),
    [
        ("ReadTimeout", answered(READ + 0.1), True),
        ("ReadTimeout", answered(READ - 0.1), False),
        ("ReadTimeout", {}, False),
        ("ReadError", answered(READ + 0.1), False),
    ],
)
def test_only_a_time_out_whose_answer_was_measured_late_is_excused(
    error: str, times: dict[str, float], excused: bool
) -> None:
    attempt = Attempt(jti="j1", error=error, started_at=CLAIMED)
    assert was_late(attempt, times) is excused


def test_a_point_that_killed_nobody_is_a_fault() -> None:
    assert Counts(points_that_killed_nobody=1).faults() == {"points_that_killed_nobody": 1}
