"""The table of steps is what the documents draw, and every step is a compare-and-swap."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

import django_cybs_jwt
from django_cybs_jwt.exceptions import WrongState
from django_cybs_jwt.models import ACTED_ON, OPEN, OutboundRequest, RequestState, words
from django_cybs_jwt.services.queue.states import TABLE, TERMINAL, Step, move
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.queue import rows

PAGE = (Path(django_cybs_jwt.__file__).parent.parent / "docs/queue.md").read_text()
NOW = timezone.now()


def test_diagram__is_the_table() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+): ([\w-]+)$", PAGE, re.M))
    table = {
        (source, transition.target, step)
        for step, transition in TABLE.items()
        for source in transition.sources
    }
    begin = set(re.findall(r"^    \[\*\] --> (\w+): (\w+)$", PAGE, re.M))
    end = set(re.findall(r"^    (\w+) --> \[\*\]$", PAGE, re.M))
    assert {(source, target, step) for source, target, step in drawn} == table
    assert begin == {("QUEUED", "enqueue"), ("SENDING", "submit")}
    assert end == TERMINAL


def test_page__explains_every_state() -> None:
    assert set(re.findall(r"^\| ([A-Z_]+) \|", PAGE, re.M)) == set(RequestState)


def test_nothing_leads_out_of_an_end_and_every_end_is_reached() -> None:
    sources = set().union(*(transition.sources for transition in TABLE.values()))
    assert sources == set(OPEN)
    assert {transition.target for transition in TABLE.values()} >= TERMINAL


def test_only_a_proof_leads_from_sending_back_to_the_queue() -> None:
    """I3."""
    steps = {
        step
        for step, transition in TABLE.items()
        if RequestState.SENDING in transition.sources and transition.target == RequestState.QUEUED
    }
    assert steps == {Step.RETRY}


@pytest.mark.parametrize("step", Step)
def test_a_step_from_a_state_that_the_table_does_not_have_is_refused(step: Step) -> None:
    for state in set(RequestState) - TABLE[step].sources:
        with pytest.raises(WrongState, match=f"{words.action(step)!r} is possible from"):
            move(OutboundRequest(state=state), step, now=NOW)


def test_a_step_on_a_row_that_was_changed_since_it_was_read_is_not_taken(
    acme: Simulation,
) -> None:
    """I2."""
    row = rows.enqueue()
    twin = OutboundRequest.objects.get(pk=row.pk)
    assert move(row, Step.CANCEL, now=NOW)
    assert not move(twin, Step.EXPIRE, now=NOW)
    assert twin.state == RequestState.QUEUED
    assert OutboundRequest.objects.get(pk=row.pk).state == RequestState.CANCELLED


def test_a_step_of_an_attempt_that_is_over_is_not_taken(acme: Simulation) -> None:
    row = rows.enqueue()
    OutboundRequest.objects.filter(pk=row.pk).update(attempt=1)
    assert not move(row, Step.POSTPONE, now=NOW)


def test_an_end_overwrites_the_payload(acme: Simulation) -> None:
    """I7."""
    row = rows.enqueue()
    move(row, Step.CANCEL, now=NOW)
    assert row.sealed_payload is None
    row.refresh_from_db()
    assert (row.sealed_payload, row.finished_at) == (None, NOW)


BROKEN = {
    "looked at by nobody": {"due_at": None},
    "without a payload": {"sealed_payload": None},
    "sending without a token": {"state": "SENDING"},
    "parked without a payload": {"state": "PARKED", "sealed_payload": None},
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_database_refuses_a_row_that_would_be_lost(acme: Simulation, name: str) -> None:
    """I4."""
    row = rows.enqueue()
    with pytest.raises(IntegrityError), transaction.atomic():
        OutboundRequest.objects.filter(pk=row.pk).update(**BROKEN[name])


def test_every_state_that_is_not_an_end_is_due_some_time_or_waits_for_a_person() -> None:
    """I4."""
    assert set(RequestState) - TERMINAL == {*ACTED_ON, RequestState.PARKED}


def test_a_row_names_itself_without_its_payload(acme: Simulation) -> None:
    row = rows.enqueue(key="order-1", deadline=NOW + timedelta(days=1))
    assert str(row) == "POST /pts/v2/payments, order-1, Queued"
