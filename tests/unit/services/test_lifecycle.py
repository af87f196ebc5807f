"""The state machine: its table, its drawing, and what no sequence of actions can break."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from django_cybs_jwt.exceptions import InvalidTransition
from django_cybs_jwt.models import Credential, KeyEvent, KeySlot, State
from django_cybs_jwt.services import (
    importing,
    inspection,
    lifecycle,
    organizations,
    rotation,
    withdrawal,
)
from django_cybs_jwt.services.inspection import Wanted
from django_cybs_jwt.services.lifecycle import TABLE, Action
from django_cybs_jwt.testing import material

DRAWING: Final = Path(__file__).parents[3] / "docs" / "lifecycle.md"
NOW: Final = datetime(2027, 3, 1, tzinfo=UTC)
_numbers = iter(range(10**6))


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


# What a reader of the specification would expect, written without looking at the table.
EXPECTED: Final[dict[str, dict[str, str | None]]] = {
    "suspend": dict.fromkeys(["STAGED", "VERIFIED", "ACTIVE", "RETIRING", "RETIRED"], "SUSPENDED"),
    "compromise": dict.fromkeys(
        ["STAGED", "VERIFIED", "ACTIVE", "RETIRING", "RETIRED", "SUSPENDED"], "COMPROMISED"
    ),
    "retire": dict.fromkeys(["STAGED", "VERIFIED", "ACTIVE", "RETIRING", "SUSPENDED"], "RETIRED"),
    "destroy": dict.fromkeys(
        ["STAGED", "VERIFIED", "RETIRED", "SUSPENDED", "COMPROMISED"], "DESTROYED"
    ),
}


class Keys(RuleBasedStateMachine):
    """One slot, any number of keys, any sequence of actions, against a model in a dictionary."""

    credentials = Bundle("credentials")

    def __init__(self) -> None:
        super().__init__()
        self.organization = organizations.add(
            f"machine{next(_numbers)}",
            actor="alice",
            kind="merchant",
            host="apitest.cybersource.com",
        )
        self.model: dict[Any, str] = {}
        self.came_from: dict[Any, str] = {}
        self.events = KeyEvent.objects.count()
        self.now = NOW

    def attempt(self, act: Callable[[], Any], *, allowed: bool) -> bool:
        """Run an action that must succeed or be refused; a refusal is audited as denied."""
        self.now += timedelta(minutes=1)
        denied = KeyEvent.objects.filter(outcome="denied").count()
        if allowed:
            act()
            assert KeyEvent.objects.filter(outcome="denied").count() == denied
            assert KeyEvent.objects.count() > self.events
        else:
            with pytest.raises(InvalidTransition):
                act()
            assert KeyEvent.objects.filter(outcome="denied").count() == denied + 1
        self.events = KeyEvent.objects.count()
        return allowed

    @rule(target=credentials)
    def import_one(self) -> Any:
        file = material.shared_secret()
        inspected = inspection.inspect_shared_secret(
            file.secret, Wanted(purpose="signing", key_id=file.key_id), now=self.now
        )
        row = importing.import_key(self.organization, inspected, actor="anna", now=self.now)
        self.model[row.pk] = "STAGED"
        self.events = KeyEvent.objects.count()
        return row.pk

    @rule(pk=credentials, action=st.sampled_from(sorted(EXPECTED)))
    def withdraw(self, pk: Any, action: str) -> None:
        before = self.model[pk]
        after = EXPECTED[action].get(before)
        service = getattr(withdrawal, action)
        row = Credential.objects.get(pk=pk)
        if self.attempt(
            lambda: service(row, actor="anna", now=self.now, reason="test"),
            allowed=after is not None,
        ):
            self.came_from[pk] = before
            self.model[pk] = after or ""

    @rule(pk=credentials)
    def resume(self, pk: Any) -> None:
        back_to = self.came_from.get(pk, "")
        taken = back_to == "ACTIVE" and "ACTIVE" in self.model.values()
        allowed = self.model[pk] == "SUSPENDED" and not taken
        row = Credential.objects.get(pk=pk)
        if self.attempt(
            lambda: withdrawal.resume(row, actor="anna", now=self.now, reason="test"),
            allowed=allowed,
        ):
            self.model[pk] = back_to

    @rule(pk=credentials)
    def rotate_by_force(self, pk: Any) -> None:
        row = Credential.objects.get(pk=pk)
        in_overlap = self.model[pk] == "RETIRING" and row.overlap_until is not None
        allowed = self.model[pk] in ("STAGED", "VERIFIED", "RETIRING") and not in_overlap

        def act() -> None:
            rotation.rotate(row, actor="anna", now=self.now, force=True, reason="test")

        if self.attempt(act, allowed=allowed):
            for other, state in self.model.items():
                if state == "ACTIVE":
                    self.model[other] = "RETIRING"
            self.model[pk] = "ACTIVE"

    @rule(pk=credentials)
    def rotate_unverified(self, pk: Any) -> None:
        row = Credential.objects.get(pk=pk)
        if row.verified_at is None:
            self.attempt(lambda: rotation.rotate(row, actor="anna", now=self.now), allowed=False)

    @rule(pk=credentials)
    def touch_nothing_after_destruction(self, pk: Any) -> None:
        if self.model[pk] == "DESTROYED":
            row = Credential.objects.get(pk=pk)
            assert (row.sealed_secret, row.sealed_p12, row.live_key_id) == (None, None, None)
            assert row.fingerprint

    @invariant()
    def model_and_rows_agree(self) -> None:
        rows = Credential.objects.filter(organization=self.organization)
        assert {row.pk: row.state for row in rows} == self.model

    @invariant()
    def at_most_one_key_is_active(self) -> None:
        active = Credential.objects.filter(organization=self.organization, state=State.ACTIVE)
        assert active.count() <= 1
        assert all(row.active_slot_id == row.slot_id for row in active)

    @invariant()
    def every_state_has_its_audit_row(self) -> None:
        for pk, state in self.model.items():
            done = KeyEvent.objects.filter(credential=pk, outcome="done").exclude(to_state="")
            latest = done.order_by("-seq").first()
            assert latest is not None
            assert latest.to_state == state


@pytest.mark.django_db(transaction=True)
def test_machine__keeps_its_invariants_under_any_sequence(cybs_ring: Any) -> None:
    run_state_machine_as_test(
        Keys,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


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
