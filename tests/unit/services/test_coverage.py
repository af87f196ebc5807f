"""Which merchants a meta key may sign for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_cybs_jwt.exceptions import (
    ApprovalRequired,
    InvalidTransition,
    OrganizationConflict,
    OrganizationNotFound,
)
from django_cybs_jwt.models import Approval, Credential, KeyEvent, KeySlot, Organization
from django_cybs_jwt.services import approvals, choosing, coverage, rotation, signing, withdrawal
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST, OTHER_HOST

NOW = datetime(2026, 12, 1, tzinfo=UTC)
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]


def portfolio(covers: str = "selected", *, slot: str = "") -> Organization:
    owner, _, _ = enrolment.family()
    enrolment.shared_secret(owner, covers=covers, slot=slot)
    return owner


def names(rows: list[Organization]) -> list[str]:
    return [row.org_id for row in rows]


def test_merchants_are_added_listed_and_removed() -> None:
    portfolio()
    enrolment.organization("other", parent="account")
    assert names(coverage.add("portfolio", ["other", "acme"], actor="a")) == ["acme", "other"]
    assert names(coverage.listing("portfolio")) == ["acme", "other"]
    assert names(coverage.remove("portfolio", ["acme"], actor="a")) == ["other"]


def test_adding_twice_and_removing_what_is_not_there_change_nothing() -> None:
    portfolio()
    for _ in range(2):
        assert names(coverage.add("portfolio", ["acme"], actor="a")) == ["acme"]
    for _ in range(2):
        assert coverage.remove("portfolio", ["acme"], actor="a") == []


def test_one_unknown_merchant_of_many_changes_nothing() -> None:
    portfolio()
    with pytest.raises(OrganizationNotFound):
        coverage.add("portfolio", ["acme", "nobody"], actor="a")
    assert coverage.listing("portfolio") == []


def test_signing_and_response_slot_of_one_name_change_together() -> None:
    owner = portfolio()
    response = enrolment.rsa_key(owner, covers="selected")
    coverage.add("portfolio", ["acme"], actor="a")
    assert names(list(response.slot.merchants.all())) == ["acme"]


def test_a_key_for_all_lists_its_descendants_and_takes_no_list() -> None:
    portfolio("all")
    assert names(coverage.listing("portfolio")) == ["account", "acme"]
    with pytest.raises(OrganizationConflict, match="there is no list of them"):
        coverage.add("portfolio", ["acme"], actor="a")


def test_an_owner_without_a_meta_key_is_told_how_to_get_one() -> None:
    enrolment.family()
    with pytest.raises(OrganizationConflict, match=r"portfolio has no meta key\. Import"):
        coverage.listing("portfolio")


def test_the_owner_is_not_chosen_for_its_own_key_and_may_be_taken_out_of_an_old_list() -> None:
    owner = portfolio()
    with pytest.raises(OrganizationConflict, match="serves it without a choice"):
        coverage.add("portfolio", ["acme", "portfolio"], actor="a")
    assert coverage.listing("portfolio") == []
    owner.slots.get().merchants.add(owner)
    assert coverage.remove("portfolio", ["portfolio"], actor="a") == []


def test_a_slot_is_named_where_there_are_several() -> None:
    portfolio(slot="europe")
    with pytest.raises(OrganizationConflict, match="has no meta key; it has one in slot 'europe'"):
        coverage.add("portfolio", ["acme"], actor="a")
    assert names(coverage.add("portfolio", ["acme"], actor="a", slot="europe")) == ["acme"]


def test_a_merchant_under_somebody_else_cannot_be_selected() -> None:
    portfolio()
    enrolment.organization("rival", kind="portfolio")
    enrolment.organization("theirs", parent="rival")
    with pytest.raises(OrganizationConflict, match="stands under rival"):
        coverage.add("portfolio", ["theirs"], actor="a")


def test_a_merchant_on_another_host_cannot_be_selected() -> None:
    portfolio()
    enrolment.organization("far", host=OTHER_HOST)
    with pytest.raises(OrganizationConflict, match=f"is not on {HOST}"):
        coverage.add("portfolio", [f"far@{OTHER_HOST}"], actor="a")


def test_an_id_on_several_hosts_means_the_one_on_the_owners_host() -> None:
    portfolio()
    enrolment.organization("acme", host=OTHER_HOST)
    coverage.add("portfolio", ["acme"], actor="a")
    assert [row.host for row in coverage.listing("portfolio")] == [HOST]


def test_a_change_and_a_refusal_are_audited() -> None:
    portfolio()
    coverage.add("portfolio", ["acme"], actor="operator")
    with pytest.raises(OrganizationNotFound):
        coverage.remove("portfolio", ["nobody"], actor="operator")
    done, denied = KeyEvent.objects.filter(actor="operator").order_by("seq")
    assert (done.action, done.outcome, done.reason) == ("cover", "done", "acme")
    assert (denied.action, denied.outcome) == ("uncover", "denied")


@pytest.mark.parametrize("slot", ["x" * 61, "a\nb", "a\0"])
def test_a_slots_name_is_short_and_printable(slot: str) -> None:
    owner, _, _ = enrolment.family()
    with pytest.raises(OrganizationConflict, match="60 printable"):
        enrolment.shared_secret(owner, slot=slot)


# -- with FOUR_EYES on


@pytest.fixture
def four_eyes(settings: Any) -> Organization:
    """A portfolio whose key signs already; from now on a second person is needed."""
    owner = portfolio()
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    return owner


def extend(*merchants: str) -> list[str]:
    return names(coverage.add("portfolio", list(merchants), actor="alice", now=NOW))


def ask(refused: pytest.ExceptionInfo[ApprovalRequired]) -> Approval:
    (asked,) = approvals.request_missing(refused.value, actor="alice", now=NOW)
    return asked


def test_a_key_in_force_speaks_for_more_merchants_once_two_people_want_it(
    four_eyes: Organization,
) -> None:
    with pytest.raises(ApprovalRequired, match="cover") as refused:
        extend("acme")
    assert coverage.listing("portfolio") == []
    approval = ask(refused)
    assert (approval.action, approval.detail) == ("cover", "covers selected +acme")
    approvals.approve(approval.pk, actor="bob", now=NOW)

    assert extend("acme") == ["acme"]
    assert extend("acme") == ["acme"]
    assert names(coverage.remove("portfolio", ["acme"], actor="alice", now=NOW)) == []
    with pytest.raises(ApprovalRequired):
        extend("acme")


def test_an_approval_is_for_just_the_merchants_it_names(four_eyes: Organization) -> None:
    enrolment.organization("other", parent="account")
    with pytest.raises(ApprovalRequired) as refused:
        extend("acme")
    approvals.approve(ask(refused).pk, actor="bob", now=NOW)

    for more in (("other",), ("acme", "other")):
        with pytest.raises(ApprovalRequired):
            extend(*more)
    assert extend("acme") == ["acme"]


def test_a_key_that_signs_nothing_yet_takes_one_person(settings: Any) -> None:
    owner, _, _ = enrolment.family()
    enrolment.shared_secret(owner, covers="selected", activate=False)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}

    assert extend("acme") == ["acme"]


def overlapping(owner: Organization) -> Credential:
    """The older of two keys, which a roll back would bring into force again."""
    old = enrolment.shared_secret(owner, covers="selected")
    new = enrolment.shared_secret(owner, covers="selected", activate=False)
    rotation.rotate(new, actor="anna", now=NOW, force=True, reason="a new one")
    new.refresh_from_db()
    withdrawal.suspend(new, actor="anna", now=NOW, reason="to be sure")
    old.refresh_from_db()
    return old


def suspended(owner: Organization) -> Credential:
    key = enrolment.shared_secret(owner, covers="selected")
    withdrawal.suspend(key, actor="anna", now=NOW, reason="to be sure")
    return key


def planned(owner: Organization) -> Credential:
    key = enrolment.shared_secret(owner, covers="selected", activate=False)
    at = NOW + timedelta(hours=1)
    rotation.rotate(key, actor="anna", now=NOW, at=at, force=True, reason="tonight")
    return key


@pytest.mark.parametrize("prepare", [overlapping, suspended, planned])
def test_a_key_that_comes_back_into_force_unasked_counts_like_one_that_is(
    settings: Any, prepare: Callable[[Organization], Credential]
) -> None:
    owner, _, _ = enrolment.family()
    prepare(owner)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    with pytest.raises(ApprovalRequired) as refused:
        extend("acme")
    assert coverage.listing("portfolio") == []
    approvals.approve(ask(refused).pk, actor="bob", now=NOW)
    assert extend("acme") == ["acme"]


def test_a_key_whose_activation_was_approved_for_fewer_merchants_is_not_activated(
    settings: Any,
) -> None:
    owner, _, _ = enrolment.family()
    key = enrolment.shared_secret(owner, covers="selected", activate=False)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    asked = approvals.request("activate", key, actor="alice", now=NOW)
    approvals.approve(asked.pk, actor="bob", now=NOW)
    extend("acme")
    key.refresh_from_db()
    with pytest.raises(ApprovalRequired, match="has changed since"):
        rotation.activate(key, actor="alice", now=NOW)


def test_from_all_to_some_named_takes_two_people_as_these_may_change_their_key(
    settings: Any,
) -> None:
    """A key that names a merchant goes before the nearer account's."""
    owner, account, _ = enrolment.family()
    slot = enrolment.shared_secret(owner, covers="all").slot
    enrolment.shared_secret(account, covers="all")
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    with pytest.raises(ApprovalRequired) as refused:
        choosing.choose(slot, covers="selected", names=["acme"], actor="alice", now=NOW)
    assert refused.value.facts["detail"] == "covers selected +acme"
    assert signing.keys_for("acme", now=NOW).signing.owner == "account"


@pytest.mark.parametrize("covers", ["all", "selected"])
def test_a_choice_that_extends_takes_two_people_and_one_that_narrows_one(
    four_eyes: Organization, covers: str
) -> None:
    slot = KeySlot.objects.get()

    def choose(covers: str, *merchants: str) -> None:
        choosing.choose(slot, covers=covers, names=merchants, actor="alice", now=NOW)

    with pytest.raises(ApprovalRequired) as refused:
        choose(covers, "acme")
    approvals.approve(ask(refused).pk, actor="bob", now=NOW)
    choose(covers, "acme")

    assert "acme" in names(coverage.listing("portfolio"))
    choose("own")
    assert KeySlot.objects.get().coverage == "own"


def test_nobody_asks_for_more_merchants_without_saying_which(four_eyes: Organization) -> None:
    with pytest.raises(InvalidTransition, match="Which merchants"):
        approvals.request("cover", Credential.objects.get(), actor="alice", now=NOW)
