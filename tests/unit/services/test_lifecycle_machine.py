"""No sequence of services, answers of the gateway and hours breaks what holds for a slot's keys."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_cybs_jwt.exceptions import InvalidTransition
from django_cybs_jwt.models import Credential, KeyEvent, State
from django_cybs_jwt.services import (
    importing,
    inspection,
    organizations,
    overlaps,
    resolution,
    rotation,
    ticking,
    verification,
    withdrawal,
)
from django_cybs_jwt.services.audit import chain
from django_cybs_jwt.services.inspection import Wanted
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.hands import Hands
from tests.unit.services.slot_model import CAN_BE_TRIED, CAN_BE_USED, WITHDRAWALS, Key, Slot

NOW: Final = datetime(2027, 3, 1, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
SPANS: Final = st.sampled_from([timedelta(0), HOUR, 5 * HOUR, 30 * HOUR])
ANSWERS: Final = {"accepted": None, "refused": 401, "unclear": 503}
FORCED: Final = st.sampled_from([True, True, False])
PEOPLE: Final = st.sampled_from(["anna", "bert"])
UPLOADER: Final = "anna"
_numbers = iter(range(10**6))


class Keys(RuleBasedStateMachine):
    """One slot, any number of keys, any sequence of services, against a model in a dictionary."""

    simulator: Simulation

    def __init__(self) -> None:
        super().__init__()
        self.organization = organizations.add(
            f"machine{next(_numbers)}",
            actor="alice",
            kind="merchant",
            host="apitest.cybersource.com",
        )
        self.model = Slot()
        self.now = NOW

        for _ in range(3):
            self.import_one()

    def has(self, test: Callable[[Key], Any]) -> bool:
        return any(test(key) for key in self.model.keys.values())

    @rule()
    def import_one(self) -> None:
        file = material.shared_secret()
        inspected = inspection.inspect_shared_secret(
            file.secret, Wanted(purpose="signing", key_id=file.key_id), now=self.now
        )
        row = importing.import_key(self.organization, inspected, actor=UPLOADER, now=self.now)
        self.model.keys[row.pk] = Key()

    @precondition(lambda self: self.has(lambda key: key.plan or key.state == "RETIRING"))
    @rule(hours=st.sampled_from([1, 4, 23, 24, 50]))
    def wait(self, hours: int) -> None:
        self.now += hours * HOUR

    @precondition(lambda self: self.has(lambda key: key.plan or key.state == "RETIRING"))
    @rule()
    def tick(self) -> None:
        after = deepcopy(self.model)
        after.settle(self.now)
        done = self._become(after, lambda: ticking.tick(self.now, clock=Hands(self.now)))
        assert None not in done.values()

    @rule(data=st.data(), said=st.sampled_from(["accepted", *ANSWERS]))
    def verify(self, data: st.DataObject, said: str) -> None:
        pk = self._one(data, lambda key: key.state in CAN_BE_TRIED)
        if status := ANSWERS[said]:
            self.simulator.faults.add(Fault(kind=FaultKind.STATUS, status=status, times=1))

        def allowed(slot: Slot) -> bool:
            return slot.keys[pk].state in CAN_BE_TRIED

        def follow(slot: Slot) -> None:
            key = slot.keys[pk]
            if said == "accepted" and key.state == "STAGED":
                key.state = "VERIFIED"
            if said == "refused" and key.said == "accepted" and key.plan:
                key.forget_plan()
            # What says nothing takes no refusal back; nor an acceptance, for who may switch.
            key.said = key.said if said == "unclear" else said

        row = self._row(pk)
        self._attempt(
            "verify",
            lambda: verification.verify(row, actor="anna", now=self.now),
            allowed=allowed,
            follow=follow,
        )
        self.simulator.faults.clear()

    @precondition(lambda self: not self.has(lambda key: key.was_active))
    @rule(data=st.data())
    def activate(self, data: st.DataObject) -> None:
        pk = self._one(data, lambda key: key.state in CAN_BE_USED)
        row = self._row(pk)
        self._attempt(
            "activate",
            lambda: rotation.activate(row, actor="anna", now=self.now),
            allowed=lambda slot: slot.may_begin(pk),
            follow=lambda slot: slot.rotate(pk, HOUR, self.now),
        )

    @rule(data=st.data(), overlap=SPANS, force=FORCED)
    def rotate(self, data: st.DataObject, overlap: timedelta, force: bool) -> None:
        pk = self._one(data, self._may_lead)
        how = self._how("anna", overlap=overlap, force=force)
        row = self._row(pk)
        self._attempt(
            "activate",
            lambda: rotation.rotate(row, **how),
            allowed=lambda slot: slot.may_rotate(pk, self.now, at=self.now, force=force),
            follow=lambda slot: slot.rotate(pk, overlap, self.now),
        )

    @rule(data=st.data(), ahead=SPANS.filter(bool), overlap=SPANS, force=FORCED)
    def schedule(
        self, data: st.DataObject, ahead: timedelta, overlap: timedelta, force: bool
    ) -> None:
        pk = self._one(data, self._may_lead)
        at = self.now + ahead
        how = self._how("anna", at=at, overlap=overlap, force=force)
        row = self._row(pk)
        self._attempt(
            "activate",
            lambda: rotation.rotate(row, **how),
            allowed=lambda slot: slot.may_rotate(pk, self.now, at=at, force=force),
            follow=lambda slot: slot.schedule(pk, at, overlap),
        )

    @precondition(lambda self: self.has(lambda key: key.plan))
    @rule(data=st.data())
    def unschedule(self, data: st.DataObject) -> None:
        pk = self._one(data, lambda key: key.plan is not None)
        row = self._row(pk)
        self._attempt(
            "unschedule",
            lambda: rotation.unschedule(row, **self._how("anna")),
            allowed=lambda slot: slot.keys[pk].plan is not None,
            follow=lambda slot: slot.keys[pk].forget_plan(),
        )

    @precondition(lambda self: self.has(lambda key: key.state == "RETIRING"))
    @rule()
    def roll_back(self) -> None:
        place = self.organization.slots.get()
        self._attempt(
            "roll-back",
            lambda: rotation.roll_back(place, **self._how("anna")),
            allowed=lambda slot: slot.open_overlap(self.now) is not None,
            follow=lambda slot: slot.roll_back(self.now),
        )

    @rule(data=st.data(), action=st.sampled_from([*WITHDRAWALS, "suspend", "resume"]), actor=PEOPLE)
    def withdraw(self, data: st.DataObject, action: str, actor: str) -> None:
        pk = self._one(data, lambda key: key.state in WITHDRAWALS[action][0])
        row, service = self._row(pk), getattr(withdrawal, action)
        may = action != "discard" or actor == UPLOADER
        self._attempt(
            action,
            lambda: service(row, **self._how(actor)),
            allowed=lambda slot: may and slot.may_withdraw(pk, action),
            follow=lambda slot: slot.withdraw(pk, action),
        )

    @precondition(lambda self: self.has(lambda key: key.state == "DESTROYED"))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        pk = self._one(data, lambda key: key.stands_in_the_way)

        def follow(slot: Slot) -> None:
            slot.keys[pk].stands_in_the_way = False

        row = self._row(pk)
        self._attempt(
            "release",
            lambda: withdrawal.release(row, **self._how("anna")),
            allowed=lambda slot: slot.keys[pk].stands_in_the_way,
            follow=follow,
        )

    @invariant()
    def everything_holds(self) -> None:
        rows = self._rows()
        self.model_and_rows_agree(rows)
        self.what_holds_is_what_a_tick_would_write_down(rows)
        self.at_most_one_key_is_active(rows)
        self.nothing_is_left_of_a_destroyed_key_but_what_it_was(rows)

    def model_and_rows_agree(self, rows: list[Credential]) -> None:
        assert {row.pk: row.state for row in rows} == self.model.states()
        for row in rows:
            key = self.model.keys[row.pk]
            assert (row.activate_at, row.overlap_until) == (key.plan and key.plan.at, key.until)

    def what_holds_is_what_a_tick_would_write_down(self, rows: list[Credential]) -> None:
        settled = deepcopy(self.model)
        settled.settle(self.now)
        assert overlaps.states(rows, self.now) == settled.states()
        in_force = resolution.in_slot(rows, self.now)
        assert (in_force and in_force.pk) == settled.active()

    def at_most_one_key_is_active(self, rows: list[Credential]) -> None:
        active = [row for row in rows if row.state == State.ACTIVE]
        assert len(active) <= 1
        assert all(row.active_slot_id == row.slot_id for row in active)

    def nothing_is_left_of_a_destroyed_key_but_what_it_was(self, rows: list[Credential]) -> None:
        for row in rows:
            if row.state == State.DESTROYED:
                left = (row.sealed_secret, row.sealed_p12, row.live_key_id, row.activate_at)
                assert left == (None, None, None, None)
                assert row.fingerprint

    def teardown(self) -> None:
        assert chain.verify().faults == []

    def _one(self, data: st.DataObject, fits: Callable[[Key], bool]) -> Any:
        """The id of a key; more often than not of one that the action is meant for."""
        keys = list(self.model.keys)
        fitting = [pk for pk in keys if fits(self.model.keys[pk])]
        return data.draw(st.sampled_from(fitting or keys) | st.sampled_from(keys))

    def _may_lead(self, key: Key) -> bool:
        return key.state in CAN_BE_USED and not key.is_in_open_overlap(self.now)

    def _rows(self) -> list[Credential]:
        rows = Credential.objects.select_related("slot", "organization")
        return list(rows.filter(organization=self.organization))

    def _row(self, pk: Any) -> Credential:
        return Credential.objects.select_related("slot", "organization").get(pk=pk)

    def _how(self, actor: str, **more: Any) -> dict[str, Any]:
        return {"actor": actor, "now": self.now, "reason": "test", **more}

    def _attempt(
        self,
        action: str,
        act: Callable[[], Any],
        *,
        allowed: Callable[[Slot], bool],
        follow: Callable[[Slot], Any],
    ) -> None:
        """What must succeed changes the model too; what must not changes nothing, and is told."""
        after = deepcopy(self.model)
        after.settle(self.now)
        if allowed(after):
            follow(after)
            self._become(after, act)
            return
        seen = self._seq()
        with pytest.raises(InvalidTransition):
            act()
        (denied,) = KeyEvent.objects.filter(seq__gt=seen)
        assert (denied.outcome, denied.action, denied.at) == ("denied", action, self.now)

    def _become(self, after: Slot, act: Callable[[], Any]) -> Any:
        """Each change of a state is told by rows that lead from the old one to the new one."""
        seen, states = self._seq(), self.model.states()
        done = act()
        moved = KeyEvent.objects.filter(seq__gt=seen, credential__in=states).exclude(to_state="")
        for event in moved.exclude(action="schedule").order_by("seq"):
            assert (event.outcome, event.from_state) == ("done", states[event.credential])
            states[event.credential] = event.to_state
        assert states == after.states()
        self.model = after
        return done

    def _seq(self) -> int:
        return KeyEvent.objects.order_by("-seq").values_list("seq", flat=True).first() or 0


@pytest.mark.django_db(transaction=True)
def test_machine__keeps_its_invariants_under_any_sequence(cybs_simulator: Simulation) -> None:
    Keys.simulator = cybs_simulator
    run_state_machine_as_test(
        Keys,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
