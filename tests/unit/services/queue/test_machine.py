"""Whatever happens, in whatever order: nobody is charged twice, nothing is lost, no end is a lie.

Two workers, a sweeper, a resolver and a gateway, with a crash after the claim or after the answer,
answers that come late, and time that passes; hypothesis looks for the order that breaks it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

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

from django_cybs_jwt import cybs
from django_cybs_jwt.client import Parcel
from django_cybs_jwt.exceptions import OutcomeUnknown
from django_cybs_jwt.models import ACTED_ON, Attempt, OutboundRequest, RequestState
from django_cybs_jwt.services.queue import executing, sweeping, working
from django_cybs_jwt.services.queue.settling import settle
from django_cybs_jwt.services.queue.states import TABLE, TERMINAL, Step, move
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.queue import rows

TOKEN_LIVES = 115.0  # seconds: 120, back-dated by 5
FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "reset_before": {},
    "reset_after": {},
    "truncate": {},
    "broken_jwe": {},
    "status 429": {"status": 429},
    "status 401": {"status": 401},
    "status 502": {"status": 502},
    "status 502 processed": {"status": 502, "processed": True},
    "status 201 processed": {"status": 201, "processed": True},
    "status 201": {"status": 201},
}
KINDS = {
    "authorization": ("POST", {}),
    "sale": ("POST", rows.SALE),
    "read": ("GET", None),
}


def reachable() -> dict[str, set[str]]:
    """Every state, and where any number of steps leads from it."""
    found = {str(state): {str(state)} for state in RequestState}
    for _ in RequestState:
        for transition in TABLE.values():
            for source in transition.sources:
                found[source] |= found[transition.target]
    return found


LEADS_TO = reachable()


class Machine(RuleBasedStateMachine):
    simulation: Simulation
    clock: rows.Clock

    def __init__(self) -> None:
        super().__init__()
        OutboundRequest.objects.all().delete()
        self.simulation.faults.clear()
        self.before = len(self.simulation.ledger)
        self.was: dict[Any, str] = {}
        self.under_way: list[tuple[OutboundRequest, Parcel, datetime]] = []
        self.held: list[tuple[OutboundRequest, Parcel, datetime]] = []

    def rows(self) -> list[OutboundRequest]:
        return list(OutboundRequest.objects.select_related("organization").order_by("created_at"))

    @precondition(lambda self: len(self.rows()) < 3)
    @rule(kind=st.sampled_from(sorted(KINDS)))
    def enqueue(self, kind: str) -> None:
        method, body = KINDS[kind]
        path = rows.PAYMENTS if method == "POST" else "/tss/v2/transactions/1"
        document = None if body is None else rows.payment(**body)
        key = f"key-{next(rows._numbers)}"
        cybs.enqueue("acme", method, path, json=document, idempotency_key=key)

    @precondition(lambda self: self.rows())
    @rule(fault=st.sampled_from(sorted(FAULTS)), which=st.integers(0, 2))
    def work(self, fault: str, which: int) -> None:
        self.inject(fault)
        self.act(which)

    @precondition(lambda self: self.rows())
    @rule(which=st.integers(0, 2), answered=st.booleans())
    def crash(self, which: int, answered: bool) -> None:
        """Its worker ends after the claim, or with the answer in hand."""
        row = self.rows()[which % len(self.rows())]
        if row.state != RequestState.QUEUED or row.due_at > self.clock.now():
            return
        parcel = executing.take(row, now=self.clock.now())
        if parcel is None:
            return
        if answered:
            with executing.client_of(row) as http:
                http.dispatch(parcel)
        else:
            self.held.append((row, parcel, self.clock.now()))

    @precondition(lambda self: self.held)
    @rule(fault=st.sampled_from(sorted(FAULTS)))
    def wake_up(self, fault: str) -> None:
        """A worker that had stood still sends now; its token has gone on ageing."""
        row, parcel, claimed_at = self.held.pop()
        age = (self.clock.now() - claimed_at).total_seconds()
        if age > TOKEN_LIVES:
            self.simulation.faults.add(rows.Fault(kind=rows.FaultKind.CLOCK_SKEW, seconds=age + 60))
        self.inject(fault)
        executing.deliver(row, parcel)
        self.simulation.faults.clear()

    @precondition(lambda self: self.rows())
    @rule(which=st.integers(0, 2))
    def slow(self, which: int) -> None:
        """The worker waits no longer; the gateway has the message and takes its time."""
        row = self.rows()[which % len(self.rows())]
        if row.state != RequestState.QUEUED or row.due_at > self.clock.now():
            return
        parcel = executing.take(row, now=self.clock.now())
        if parcel is None:
            return
        for event in ("headers.started", "headers.complete", "body.complete"):
            parcel.trace.record(f"http11.send_request_{event}", {})
        lost = executing.of_error(row, parcel, OutcomeUnknown(), started=0.0)
        settle(row, lost)
        self.under_way.append((row, parcel, self.clock.now()))

    @precondition(lambda self: self.under_way)
    @rule()
    def arrives(self) -> None:
        """It is processed at last, within the time that a gateway takes at most."""
        row, parcel, sent_at = self.under_way.pop()
        if (self.clock.now() - sent_at).total_seconds() < 130:
            with executing.client_of(row) as http:
                http.dispatch(parcel)

    @rule(seconds=st.sampled_from([1.0, 20.0, 100.0, 200.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.forward(seconds)

    @rule()
    def sweep(self) -> None:
        sweeping.sweep(self.clock.now())

    @precondition(lambda self: self.rows())
    @rule(which=st.integers(0, 2))
    def cancel(self, which: int) -> None:
        row = self.rows()[which % len(self.rows())]
        if row.state == RequestState.QUEUED:
            move(row, Step.CANCEL, now=self.clock.now())

    def inject(self, fault: str) -> None:
        kind, _, _ = fault.partition(" ")
        if kind != "none":
            rows.fail(self.simulation, kind, **FAULTS[fault])

    def act(self, which: int) -> None:
        row = self.rows()[which % len(self.rows())]
        working.work(row.pk)
        self.simulation.faults.clear()

    def charges(self, row: OutboundRequest) -> list[Any]:
        ledger = self.simulation.gateway.ledger
        mine = [
            entry
            for entry in ledger.entries()[self.before :]
            if entry.operation in ("authorization", "sale")
            and entry.transaction_id == row.transaction_id
        ]
        return [entry for entry in mine if not ledger.is_undone(entry)]

    @invariant()
    def nobody_is_charged_twice(self) -> None:
        assert all(len(self.charges(row)) <= 1 for row in self.rows())

    @invariant()
    def no_end_is_a_lie(self) -> None:
        for row in self.rows():
            charged = bool(self.charges(row))
            if row.state in TERMINAL - {RequestState.ANSWERED}:
                assert not charged, row
            elif row.state == RequestState.ANSWERED and row.safety == "GUARDED":
                assert charged == (row.outcome in ("AUTHORIZED", "TRANSMITTED")), vars(row)

    @invariant()
    def every_step_is_in_the_table(self) -> None:
        for row in self.rows():
            begun = self.was.get(row.pk, RequestState.QUEUED)
            assert row.state in LEADS_TO[begun]
            self.was[row.pk] = row.state

    @invariant()
    def nothing_is_forgotten(self) -> None:
        for row in self.rows():
            assert (row.state in ACTED_ON) <= (row.due_at is not None)
            assert (row.sealed_payload is None) == (row.state in TERMINAL)
            running = row.state == RequestState.SENDING
            assert row.attempts.count() == row.attempt - running

    @invariant()
    def a_token_is_used_once(self) -> None:
        tokens = list(Attempt.objects.values_list("jti", flat=True))
        assert len(tokens) == len(set(tokens))

    def teardown(self) -> None:
        """Everything ends, or waits for a person, once nothing fails any more."""
        for _ in range(60):
            if not any(row.state in ACTED_ON for row in self.rows()):
                break
            for number in range(len(self.rows())):
                self.act(number)
            self.clock.forward(100)
        assert [row for row in self.rows() if row.state in ACTED_ON] == []
        self.nobody_is_charged_twice()
        self.no_end_is_a_lie()


@pytest.fixture
def machine(acme: Simulation, clock: rows.Clock) -> type[Machine]:
    Machine.simulation, Machine.clock = acme, clock
    return Machine


def test_the_queue_holds_its_promises(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("fence", [True, False])
def test_a_slow_gateway_and_no_fence_make_an_end_a_lie(
    machine: type[Machine], monkeypatch: pytest.MonkeyPatch, fence: bool
) -> None:
    """The control: without the fence, what was called absent arrives after all."""
    mark = executing.mark

    def no_fence(*what: Any, now: datetime, **options: Any) -> dict[str, Any]:
        return mark(*what, now=now, **options) | {"fence_at": now}

    if not fence:
        monkeypatch.setattr(executing, "mark", no_fence)
    walk = machine()
    walk.enqueue("sale")
    walk.slow(0)
    walk.time_passes(20.0)
    walk.work("none", 0)
    walk.arrives()
    if fence:
        walk.no_end_is_a_lie()
        walk.teardown()
    else:
        with pytest.raises(AssertionError):
            walk.no_end_is_a_lie()
