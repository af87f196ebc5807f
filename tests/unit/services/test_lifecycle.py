"""The state machine: its table and its drawing; test_lifecycle_machine.py sets it going."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from django_cybs_jwt.models import Credential, KeySlot, State
from django_cybs_jwt.services import lifecycle, withdrawal
from django_cybs_jwt.services.lifecycle import TABLE, Action

DRAWING: Final = Path(__file__).parents[3] / "docs" / "lifecycle.md"
NOW: Final = datetime(2027, 3, 1, tzinfo=UTC)


def drawn() -> set[tuple[str, str, str]]:
    arrows = re.findall(r"^    (\w+) --> (\w+): ([\w-]+)$", DRAWING.read_text(), re.M)
    return {(source, target, action) for source, target, action in arrows}


def test_drawing__shows_exactly_the_table() -> None:
    table = {
        (str(source), str(transition.target), str(action))
        for action, transition in TABLE.items()
        if transition.target is not None and action != Action.VERIFY
        for source in transition.sources
    }

    assert drawn() == table | {("STAGED", "VERIFIED", "verify")}


def test_drawing__shows_every_state() -> None:
    text = DRAWING.read_text()

    assert all(f" {state} " in text or f"{state}\n" in text for state in State)


def test_table__has_every_action_and_no_way_out_of_destroyed() -> None:
    assert set(TABLE) == set(Action)
    assert not any(State.DESTROYED in transition.sources for transition in TABLE.values())


def test_table__leads_a_compromised_key_to_destruction_only() -> None:
    leads_to = {
        transition.target
        for transition in TABLE.values()
        if State.COMPROMISED in transition.sources
    }

    assert leads_to == {State.DESTROYED}


def test_exposure__is_raised_by_what_uses_or_destroys_and_lowered_by_one_person() -> None:
    raising = {action for action, transition in TABLE.items() if transition.raises_exposure}

    assert raising == {Action.ACTIVATE, Action.RESUME, Action.DESTROY}


@pytest.mark.django_db
def test_lock_version__counts_every_change(cybs_simulator: Any) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = Credential.objects.get(organization=organization)
    before = row.lock_version

    row = withdrawal.suspend(row, actor="anna", now=NOW, reason="test")

    assert row.lock_version == before + 1


@pytest.mark.django_db
def test_locked__takes_the_slot_first(cybs_simulator: Any, django_assert_num_queries: Any) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = Credential.objects.get(organization=organization)

    with django_assert_num_queries(3) as queries:
        lifecycle.locked(row.pk)

    tables = [query["sql"].split("FROM")[1].split()[0] for query in queries.captured_queries]
    assert tables[1].strip('"`') == KeySlot._meta.db_table
