"""What a person may do with a request, and that the audit trail says so."""

from __future__ import annotations

from typing import Any

import pytest

from django_cybs_jwt.exceptions import QueueError, WrongState
from django_cybs_jwt.models import KeyEvent, OutboundRequest
from django_cybs_jwt.services import queue_staff
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.queue import rows
from tests.unit.queue.rows import Clock


def options(clock: Clock, **more: Any) -> dict[str, Any]:
    return {"actor": "ann", "now": clock.now(), "reason": "asked by the merchant"} | more


def parked(simulation: Simulation, clock: Clock, settings: Any, kind: str) -> OutboundRequest:
    manual = {"RESOLVE": {"POST /pts/v2/payments": "manual"}}
    settings.CYBS_JWT = {**settings.CYBS_JWT, **manual}
    row = rows.enqueue()
    rows.fail(simulation, kind)
    rows.work(row)
    clock.forward(11)
    row = rows.work(row)
    assert row.state == "PARKED"
    return row


def unsent(simulation: Simulation) -> OutboundRequest:
    row = rows.enqueue()
    rows.fail(simulation, "redirect")
    row = rows.work(row)
    assert (row.state, row.maybe_sent) == ("PARKED", False)
    return row


def test_a_queued_request_is_cancelled_and_never_sent(acme: Simulation, clock: Clock) -> None:
    row = rows.enqueue()
    assert queue_staff.cancel(row.pk, **options(clock)).state == "CANCELLED"
    assert rows.work(row).state == "CANCELLED"
    assert acme.ledger == []
    event = KeyEvent.objects.latest("seq")
    assert (event.action, event.actor) == ("request-cancel", "ann")
    assert (event.from_state, event.to_state) == ("QUEUED", "CANCELLED")
    assert str(row.pk) in event.reason


def test_what_may_have_been_processed_is_not_cancelled_and_not_resumed(
    acme: Simulation, clock: Clock, settings: Any
) -> None:
    row = parked(acme, clock, settings, "reset_after")
    for act in (queue_staff.cancel, queue_staff.resume):
        with pytest.raises(WrongState, match="may have been processed"):
            act(row.pk, **options(clock))


def test_forced_it_is_refused_by_the_gateway_as_its_twin(
    acme: Simulation, clock: Clock, settings: Any
) -> None:
    row = parked(acme, clock, settings, "reset_after")
    queue_staff.resume(row.pk, **options(clock, force=True))
    row = rows.work(row)
    assert (row.state, row.reason) == ("IN_DOUBT", "duplicate")
    assert len(rows.money(acme)) == 1


def test_what_was_surely_not_processed_is_resumed(acme: Simulation, clock: Clock) -> None:
    row = unsent(acme)
    queue_staff.resume(row.pk, **options(clock))
    assert rows.work(row).state == "ANSWERED"


@pytest.mark.parametrize(("kind", "end"), [("reset_after", "ANSWERED"), ("reset_before", "ABSENT")])
def test_a_parked_request_is_reconciled(
    acme: Simulation, clock: Clock, settings: Any, kind: str, end: str
) -> None:
    row = parked(acme, clock, settings, kind)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESOLVE": {}}
    clock.forward(300)
    queue_staff.reconcile(row.pk, **options(clock))
    assert rows.work(row).state == end


def test_what_was_never_sent_cannot_be_looked_for(acme: Simulation, clock: Clock) -> None:
    row = rows.enqueue()
    OutboundRequest.objects.filter(pk=row.pk).update(state="PARKED", due_at=None)
    with pytest.raises(WrongState, match="never sent"):
        queue_staff.reconcile(row.pk, **options(clock))


def test_a_person_settles_what_only_a_person_can_know(
    acme: Simulation, clock: Clock, settings: Any
) -> None:
    row = parked(acme, clock, settings, "reset_after")
    with pytest.raises(QueueError, match="one word"):
        queue_staff.settle(row.pk, **options(clock, outcome="4111 1111"))
    settled = queue_staff.settle(row.pk, **options(clock, outcome="AUTHORIZED"))
    assert (settled.state, settled.outcome, settled.sealed_payload) == (
        "ANSWERED", "AUTHORIZED", None
    )  # fmt: skip


def test_all_but_a_cancellation_take_a_reason(acme: Simulation, clock: Clock) -> None:
    row = unsent(acme)
    with pytest.raises(QueueError, match="reason"):
        queue_staff.resume(row.pk, **options(clock, reason=""))


def test_an_answered_request_stays_as_it_is(acme: Simulation, clock: Clock) -> None:
    row = rows.work(rows.enqueue())
    for act in (queue_staff.cancel, queue_staff.resume, queue_staff.reconcile):
        with pytest.raises(WrongState):
            act(row.pk, **options(clock))
