"""Offboarding waits for a change of a key that is under way, on PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from django_cybs_jwt.models import Credential, KeyEvent, State
from django_cybs_jwt.services import lifecycle, offboarding
from django_cybs_jwt.services.lifecycle import Action
from tests.services import postgresql_as_default
from tests.unit.services import enrolment

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("postgresql", "cybs_ring"),
]


@pytest.fixture(scope="module")
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), postgresql_as_default():
        yield


def activate_slowly(key: Credential, under_way: threading.Event) -> None:
    try:
        with transaction.atomic():
            row = lifecycle.locked(key.pk)
            lifecycle.move(row, Action.ACTIVATE, actor="slow", now=timezone.now(), reason="first")
            under_way.set()
            until_somebody_waits()
    finally:
        under_way.set()
        connection.close()


def until_somebody_waits() -> None:
    """Until PostgreSQL says that a session of this database waits for a lock."""
    deadline = time.monotonic() + 30
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError("nobody waited for the activation")


def test_activation_under_way__is_waited_for_and_its_outcome_is_ended(
    transactional_db: None, cybs_ring: Any
) -> None:
    key = enrolment.shared_secret(enrolment.organization(), activate=False)
    under_way = threading.Event()
    thread = threading.Thread(target=activate_slowly, args=(key, under_way))
    thread.start()
    assert under_way.wait(30)

    offboarding.offboard("acme", actor="alice", now=timezone.now(), reason="over")
    thread.join(30)

    told = KeyEvent.objects.filter(credential=key.pk, outcome="done").order_by("seq")
    assert list(told.values_list("action", "from_state", "to_state")) == [
        ("import", "", "STAGED"),
        ("activate", "STAGED", "ACTIVE"),
        ("retire", "ACTIVE", "RETIRED"),
        ("destroy", "RETIRED", "DESTROYED"),
    ]
    assert Credential.objects.get(pk=key.pk).state == State.DESTROYED
