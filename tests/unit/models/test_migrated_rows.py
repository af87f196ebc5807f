"""What a migration does to rows that are there."""

from __future__ import annotations

from datetime import datetime
from importlib import import_module
from types import SimpleNamespace

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from django_cybs_jwt.models import (
    AlertDelivery,
    AlertRecipient,
    AuditHead,
    Epoch,
    GatewayCertificate,
    State,
)
from django_cybs_jwt.services import alerts, organizations
from tests.unit.services import estate
from tests.unit.services.conftest import fresh_chain  # noqa: F401
from tests.unit.services.estate import NOW

pytestmark = pytest.mark.django_db

LOCKED = "0014_rows_that_all_lock"
TOLD = "0018_told_as_loud"


def migrate(step: str, name: str = LOCKED) -> None:
    """One step of it, with the models as they are at that migration."""
    then = MigrationExecutor(connection).loader.project_state(("cybs_jwt", name)).apps
    migration = import_module(f"django_cybs_jwt.migrations.{name}")
    getattr(migration, step)(then, SimpleNamespace(connection=connection))


@pytest.mark.usefixtures("fresh_chain")
def test_0014_the_rows_that_every_change_locks_are_there_before_the_first_change() -> None:
    Epoch.objects.all().delete()
    migrate("first_rows")
    assert Epoch.objects.get().value == 0
    assert (AuditHead.objects.get().seq, AuditHead.objects.get().digest) == (0, "")


@pytest.mark.usefixtures("cybs_ring", "fresh_chain")
def test_0014_the_head_of_a_chain_that_lost_it_is_not_made_up() -> None:
    organizations.add("acme", actor="tests", kind="merchant", host=estate.HOST)
    AuditHead.objects.all().delete()
    migrate("first_rows")
    assert not AuditHead.objects.exists()


@pytest.mark.parametrize(
    ("state", "columns", "expected"),
    [
        (State.SUSPENDED, {"activated_at": NOW}, True),
        (State.DESTROYED, {"activated_at": NOW}, True),
        (State.RETIRED, {"activated_at": NOW}, True),
        (State.STAGED, {"activated_at": None}, False),
        (State.DESTROYED, {"activated_at": None}, False),
        (State.COMPROMISED, {"activated_at": NOW, "compromised_at": NOW}, False),
        (State.DESTROYED, {"activated_at": NOW, "compromised_at": NOW}, False),
    ],
)
def test_0014_a_certificate_that_came_into_use_is_in_use_again(
    state: State, columns: dict[str, object], expected: bool
) -> None:
    key = estate.key(estate.organization("acme"), state=state, **columns)
    row = estate.certificate(key.organization, days=9, credential=key)
    GatewayCertificate.stored.filter(pk=row.pk).update(in_use=False)
    migrate("certificates_that_were_in_use")
    assert GatewayCertificate.objects.exists() == expected


@pytest.mark.usefixtures("cybs_ring")
@pytest.mark.parametrize(("sent_at", "told"), [(NOW, "warning"), (None, "")])
def test_0018_what_was_handed_over_was_told_as_loud_as_its_alert_is(
    sent_at: datetime | None, told: str
) -> None:
    estate.key(estate.organization("acme"), days=20)
    alerts.raise_due(NOW)
    recipient = AlertRecipient.objects.create(channel="mail", address="ops@example.com")
    AlertDelivery.objects.create(alert=alerts.listing().get(), recipient=recipient, sent_at=sent_at)
    migrate("fill", TOLD)
    assert AlertDelivery.objects.get().told == told
