"""Whatever happens, in whatever order: nobody is charged twice, nothing is lost, no end is a lie.

Two workers, a sweeper, resolvers that overtake each other and a gateway whose search lags, with a
crash after the claim or after the answer, a database that forgets, people who decide, answers that
come late, and time that passes; hypothesis looks for the order that breaks it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_cybs_jwt import cybs
from django_cybs_jwt.client import Parcel, Reply
from django_cybs_jwt.exceptions import OutcomeUnknown
from django_cybs_jwt.models import ACTED_ON, Attempt, OutboundRequest, RequestState
from django_cybs_jwt.services.queue import (
    breakers,
    executing,
    gateway_lookup,
    operating,
    retrying,
    sweeping,
    working,
)
from django_cybs_jwt.services.queue.settling import settle
from django_cybs_jwt.services.queue.states import TABLE, TERMINAL, UNDOING, Step, move
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.queue import rows

TOKEN_LIVES = 115.0  # seconds: 120, back-dated by 5
FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "reset_before": {},
    "reset_after": {},
    "truncate": {},
    "garbage": {},
    "page": {},
    "broken_jwe": {},
    "status 429": {"status": 429},
    "status 401": {"status": 401},
    "status 400 away": {"status": 400, "reason": "PROCESSOR_UNAVAILABLE"},
    "status 400 twin": {"status": 400, "reason": "DUPLICATE_REQUEST"},
    "status 502": {"status": 502},
    "status 502 processed": {"status": 502, "processed": True},
    "status 201 processed": {"status": 201, "processed": True},
    "status 201 undecided": {"status": 201, "processed": True, "flag": "ETIMEOUT"},
    "status 201 held": {"status": 201, "processed": True, "flag": "DAVSNO"},
    "status 201": {"status": 201},
    # Of the call that undoes.
    "reset_before void": {"operation": "void"},
    "reset_after void": {"operation": "void"},
    "reset_after reversal": {"operation": "reversal"},
    "status 400 void": {"status": 400, "reason": "NOT_VOIDABLE", "operation": "void"},
    "status 400 reversal": {"status": 400, "reason": "MISSING_FIELD", "operation": "reversal"},
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
    policy: str

    def __init__(self) -> None:
        super().__init__()
        OutboundRequest.objects.all().delete()
        breakers.forget()
        retrying.budget._tokens.clear()
        self.simulation.faults.clear()
        self.simulation.gateway.ledger.index_lag = 0.0
        self.before = len(self.simulation.ledger)
        self.orders: dict[str, dict[str, Any]] = {}
        self.forgotten: set[str] = set()
        self.was: dict[Any, str] = {}
        self.under_way: list[tuple[OutboundRequest, Parcel, datetime]] = []
        self.held: list[tuple[OutboundRequest, Parcel, datetime]] = []
        self.answered: list[tuple[OutboundRequest, Parcel, Reply]] = []

    def rows(self) -> list[OutboundRequest]:
        return list(OutboundRequest.objects.select_related("organization").order_by("created_at"))

    @precondition(lambda self: len(self.rows()) < 3)
    @rule(kind=st.sampled_from(sorted(KINDS)))
    def enqueue(self, kind: str) -> None:
        method, body = KINDS[kind]
        path = rows.PAYMENTS if method == "POST" else "/tss/v2/transactions/1"
        document = None if body is None else rows.payment(**body)
        key = f"key-{next(rows._numbers)}"
        if document is not None:
            self.orders[key] = document
        cybs.enqueue("acme", method, path, json=document, idempotency_key=key)

    @precondition(lambda self: any(row.idempotency_key in self.orders for row in self.rows()))
    @rule(which=st.integers(0, 2))
    def forget(self, which: int) -> None:
        """A failover loses the row, and its caller makes it again."""
        row = self.rows()[which % len(self.rows())]
        order = self.orders.get(row.idempotency_key)
        if order is None or row.state == RequestState.SENDING:
            return
        row.delete()
        self.forgotten.add(row.idempotency_key)
        for waiting in (self.under_way, self.held, self.answered):
            waiting[:] = [each for each in waiting if each[0].pk != row.pk]
        cybs.enqueue("acme", "POST", rows.PAYMENTS, json=order, idempotency_key=row.idempotency_key)

    @precondition(lambda self: self.rows())
    @rule(fault=st.sampled_from(sorted(FAULTS)), which=st.integers(0, 2))
    def work(self, fault: str, which: int) -> None:
        self.inject(fault)
        self.act(which)

    @precondition(lambda self: self.rows())
    @rule(which=st.integers(0, 2), answered=st.sampled_from(["no", "lost", "late"]))
    def crash(self, which: int, answered: str) -> None:
        """Its worker ends after the claim, or with the answer in hand; or it only stands still."""
        row = self.rows()[which % len(self.rows())]
        if row.state != RequestState.QUEUED or row.due_at > self.clock.now():
            return
        parcel = executing.take(row, now=self.clock.now())
        if parcel is None:
            return
        if answered == "no":
            self.held.append((row, parcel, self.clock.now()))
            return
        with executing.client_of(row) as http:
            reply = Reply.of(http.dispatch(parcel), received_at=timezone.now())
        if answered == "late":
            self.answered.append((row, parcel, reply))

    @precondition(lambda self: self.answered)
    @rule()
    def answer_late(self) -> None:
        """A worker that had stood still with the answer in hand writes it down."""
        row, parcel, reply = self.answered.pop()
        settle(row, executing.of_reply(row, parcel, reply, started=0.0))

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
        if row.state == RequestState.QUEUED and not operating.may_have_worked(row):
            move(row, Step.CANCEL, now=self.clock.now())

    @precondition(lambda self: self.parked())
    @rule(step=st.sampled_from([Step.RESUME, Step.RECONCILE]))
    def decide(self, step: Step) -> None:
        """A person reconciles it, or forces it back into the queue."""
        row = self.parked()[0]
        kept = UNDOING if (step, row.reason) == (Step.RECONCILE, UNDOING) else ""
        move(row, step, now=self.clock.now(), looks=0, failures=0, reason=kept)

    @precondition(lambda self: self.policy != "search")
    @rule(lag=st.sampled_from([0.0, 1e9]))
    def index(self, lag: float) -> None:
        """The search falls behind, or catches up. Who only searches has chosen to believe it."""
        self.simulation.gateway.ledger.index_lag = lag

    @precondition(lambda self: self.rows())
    @rule(which=st.integers(0, 2), catches_up=st.booleans())
    def overtake(self, which: int, catches_up: bool) -> None:
        """A look that searches for so long that another worker looks meanwhile."""
        row, search = self.rows()[which % len(self.rows())], gateway_lookup._search
        overtaken: list[bool] = []

        def slow(*told: Any) -> Any:
            found = search(*told)
            if not overtaken:
                overtaken.append(True)
                self.clock.forward(301)
                if catches_up:
                    self.simulation.gateway.ledger.index_lag = 0.0
                working.work(row.pk)
            return found

        gateway_lookup._search = slow
        try:
            self.act(which)
        finally:
            gateway_lookup._search = search

    def parked(self) -> list[OutboundRequest]:
        """Those that a person can do something about: money that may have moved."""
        ours = OutboundRequest.objects.filter(state=RequestState.PARKED, safety="GUARDED")
        return list(ours.select_related("organization").order_by("created_at"))

    def inject(self, fault: str) -> None:
        kind, _, _ = fault.partition(" ")
        if kind != "none":
            rows.fail(self.simulation, kind, **FAULTS[fault])

    def act(self, which: int) -> None:
        row = self.rows()[which % len(self.rows())]
        working.work(row.pk)
        self.simulation.faults.clear()

    def charges(self, key: str) -> list[Any]:
        """What stands for that order, under whatever transactionId."""
        ledger = self.simulation.gateway.ledger
        code = self.orders[key]["clientReferenceInformation"]["code"]
        mine = [
            entry
            for entry in ledger.entries()[self.before :]
            if entry.operation in ("authorization", "sale") and entry.code == code
        ]
        return [entry for entry in mine if not ledger.is_undone(entry)]

    @invariant()
    def nobody_is_charged_twice(self) -> None:
        assert all(len(self.charges(key)) <= 1 for key in self.orders)

    @invariant()
    def no_end_is_a_lie(self) -> None:
        for row in self.rows():
            charged = row.idempotency_key in self.orders and self.charges(row.idempotency_key)
            charged = bool(charged)
            unsent = row.state == RequestState.CANCELLED and row.idempotency_key in self.forgotten
            if row.state in TERMINAL - {RequestState.ANSWERED} and not unsent:
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
        self.simulation.gateway.ledger.index_lag = 0.0
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
    Machine.simulation, Machine.clock, Machine.policy = acme, clock, "void"
    return Machine


@pytest.mark.parametrize("policy", ["void", "search", "resend"])
def test_the_queue_holds_its_promises(machine: type[Machine], settings: Any, policy: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESOLVE": {"POST /pts/v2/payments": policy}}
    machine.policy = policy
    run_state_machine_as_test(
        machine,
        settings=effort(
            max_examples=25 if policy == "void" else 12,
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
