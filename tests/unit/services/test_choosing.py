"""A choice of merchants is said before it is made, and made as it was said."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from django_cybs_jwt.exceptions import OrganizationConflict, OrganizationNotFound
from django_cybs_jwt.models import AuditHead, KeyEvent, KeySlot, Organization
from django_cybs_jwt.services import choosing, epoch
from tests.unit.services import enrolment

NOW = datetime(2026, 12, 1, tzinfo=UTC)
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]


@pytest.fixture
def slot() -> KeySlot:
    owner, _, _ = enrolment.family()  # acme stands under account under portfolio
    return enrolment.shared_secret(owner, covers="all").slot


def test_a_plan_writes_nothing(slot: KeySlot) -> None:
    before = (epoch.value(), KeyEvent.objects.count(), AuditHead.objects.get().digest)
    plan = choosing.plan(slot, covers="selected", names=["acme"], now=NOW)
    assert [row.org_id for row in plan.removed] == ["account"]
    assert (epoch.value(), KeyEvent.objects.count(), AuditHead.objects.get().digest) == before
    assert KeySlot.objects.get(pk=slot.pk).coverage == "all"


def test_a_plan_tells_which_key_takes_over(slot: KeySlot) -> None:
    account = Organization.objects.get(org_id="account")
    nearer = enrolment.shared_secret(account, covers="selected")
    plan = choosing.plan(nearer.slot, covers="selected", names=["acme"], now=NOW)
    (effect,) = plan.effects
    assert (effect.before, effect.after) == (slot.credentials.get().key_id, nearer.key_id)


def test_a_plan_tells_whose_key_changes_though_they_stay(slot: KeySlot) -> None:
    nearer = enrolment.shared_secret(Organization.objects.get(org_id="account"), covers="all")
    plan = choosing.plan(slot, covers="selected", names=["acme", "account"], now=NOW)
    assert (plan.added, plan.removed, plan.kept, plan.unshown) == ([], [], 2, 0)
    (effect,) = plan.effects  # the account has a key of its own, which goes before all
    assert str(effect.merchant).startswith("acme@")
    assert (effect.before, effect.after) == (nearer.key_id, slot.credentials.get().key_id)


def test_the_same_choice_again_changes_nothing(slot: KeySlot) -> None:
    assert choosing.plan(slot, covers="all", names=[], now=NOW).changes_nothing
    assert not choosing.plan(slot, covers="own", names=[], now=NOW).changes_nothing


def test_a_choice_bumps_the_epoch_and_is_audited(slot: KeySlot) -> None:
    before = epoch.value()
    choosing.choose(slot, covers="selected", names=["acme"], actor="anna", now=NOW)
    assert epoch.value() != before
    assert KeyEvent.objects.get(action="choose", outcome="done").reason == (
        "covers selected; -account"
    )


def test_a_refused_choice_is_audited_and_changes_nothing(slot: KeySlot) -> None:
    with pytest.raises(OrganizationNotFound, match="ACME, nobody"):
        choosing.choose(
            slot, covers="selected", names=["acme", "ACME", "nobody"], actor="anna", now=NOW
        )
    assert KeyEvent.objects.get(action="choose").outcome == "denied"
    assert KeySlot.objects.get(pk=slot.pk).coverage == "all"


@pytest.mark.parametrize("name", ["", "other"])
def test_a_response_slot_decides_nothing(slot: KeySlot, name: str) -> None:
    row = enrolment.rsa_key(slot.organization, covers="all", slot=name).slot
    with pytest.raises(OrganizationConflict, match="follows the signing slot"):
        choosing.plan(row, covers="own", names=[], now=NOW)


def test_a_long_list_is_shown_in_part_and_chosen_as_a_whole(
    slot: KeySlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "MOST_SHOWN", 1)
    plan = choosing.plan(slot, covers="own", names=[], now=NOW)
    assert (len(plan.effects), len(plan.removed), plan.unshown) == (1, 2, 1)
