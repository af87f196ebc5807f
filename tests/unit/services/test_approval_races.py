"""Of eight processes at once, on PostgreSQL, one uses an approval up and all share one request."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import connections
from django.utils import timezone

from django_cybs_jwt.models import Approval, Credential
from django_cybs_jwt.services import approvals
from tests.integration.processes import next_line
from tests.services import postgresql_as_default
from tests.unit.services import enrolment

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("postgresql", "cybs_ring"),
]

RACER: Final = Path(__file__).with_name("approval_racer.py")
ROOT: Final = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), postgresql_as_default():
        yield


@pytest.fixture
def key(transactional_db: None, cybs_ring: Any) -> Credential:
    return enrolment.shared_secret(enrolment.organization(), activate=False)


def race(mode: str, key: Credential, *, processes: int = 8) -> list[str]:
    """What each of the processes printed; all start from one line."""
    settings = connections["default"].settings_dict
    password = f":{settings['PASSWORD']}" if settings["PASSWORD"] else ""
    address = f"{settings['HOST']}:{settings['PORT'] or 5432}"
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": f"postgres://{settings['USER']}{password}@{address}/{settings['NAME']}",
        "PYTHONPATH": str(ROOT),
    }
    with ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(RACER), mode, str(key.pk)],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(processes)
        ]
        for racer in racers:
            assert next_line(racer) == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        return [racer.communicate(timeout=60)[0].strip() for racer in racers]


def test_one_approval__is_used_once_by_eight_processes(key: Credential) -> None:
    now = timezone.now()
    asked = approvals.request("export", key, actor="alice", now=now)
    approvals.approve(asked.pk, actor="bob", now=now)

    outcomes = race("use", key)

    assert sorted(outcomes) == ["refused"] * 7 + ["used"]
    assert Approval.objects.get().status == Approval.Status.USED


def test_two_approvals__are_used_twice_by_eight_processes(key: Credential) -> None:
    now = timezone.now()
    for requester in ("alice", "carol"):
        Approval.objects.create(
            credential=key,
            action="export",
            fingerprint=key.fingerprint,
            lock_version=key.lock_version,
            status=Approval.Status.GRANTED,
            requested_by=requester,
            requested_at=now,
            requester=requester,
            decided_by="bob",
            decider="bob",
            expires_at=now + approvals.LIFETIME,
        )

    assert sorted(race("use", key)) == ["refused"] * 6 + ["used"] * 2


def test_eight_processes_that_ask_at_once__share_one_request(key: Credential) -> None:
    outcomes = race("request", key)

    assert len(set(outcomes)) == 1
    assert [str(row.pk) for row in Approval.objects.all()] == outcomes[:1]
