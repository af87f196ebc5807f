"""Requests of before 0011: a transactionId that two of a merchant's share is left to the older."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

BEFORE = [("cybs_jwt", "0010_key_standing")]
AFTER = [("cybs_jwt", "0011_one_request_per_transaction")]
THEN = datetime(2026, 11, 1, tzinfo=UTC)


def migrate(target: list[tuple[str, str]]) -> Any:
    executor = MigrationExecutor(connection)
    executor.migrate(target)
    return MigrationExecutor(connection).loader.project_state(target).apps


@pytest.fixture
def old(transactional_db: None) -> Iterator[Any]:
    """The models of before; the newest ones are back afterwards."""
    yield migrate(BEFORE)
    migrate(MigrationExecutor(connection).loader.graph.leaf_nodes("cybs_jwt"))


def test_each_transaction_id_stays_with_the_first_that_named_it(old: Any) -> None:
    organizations, requests = (
        old.get_model("cybs_jwt", name).objects for name in ("Organization", "OutboundRequest")
    )
    acme, other = (
        organizations.create(org_id=name, host="apitest.cybersource.com") for name in ("a", "b")
    )
    kept = [(acme, "mine", 2), (acme, "mine", 1), (other, "mine", 3), (acme, "", 4), (acme, "", 5)]
    for number, (owner, named, day) in enumerate(kept):
        requests.create(
            organization=owner,
            idempotency_key=f"order-{number}",
            transaction_id=named,
            state="ANSWERED",
            created_at=THEN + timedelta(days=day),
        )
    new = migrate(AFTER)
    rows = new.get_model("cybs_jwt", "OutboundRequest").objects.order_by("idempotency_key")
    assert list(rows.values_list("transaction_id", flat=True)) == [
        None, "mine", "mine", None, None
    ]  # fmt: skip
    old = migrate(BEFORE)
    rows = old.get_model("cybs_jwt", "OutboundRequest").objects.order_by("idempotency_key")
    assert list(rows.values_list("transaction_id", flat=True)) == ["", "mine", "mine", "", ""]
    rows.all().delete()
    old.get_model("cybs_jwt", "Organization").objects.all().delete()
