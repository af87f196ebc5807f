"""Time decides who signs: a schedule holds to the second, whether anybody ticks or not."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import Credential, Organization, State, Verdict
from django_cybs_jwt.services import resolution, rotation, withdrawal
from tests.unit.services import estate
from tests.unit.services.estate import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

HOUR = timedelta(hours=1)
KEYS = 5

VERBS = ("schedule", "rotate", "unschedule", "roll_back", "suspend", "resume", "retire", "destroy")


class Step(NamedTuple):
    """What is done to which key: *later* hours after the step before, for *ahead* hours on."""

    verb: str
    key: int
    later: int = 0
    ahead: int = 0
    ticks: bool = True


steps = st.lists(
    st.builds(
        Step,
        verb=st.sampled_from([*VERBS, "schedule", "schedule", "rotate", "look"]),
        key=st.integers(0, KEYS - 1),
        later=st.sampled_from([0, 1, 2, 3, 30]),
        ahead=st.sampled_from([0, 1, 2]),
        ticks=st.booleans(),
    ),
    min_size=2,
    max_size=10,
)


@dataclass
class World:
    """A merchant under a meta key, with keys in one or two slots of its own, and what befalls."""

    ticks: bool
    two_slots: bool
    now: datetime = NOW
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        mall = estate.organization("mall", kind="portfolio")
        self.names = {estate.key(mall, covers="all").pk: "meta"}
        self.acme = estate.organization("acme", parent=mall)
        for number in range(KEYS if self.two_slots else 3):
            row = estate.key(
                self.acme,
                id=uuid.UUID(int=number),  # of two at one moment the greater one signs
                name="second" if number > 2 else "",
                state=State.ACTIVE if number in (0, 3) else State.VERIFIED,
                activated_at=NOW - (9 - number) * HOUR if number in (0, 3) else None,
                verified_at=NOW,
                verify_outcome=Verdict.ACCEPTED,
            )
            self.names[row.pk] = f"key {number}"
        self.keys = list(self.names)[1:]

    def go(self, step: Step) -> None:
        self.now += step.later * HOUR
        if self.ticks and step.ticks:
            rotation.carry_out_due(now=self.now)
        self.seen.append(self._signer())
        if step.verb in VERBS and step.key < len(self.keys):
            row = self._key(step.key)
            self.seen.append(self._told(lambda: self._do(step.verb, row, step.ahead * HOUR)))
            self.seen.append(self._signer())

    def _do(self, verb: str, row: Credential, ahead: timedelta) -> None:
        how: dict[str, Any] = {"actor": "anna", "now": self.now, "reason": "test"}
        if verb == "schedule":
            rotation.rotate(row, at=self.now + ahead, overlap=2 * HOUR, force=True, **how)
        elif verb == "rotate":
            rotation.rotate(row, overlap=ahead, force=True, **how)
        elif verb == "unschedule":
            rotation.unschedule(row, **how)
        elif verb == "roll_back":
            rotation.roll_back(row.slot, **how)
        else:
            getattr(withdrawal, verb)(row, **how)

    def _told(self, act: Callable[[], None]) -> str:
        try:
            act()
        except CybsError as error:
            return type(error).__name__
        return "done"

    def _signer(self) -> str:
        merchant = Organization.objects.select_related("parent").get(pk=self.acme.pk)
        try:
            rows = resolution.candidates(merchant)
            return self.names[resolution.signing_key(merchant, rows, now=self.now).pk]
        except CybsError as error:
            return type(error).__name__

    def _key(self, number: int) -> Credential:
        return Credential.objects.select_related("slot", "organization").get(pk=self.keys[number])


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Denials inside the test's transaction are logged; here every other step is one."""
    caplog.set_level(logging.CRITICAL)


def befalls(script: Sequence[Step], *, ticks: bool, two_slots: bool) -> list[str]:
    with transaction.atomic():
        world = World(ticks, two_slots)
        for step in script:
            world.go(step)
        transaction.set_rollback(True)
    return world.seen


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(
    two_slots=True,
    script=[Step("schedule", 1, ahead=1), Step("rotate", 4, 2, ticks=False), Step("look", 0, 1)],
)
@example(
    two_slots=False,
    script=[Step("rotate", 1, ahead=1), Step("retire", 1), Step("destroy", 1), Step("look", 0, 2)],
)
@given(script=steps, two_slots=st.booleans())
def test_who_signs_and_what_is_refused_is_the_same_ticked_and_unticked(
    script: list[Step], two_slots: bool
) -> None:
    ticked = befalls(script, ticks=True, two_slots=two_slots)

    assert ticked == befalls(script, ticks=False, two_slots=two_slots)
