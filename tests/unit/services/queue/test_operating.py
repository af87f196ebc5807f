"""What a person decides: with a reason, audited, and never so that money moves twice by mistake."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from django_cybs_jwt.exceptions import CybsError, QueueError, WrongState
from django_cybs_jwt.models import KeyEvent, OutboundRequest
from django_cybs_jwt.services.doorbell import RESOLVE
from django_cybs_jwt.services.queue import breakers, operating, parking
from django_cybs_jwt.services.queue.states import Step, move
from django_cybs_jwt.testing.simulation import HOST, Simulation
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import Clock

pytestmark = pytest.mark.usefixtures("fresh_chain")

Verb = Callable[..., None]
VERBS = [operating.retry, operating.cancel, operating.reconcile, operating.settle]
verbs = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
FENCE = 120 + 130 + 15


def decide(verb: Verb, row: OutboundRequest, clock: Clock, **options: Any) -> OutboundRequest:
    options = {"actor": "mara", "now": clock.now(), "reason": "asked the gateway"} | options
    if verb is operating.settle:
        options = {"outcome": "AUTHORIZED"} | options
    verb(row, **options)
    return OutboundRequest.objects.select_related("organization").get(pk=row.pk)


def parked_unsent(simulation: Simulation) -> OutboundRequest:
    """The gateway's configuration was at fault: refused before anything was processed."""
    row = rows.enqueue()
    rows.fail(simulation, "redirect")
    row = rows.work(row)
    assert (row.state, row.reason, row.maybe_sent) == ("PARKED", "redirected", False)
    return row


def parked_in_doubt(
    simulation: Simulation, clock: Clock, kind: str, **options: Any
) -> OutboundRequest:
    """The gateway's search was away until the resolver gave up."""
    row = rows.enqueue(**options)
    rows.fail(simulation, kind)
    row = rows.work(row)
    rows.fail(simulation, "status", status=503, times=1000)
    for _ in range(60):
        clock.forward(100)
        row = rows.work(row)
    simulation.faults.clear()
    assert (row.state, row.maybe_sent) == ("PARKED", True)
    return row


def parked_by_policy(simulation: Simulation, clock: Clock) -> OutboundRequest:
    """Nobody can look this operation up by itself."""
    row = rows.enqueue("/bavs/v1/account-validations")
    rows.fail(simulation, "reset_after")
    rows.work(row)
    clock.forward(11)
    row = rows.work(row)
    assert (row.state, row.reason) == ("PARKED", "in_doubt")
    return row


def said() -> list[tuple[str, ...]]:
    events = KeyEvent.objects.filter(actor="mara").order_by("seq")
    return list(events.values_list("action", "outcome", "from_state", "to_state", "organization"))


def test_retry_sends_it_again_with_all_its_tries(acme: Simulation, clock: Clock) -> None:
    row = parked_unsent(acme)
    OutboundRequest.objects.filter(pk=row.pk).update(failures=29)
    row = decide(operating.retry, row, clock)
    assert (row.state, row.failures) == ("QUEUED", 0)
    row = rows.work(row)
    assert (row.state, row.outcome, len(acme.ledger)) == ("ANSWERED", "AUTHORIZED", 1)
    assert said() == [("retry-request", "done", "PARKED", "QUEUED", f"acme@{HOST}")]
    assert str(row.pk) in KeyEvent.objects.get(actor="mara").reason


def test_what_may_have_been_processed_is_not_sent_again_or_called_unsent(
    acme: Simulation, clock: Clock
) -> None:
    row = parked_in_doubt(acme, clock, "reset_after")
    for verb in (operating.retry, operating.cancel):
        with pytest.raises(WrongState, match="Reconcile it"):
            decide(verb, row, clock)
    row.refresh_from_db()
    assert (row.state, len(rows.money(acme))) == ("PARKED", 1)
    assert [event[:2] for event in said()] == [
        ("retry-request", "denied"),
        ("cancel-request", "denied"),
    ]


@pytest.mark.parametrize("refused_for_now", [False, True])
def test_even_forced_the_gateway_refuses_the_twin(
    acme: Simulation, clock: Clock, refused_for_now: bool
) -> None:
    """I8: also after the processor was away, as the transactionId stays."""
    row = parked_in_doubt(acme, clock, "reset_after")
    row = decide(operating.retry, row, clock, force=True)
    if refused_for_now:
        rows.fail(acme, "status", status=400, reason="PROCESSOR_UNAVAILABLE")
        row = rows.work(row)
        clock.forward(400)
    row = rows.work(row)
    assert (row.state, row.reason, len(rows.money(acme))) == ("IN_DOUBT", "duplicate", 1)


def test_after_its_deadline_not_even_force_sends_it(acme: Simulation, clock: Clock) -> None:
    row = parked_in_doubt(acme, clock, "reset_after", deadline=clock.now() + timedelta(hours=1))
    with pytest.raises(WrongState, match="deadline has passed"):
        decide(operating.retry, row, clock, force=True)
    assert decide(operating.settle, row, clock).state == "ANSWERED"


def test_a_void_that_may_have_voided_is_cancelled_by_force_only(
    acme: Simulation, clock: Clock
) -> None:
    sale = rows.work(rows.enqueue(json=rows.payment(**rows.SALE)))
    row = rows.enqueue(f"/pts/v2/payments/{sale.gateway_id}/voids", json={"x": "y"})
    rows.fail(acme, "reset_after")
    row = rows.work(row)
    assert move(row, Step.REPEAT, now=clock.now())
    with pytest.raises(WrongState, match="undoes nothing"):
        decide(operating.cancel, row, clock)
    assert decide(operating.cancel, row, clock, force=True).state == "CANCELLED"


def test_forced_it_can_be_cancelled(acme: Simulation, clock: Clock) -> None:
    row = parked_in_doubt(acme, clock, "reset_before")
    row = decide(operating.cancel, row, clock, force=True)
    assert (row.state, row.sealed_payload) == ("CANCELLED", None)


@pytest.mark.parametrize(
    ("kind", "state", "outcome"),
    [("reset_after", "ANSWERED", "TRANSMITTED"), ("reset_before", "ABSENT", "")],
)
def test_reconcile_finds_what_the_search_knows_by_now(
    acme: Simulation, clock: Clock, kind: str, state: str, outcome: str
) -> None:
    row = decide(operating.reconcile, parked_in_doubt(acme, clock, kind), clock)
    assert (row.state, row.looks) == ("IN_DOUBT", 0)
    row = rows.work(row)
    assert (row.state, row.outcome) == (state, outcome)


rung: list[tuple[UUID, str]] = []


def doorbell(request_id: UUID, whom: str) -> None:
    rung.append((request_id, whom))


def test_who_resolves_is_rung_for_what_is_to_be_looked_up_and_its_host_for_what_is_sent_again(
    acme: Simulation,
    clock: Clock,
    settings: Any,
    django_capture_on_commit_callbacks: Any,
) -> None:
    doubtful, unsent = parked_in_doubt(acme, clock, "reset_after"), parked_unsent(acme)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "DOORBELL": f"{__name__}.doorbell"}
    rung.clear()
    with django_capture_on_commit_callbacks(execute=True):
        decide(operating.reconcile, doubtful, clock)
        decide(operating.retry, unsent, clock)
    assert rung == [(doubtful.pk, RESOLVE), (unsent.pk, HOST)]


def test_what_was_not_sent_has_nothing_to_reconcile(acme: Simulation, clock: Clock) -> None:
    with pytest.raises(WrongState, match="Retry or cancel"):
        decide(operating.reconcile, parked_unsent(acme), clock)


def test_what_is_repeated_is_retried_and_not_reconciled(acme: Simulation, clock: Clock) -> None:
    """A void that no try was answered: there is nothing to look up, and a second does no harm."""
    paid = rows.work(rows.enqueue(json=rows.payment(**rows.SALE)))
    row = rows.enqueue(f"{rows.PAYMENTS}/{paid.gateway_id}/voids", json=rows.payment())
    rows.fail(acme, "status", status=502, times=1000)
    while row.state != "PARKED":
        clock.forward(900)
        row = rows.work(row)
    acme.faults.clear()
    breakers.forget()
    assert parking.advice(row).startswith("It does no harm a second time")
    with pytest.raises(WrongState, match="Retry it"):
        decide(operating.reconcile, row, clock)
    assert rows.work(decide(operating.retry, row, clock)).outcome == "VOIDED"


@pytest.mark.parametrize("verb", [operating.cancel, operating.reconcile])
def test_what_is_repeated_and_past_its_deadline_is_settled(
    acme: Simulation, clock: Clock, verb: Verb
) -> None:
    soon = clock.now() + timedelta(seconds=60)
    row = rows.enqueue(f"{rows.PAYMENTS}/1/voids", json=rows.payment(), deadline=soon)
    rows.fail(acme, "reset_before")
    rows.work(row)
    clock.forward(61)
    while row.state != "PARKED":
        row = rows.work(row)
    assert row.reason == "deadline_passed"
    with pytest.raises(WrongState, match="settle it, or cancel it by force"):
        decide(verb, row, clock)
    assert decide(operating.settle, row, clock, outcome="VOIDED").state == "ANSWERED"


def test_what_cannot_be_looked_up_is_settled_by_hand(acme: Simulation, clock: Clock) -> None:
    row = parked_by_policy(acme, clock)
    with pytest.raises(WrongState, match="cannot be looked up"):
        decide(operating.reconcile, row, clock)
    row = decide(operating.settle, row, clock, outcome="COMPLETED", gateway_id="7" * 22)
    assert (row.state, row.outcome, row.gateway_id, row.found) == (
        "ANSWERED", "COMPLETED", "7" * 22, True
    )  # fmt: skip


@pytest.mark.parametrize("outcome", ["", "authorized", "4111111111111111", "A B", "A\n", "Ä"])
def test_an_outcome_is_a_word_of_the_gateway(acme: Simulation, clock: Clock, outcome: str) -> None:
    row = parked_unsent(acme)
    with pytest.raises(WrongState, match="in capitals"):
        decide(operating.settle, row, clock, outcome=outcome)


def test_a_queued_request_is_cancelled_and_never_sent(acme: Simulation, clock: Clock) -> None:
    row = decide(operating.cancel, rows.enqueue(), clock)
    assert rows.work(row).state == "CANCELLED"
    assert acme.ledger == []


@verbs
def test_each_takes_a_reason(acme: Simulation, clock: Clock, verb: Verb) -> None:
    row = parked_unsent(acme)
    with pytest.raises(QueueError, match="reason"):
        decide(verb, row, clock, reason=" ")
    row.refresh_from_db()
    assert row.state == "PARKED"


@verbs
def test_an_ended_request_stays_as_it_is(acme: Simulation, clock: Clock, verb: Verb) -> None:
    row = rows.work(rows.enqueue())
    with pytest.raises(WrongState, match="is ANSWERED"):
        decide(verb, row, clock)
    assert [event[1] for event in said()] == ["denied"]


def test_who_comes_second_is_refused(acme: Simulation, clock: Clock) -> None:
    row = parked_unsent(acme)
    twin = operating.find(str(row.pk))
    assert twin is not None
    decide(operating.cancel, row, clock)
    with pytest.raises(CybsError, match="moved on"):
        decide(operating.retry, twin, clock)
    twin.refresh_from_db()
    assert twin.state == "CANCELLED"
    assert [event[:2] for event in said()] == [
        ("cancel-request", "done"),
        ("retry-request", "denied"),
    ]
