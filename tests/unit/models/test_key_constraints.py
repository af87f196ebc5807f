"""What the database itself refuses, whoever writes to it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from django_cybs_jwt.models import (
    AuditHead,
    Credential,
    Epoch,
    GatewayCertificate,
    KeyEvent,
    KeySlot,
    Organization,
    State,
)
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


def write(credential: Credential, **columns: Any) -> None:
    with transaction.atomic():
        Credential.objects.filter(pk=credential.pk).update(**columns)


def two_keys() -> tuple[Credential, Credential]:
    acme = enrolment.organization()
    return enrolment.shared_secret(acme), enrolment.shared_secret(acme, activate=False)


def test_a_slot_has_at_most_one_active_key() -> None:
    active, staged = two_keys()
    with pytest.raises(IntegrityError):
        write(staged, state=State.ACTIVE, active_slot=active.slot)


def test_an_active_key_fills_its_own_slot_not_another() -> None:
    active, staged = two_keys()
    other = KeySlot.objects.create(
        organization=active.organization, purpose="signing", name="other"
    )
    with pytest.raises(IntegrityError):
        write(staged, state=State.ACTIVE, active_slot=other)


def test_a_key_is_not_active_without_filling_its_slot() -> None:
    _, staged = two_keys()
    with pytest.raises(IntegrityError):
        write(staged, state=State.ACTIVE)


@pytest.mark.parametrize("state", [state for state in State if state != State.ACTIVE])
def test_a_key_that_is_not_active_fills_no_slot(state: State) -> None:
    active, _ = two_keys()
    with pytest.raises(IntegrityError):
        write(active, state=state)


def test_a_slot_is_free_again_once_its_key_left() -> None:
    active, staged = two_keys()
    write(active, state=State.RETIRED, active_slot=None)
    write(staged, state=State.ACTIVE, active_slot=active.slot, activated_at=timezone.now())
    assert Credential.objects.get(state=State.ACTIVE) == staged


def test_many_keys_may_fill_no_slot() -> None:
    acme = enrolment.organization()
    for _ in range(3):
        enrolment.shared_secret(acme, activate=False)
    assert Credential.objects.filter(active_slot=None).count() == 3


def test_a_key_id_is_unique_per_owner_among_keys_not_destroyed() -> None:
    active, staged = two_keys()
    with pytest.raises(IntegrityError):
        write(staged, key_id=active.key_id, live_key_id=active.key_id)


def test_a_destroyed_keys_id_is_free_again() -> None:
    active, staged = two_keys()
    destroy(staged, key_id=active.key_id)
    assert Credential.objects.filter(key_id=active.key_id).count() == 2
    third = enrolment.shared_secret(active.organization, activate=False)
    destroy(third, key_id=active.key_id)


def test_two_owners_may_use_one_key_id() -> None:
    for org_id in ("acme", "other"):
        enrolment.shared_secret(enrolment.organization(org_id), key_id="one")


def destroy(credential: Credential, **columns: Any) -> None:
    empty = {"sealed_secret": None, "sealed_p12": None, "live_key_id": None}
    write(credential, state=State.DESTROYED, active_slot=None, **{**empty, **columns})


@pytest.mark.parametrize(
    "left", [{"sealed_secret": b"x"}, {"sealed_p12": b"x"}, {"live_key_id": "x"}]
)
def test_a_destroyed_key_keeps_no_secret(left: dict[str, Any]) -> None:
    _, staged = two_keys()
    with pytest.raises(IntegrityError):
        destroy(staged, **left)


def test_a_slot_exists_once_per_purpose_and_name() -> None:
    active, _ = two_keys()
    with pytest.raises(IntegrityError), transaction.atomic():
        KeySlot.objects.create(organization=active.organization, purpose="signing")
    KeySlot.objects.create(organization=active.organization, purpose="response-mle")
    KeySlot.objects.create(organization=active.organization, purpose="signing", name="b")


def test_an_organization_exists_once_per_host() -> None:
    acme = enrolment.organization()
    with pytest.raises(IntegrityError), transaction.atomic():
        Organization.objects.create(org_id="acme", kind="merchant", host=acme.host)


def test_an_audit_number_exists_once() -> None:
    two_keys()
    event = KeyEvent.objects.order_by("seq").first()
    assert event is not None
    with pytest.raises(IntegrityError), transaction.atomic():
        KeyEvent.objects.create(
            seq=event.seq, at=event.at, actor="x", action="x", outcome="done", organization="x"
        )


@pytest.mark.parametrize("model", [Organization, KeySlot])
def test_what_holds_keys_cannot_be_deleted(model: Any) -> None:
    two_keys()
    with pytest.raises(ProtectedError):
        model.objects.all().delete()


def test_an_organization_with_children_cannot_be_deleted() -> None:
    portfolio, _, _ = enrolment.family()
    with pytest.raises(ProtectedError):
        portfolio.delete()


def test_an_owner_of_a_certificate_cannot_be_deleted() -> None:
    acme = enrolment.organization()
    now = timezone.now()
    GatewayCertificate.objects.create(
        organization=acme, host=acme.host, not_before=now, not_after=now
    )
    with pytest.raises(ProtectedError):
        acme.delete()


def test_every_primary_key_that_sealing_binds_to_is_set_before_the_insert() -> None:
    assert Organization().pk is not None
    assert Credential().pk is not None
    assert Organization().pk != Organization().pk


def test_the_single_rows_are_single() -> None:
    two_keys()
    for model in (AuditHead, Epoch):
        with pytest.raises(IntegrityError), transaction.atomic():
            model.objects.create()
        assert model.objects.count() == 1


def test_texts_of_rows_name_no_secret_and_fit_on_a_line() -> None:
    active, _ = two_keys()
    for row in (
        active,
        active.slot,
        active.organization,
        KeyEvent.objects.first(),
        AuditHead.objects.get(),
    ):
        text = f"{row} {row!r}"
        assert "\n" not in text
        assert len(text) < 300
        assert "sealed" not in text


def test_migrations_say_what_the_models_say() -> None:
    from django.core.management import call_command

    call_command("makemigrations", "cybs_jwt", check_changes=True, dry_run=True, verbosity=0)
