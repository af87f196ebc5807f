"""Rows of an older release, as a migration leaves them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

APP: Final = "cybs_jwt"
PEOPLE: Final = "0013_people_behind_approvals"

pytestmark = pytest.mark.django_db(transaction=True)


def migrate_to(*targets: tuple[str, str]) -> Any:
    """The models of that time."""
    executor = MigrationExecutor(connection)
    executor.migrate(list(targets))
    return MigrationExecutor(connection).loader.project_state(list(targets)).apps


@pytest.fixture
def before() -> Iterator[Any]:
    """The models before approvals knew people; afterwards all is as it was."""
    migration = importlib.import_module(f"django_cybs_jwt.migrations.{PEOPLE}").Migration
    yield migrate_to(*migration.dependencies)
    migrate_to(*MigrationExecutor(connection).loader.graph.leaf_nodes(APP))


def stored_key(apps: Any) -> Any:
    owner = apps.get_model(APP, "Organization").objects.create(
        org_id="acme", kind="merchant", host="apitest.cybersource.com", live=False
    )
    slot = apps.get_model(APP, "KeySlot").objects.create(organization=owner, purpose="signing")
    keys = apps.get_model(APP, "Credential").objects
    return keys.create(slot=slot, organization=owner, kind="shared_secret")


def test_what_one_person_granted_to_himself_under_two_names_is_taken_back(before: Any) -> None:
    key, now = stored_key(before), timezone.now()

    def approval(status: str, asked: str, decided: str, **columns: Any) -> Any:
        row = before.get_model(APP, "Approval").objects.create(
            credential=key,
            action="destroy",
            lock_version=0,
            status=status,
            requested_by=asked,
            requested_at=now,
            decided_by=decided,
            expires_at=now + timedelta(hours=1),
            **columns,
        )
        return row.pk

    known = {
        approval("REQUESTED", "os:Alice", ""): ("REQUESTED", "alice", ""),
        approval("GRANTED", "os:alice", "bob"): ("GRANTED", "alice", "bob"),
        approval("GRANTED", "os:alice", "alice"): ("REJECTED", "alice", "alice"),
        approval("USED", "os:alice", "alice"): ("USED", "os:alice", "alice"),
        approval("GRANTED", "alice", "alice", break_glass=True): ("GRANTED", "alice", "alice"),
    }

    approvals = migrate_to((APP, PEOPLE)).get_model(APP, "Approval").objects

    rows = approvals.values_list("pk", "status", "requester", "decider")
    assert {pk: tuple(facts) for pk, *facts in rows} == known
