"""Of eight processes at once, on PostgreSQL, one uses an approval up and all share one request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.utils import timezone

from django_cybs_jwt.models import Approval, Credential
from django_cybs_jwt.services import approvals
from tests.services import postgresql_as_default
from tests.unit.services import enrolment
from tests.unit.services.racing import race

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("postgresql", "cybs_ring"),
]

RACER: Final = Path(__file__).with_name("approval_racer.py")


@pytest.fixture(scope="module")
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), postgresql_as_default():
        yield


@pytest.fixture
def key(transactional_db: None, cybs_ring: Any) -> Credential:
    return enrolment.shared_secret(enrolment.organization(), activate=False)


def race_for(mode: str, key: Credential) -> list[str]:
    """What each of eight processes printed."""
    return race(RACER, [(mode, str(key.pk))] * 8)


def test_one_approval__is_used_once_by_eight_processes(key: Credential) -> None:
    now = timezone.now()
    asked = approvals.request("export", key, actor="alice", now=now)
    approvals.approve(asked.pk, actor="bob", now=now)

    outcomes = race_for("use", key)

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

    assert sorted(race_for("use", key)) == ["refused"] * 6 + ["used"] * 2


def test_eight_processes_that_ask_at_once__share_one_request(key: Credential) -> None:
    outcomes = race_for("request", key)

    assert len(set(outcomes)) == 1
    assert [str(row.pk) for row in Approval.objects.all()] == outcomes[:1]
