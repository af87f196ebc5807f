"""Several processes tick at once, on PostgreSQL: one row, one message."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.db.models import QuerySet

from django_cybs_jwt.models import AlertDelivery, AlertRecipient, ExpiryAlert
from django_cybs_jwt.services import alerts
from django_cybs_jwt.services.alerts import delivery, schedule
from django_cybs_jwt.signals import key_ends_soon
from tests.services import postgresql_as_default
from tests.unit.services import estate
from tests.unit.services.estate import DAY, NOW

pytestmark = pytest.mark.services

AT_ONCE = 6


@pytest.fixture(scope="module")
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), postgresql_as_default():
        yield


def tick_at_once(now: datetime) -> None:
    together = threading.Barrier(AT_ONCE)

    def tick() -> None:
        try:
            together.wait(60)
            alerts.raise_due(now)
            delivery.deliver(now)
        finally:
            connection.close()

    with ThreadPoolExecutor(AT_ONCE) as executor:
        for started in [executor.submit(tick) for _ in range(AT_ONCE)]:
            started.result()


@pytest.mark.usefixtures("postgresql", "transactional_db", "cybs_ring")
def test_six_at_once_raise_each_alert_once_and_send_one_message_each_time() -> None:
    for n in range(20):
        estate.key(estate.organization(f"mid{n}"), days=30)
    AlertRecipient.objects.create(channel="mail", address="a@example.com")

    for day in (0, 16, 23):
        tick_at_once(NOW + day * DAY)

    assert ExpiryAlert.objects.count() == 60
    assert alerts.listing().count() == 20
    told = [alert for message in mail.outbox for alert in message.body.split("\n")[:20]]
    assert len(told) == len(set(told))
    delivery.deliver(NOW + 24 * DAY)
    assert not AlertDelivery.objects.filter(sent_at=None, alert__resolved_at=None).exists()


@pytest.mark.usefixtures("postgresql", "transactional_db", "cybs_ring")
def test_processes_that_all_looked_before_one_wrote_leave_one_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estate.key(estate.organization("acme"), days=30)
    together, plan = threading.Barrier(AT_ONCE), schedule.plan

    def all_at_this_point(*arguments: Any) -> Any:
        planned = plan(*arguments)
        together.wait(60)
        return planned

    monkeypatch.setattr(schedule, "plan", all_at_this_point)
    tick_at_once(NOW)

    assert ExpiryAlert.objects.count() == 1


@pytest.mark.usefixtures("postgresql", "transactional_db", "cybs_ring")
def test_the_signal_is_one_recipient_however_many_find_it_missing_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estate.key(estate.organization("acme"), days=30)
    together, create = threading.Barrier(AT_ONCE), QuerySet.create
    heard: list[Any] = []

    def all_at_this_point(rows: Any, **columns: Any) -> Any:
        if rows.model is AlertRecipient:
            together.wait(60)
        return create(rows, **columns)

    def listen(**facts: Any) -> None:
        heard.append(facts["alert"])

    monkeypatch.setattr(QuerySet, "create", all_at_this_point)
    key_ends_soon.connect(listen)
    try:
        tick_at_once(NOW)
    finally:
        key_ends_soon.disconnect(listen)

    assert AlertRecipient.objects.count() == 1
    assert len(heard) == 1


@pytest.mark.usefixtures("postgresql", "transactional_db", "cybs_ring")
def test_of_processes_that_want_to_tell_the_same_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who claims waits there for the others: without a lock all would come."""
    estate.key(estate.organization("acme"), days=30)
    AlertRecipient.objects.create(channel="mail", address="a@example.com")
    alerts.raise_due(NOW)
    together, waits = threading.Barrier(2), delivery._waits

    def meet_another(*arguments: Any) -> bool:
        with suppress(threading.BrokenBarrierError):
            together.wait(timeout=0.5)
        return waits(*arguments)

    monkeypatch.setattr(delivery, "_waits", meet_another)
    tick_at_once(NOW)

    assert len(mail.outbox) == 1
