"""Where a key stands on its way: one thing to do next, and never two."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from django_cybs_jwt.models import Credential, State, Verdict
from django_cybs_jwt.services.overview import stages, watching
from tests.unit.services import estate
from tests.unit.services.estate import DAY, NOW

pytestmark = pytest.mark.django_db


def key(state: str = State.STAGED, **columns: Any) -> Credential:
    return estate.key(estate.organization("acme"), state=state, staged_at=NOW, **columns)


def strip(row: Credential) -> dict[str, str]:
    watched = watching.watch(row, now=NOW)
    return {stage.name: stage.standing.value for stage in stages.stages(row, watched)}


def test_an_upload_nobody_looked_at_waits_for_that_alone() -> None:
    shown = strip(key())
    assert shown == {
        "upload": "done",
        "inspect": "current",
        "verify": "waiting",
        "activate": "waiting",
        "watch": "waiting",
        "finish": "waiting",
    }


@pytest.mark.parametrize(
    ("columns", "verify", "activate"),
    [
        ({"verify_requested_at": NOW}, "current", "waiting"),
        ({"verify_outcome": Verdict.INCONCLUSIVE}, "current", "waiting"),
        ({"verify_outcome": Verdict.REFUSED}, "failed", "waiting"),
        ({"verify_outcome": Verdict.ACCEPTED, "state": State.VERIFIED}, "done", "current"),
        (
            {
                "verify_outcome": Verdict.INCONCLUSIVE,
                "verified_at": NOW,
                "state": State.VERIFIED,
            },
            "done",
            "current",
        ),
        (
            {"verify_outcome": Verdict.REFUSED, "verified_at": NOW, "state": State.VERIFIED},
            "failed",
            "waiting",
        ),
        ({"activate_at": NOW + DAY}, "waiting", "current"),
    ],
)
def test_the_stage_after_it_is_what_the_rotation_would_allow(
    columns: dict[str, Any], verify: str, activate: str
) -> None:
    shown = strip(key(**columns))
    assert (shown["verify"], shown["activate"]) == (verify, activate)


def test_whatever_befell_a_key_there_is_at_most_one_thing_to_do_next() -> None:
    row = key()
    for state, outcome, verified, activated, planned in itertools.product(
        State, ["", *Verdict], (None, NOW), (None, NOW - DAY), (None, NOW + DAY)
    ):
        row.state, row.verify_outcome = state, outcome
        row.verified_at, row.activated_at, row.activate_at = verified, activated, planned
        assert list(strip(row).values()).count("current") <= 1


@pytest.mark.parametrize("state", [State.SUSPENDED, State.DESTROYED, State.COMPROMISED])
def test_an_upload_out_of_use_waits_for_nothing(state: str) -> None:
    assert "current" not in strip(key(state)).values()


@pytest.mark.parametrize(
    ("overlap", "watch", "finish"), [(1, "current", "waiting"), (-1, "done", "current")]
)
def test_the_new_key_is_watched_until_its_overlap_is_over(
    overlap: int, watch: str, finish: str
) -> None:
    old = key(State.RETIRING, activated_at=NOW - 9 * DAY, overlap_until=NOW + overlap * DAY)
    new = estate.successor(old, state=State.ACTIVE, activated_at=NOW - DAY, active_slot=old.slot)
    shown = strip(new)
    assert (shown["watch"], shown["finish"]) == (watch, finish)
    assert strip(old)["watch"] == "waiting"
