"""Prometheus counters come from rows that stay: they rise with what was done, and never fall."""

from __future__ import annotations

from typing import Any

import pytest

from django_cybs_jwt.services.queue import metrics, sweeping
from django_cybs_jwt.testing.simulation import HOST, Simulation
from tests.unit.services import prometheus
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import Clock
from tests.unit.services.queue.test_late_answers import given_up

pytestmark = pytest.mark.django_db(transaction=True)

Counted = dict[tuple[Any, ...], float]


def counted(clock: Clock) -> Counted:
    """Every counter's value, by its name and labels."""
    samples = prometheus.read_samples(metrics.render(clock.now()))
    return {
        (name.removeprefix("cybs_jwt_queue_"), *labels.values()): value
        for name, vector in samples.items()
        if name.endswith("_total")
        for labels, value in vector
    }


def test_tries_retries_ends_and_doubts_that_were_cleared_up_are_counted(
    acme: Simulation, clock: Clock
) -> None:
    rows.work(rows.enqueue())
    rows.fail(acme, "status", status=429, retry_after=1)
    again = rows.work(rows.enqueue())
    clock.forward(60)
    rows.work(again)
    rows.fail(acme, "reset_after")
    doubtful = rows.work(rows.enqueue())
    clock.forward(60)
    rows.work(doubtful)
    assert counted(clock) == {
        ("attempts_total", "answered"): 2,
        ("attempts_total", "maybe"): 1,
        ("attempts_total", "not-processed"): 1,
        ("retries_total",): 1,
        ("ended_total", HOST, "ANSWERED", "AUTHORIZED", "false"): 2,
        ("ended_total", HOST, "ANSWERED", "TRANSMITTED", "true"): 1,
    }


def test_no_counter_falls_when_a_worker_that_was_given_up_is_answered(
    acme: Simulation, clock: Clock
) -> None:
    """Its attempt was lost until then: Prometheus would take a fall for a restart from 0."""
    arrive = given_up(acme, clock)
    before = counted(clock)
    arrive()
    after = counted(clock)
    assert all(after[name] >= value for name, value in before.items())
    assert after["attempts_total", "answered"] == 1


def test_what_was_shredded_still_counts(acme: Simulation, clock: Clock) -> None:
    rows.work(rows.enqueue())
    before = counted(clock)
    clock.forward(400 * 86_400)
    assert sweeping.shred(clock.now()) == 1
    assert counted(clock) == before


def test_the_text_says_that_they_are_counters(acme: Simulation, clock: Clock) -> None:
    text = metrics.render(clock.now())
    assert "# TYPE cybs_jwt_queue_ended_total counter\n" in text
    assert "# TYPE cybs_jwt_queue_requests gauge\n" in text
