"""Which merchants a meta key may sign for."""

from __future__ import annotations

import pytest

from django_cybs_jwt.exceptions import OrganizationConflict, OrganizationNotFound
from django_cybs_jwt.models import KeyEvent, Organization
from django_cybs_jwt.services import coverage
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST, OTHER_HOST

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
    with pytest.raises(OrganizationConflict, match="--covers selected"):
        coverage.listing("portfolio")


def test_a_slot_is_named_where_there_are_several() -> None:
    portfolio(slot="europe")
    with pytest.raises(OrganizationConflict, match="no meta key in slot ''"):
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
