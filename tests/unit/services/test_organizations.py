"""Adding, finding and disabling organizations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.forms.models import model_to_dict
from django.utils import timezone

from django_cybs_jwt import texts
from django_cybs_jwt.exceptions import (
    ApprovalRequired,
    CybsError,
    InvalidHost,
    OrganizationAmbiguous,
    OrganizationConflict,
    OrganizationInactive,
    OrganizationNotFound,
)
from django_cybs_jwt.models import KeyEvent, Organization
from django_cybs_jwt.protocol.hosts import PRESETS
from django_cybs_jwt.services import (
    approvals,
    enabling,
    merchant_rows,
    offboarding,
    organizations,
    signing,
    withdrawal,
)
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST, LIVE_HOST, OTHER_HOST

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

Find = Callable[[str], Organization]
FINDS = [
    organizations.find,
    organizations.find_alone,
    lambda name: merchant_rows.merchant(name)[0],
]


@pytest.mark.parametrize("host", PRESETS)
def test_a_known_host_knows_its_side(host: str) -> None:
    assert enrolment.organization(host=host).live is PRESETS[host].live


@pytest.mark.parametrize("live", [False, True])
def test_a_free_hostname_is_on_the_side_that_is_said(live: bool) -> None:
    row = organizations.add(
        "acme", actor="alice", kind="merchant", host="gateway.example.com", live=live
    )
    assert row.live is live


def test_a_test_host_cannot_be_called_live() -> None:
    with pytest.raises(OrganizationConflict, match="is a test host"):
        organizations.add("acme", actor="alice", kind="merchant", host=HOST, live=True)


def test_a_host_is_stored_in_lower_case() -> None:
    assert enrolment.organization(host=HOST.upper()).host == HOST


@pytest.mark.parametrize(
    "host",
    [
        "",
        "user@apitest.cybersource.com",
        "apitest.cybersource.com/path",
        "apitest.cybersource.com.",
        "[2001:db8::1]",
        "2001:db8::1",
        "127.0.0.1",
        "http:",
        "https://apitest.cybersource.com",
        "apitest.cybersource.com:443",
        "localhost",
        "a b.example.com",
        "ü.example.com",
        "-a.example.com",
        "a" * 254 + ".com",
        "a.example.com\n",
        "a.example.com?x",
    ],
)
def test_what_is_no_bare_hostname_is_refused(host: str) -> None:
    with pytest.raises(InvalidHost):
        organizations.add("acme", actor="alice", kind="merchant", host=host)
    assert not Organization.objects.exists()


@pytest.mark.parametrize(
    "org_id",
    [
        "",
        " ",
        "a b",
        "a@b",
        "a/b",
        "../x",
        "'",
        "a\n",
        "ü",
        "-a",
        ".a",
        "a" * 61,
        "<script>",
        "a\0",
    ],
)
def test_what_is_no_organization_id_is_refused(org_id: str) -> None:
    with pytest.raises(OrganizationConflict) as caught:
        organizations.add(org_id, actor="alice", kind="merchant", host=HOST)
    assert "1 to 60 letters, digits and . - _ only" in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("org_id", ["a", "A1", "wfgdmerchant_01", "a.b-c_d", "0" * 60])
def test_organization_ids_of_the_gateway_are_taken_as_they_are(org_id: str) -> None:
    assert organizations.add(org_id, actor="alice", kind="merchant", host=HOST).org_id == org_id


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(OrganizationConflict, match="portfolio, account, merchant"):
        organizations.add("acme", actor="alice", kind="reseller", host=HOST)


def test_one_id_is_stored_once_on_a_host_and_again_on_another() -> None:
    enrolment.organization()
    with pytest.raises(OrganizationConflict, match="is stored already"):
        enrolment.organization()
    assert enrolment.organization(host=OTHER_HOST).pk


@pytest.mark.parametrize(
    ("child", "parent", "legal"),
    [
        ("merchant", "account", True),
        ("merchant", "portfolio", True),
        ("account", "portfolio", True),
        ("merchant", "merchant", False),
        ("account", "account", False),
        ("account", "merchant", False),
        ("portfolio", "portfolio", False),
        ("portfolio", "account", False),
    ],
)
def test_which_kind_stands_under_which(child: str, parent: str, legal: bool) -> None:
    enrolment.organization("parent", kind=parent)
    if legal:
        assert enrolment.organization("child", kind=child, parent="parent").parent is not None
    else:
        with pytest.raises(OrganizationConflict, match=f"A {child} stands under"):
            enrolment.organization("child", kind=child, parent="parent")


def test_parent_and_child_are_on_one_side() -> None:
    enrolment.organization("portfolio", kind="portfolio", host=LIVE_HOST)
    with pytest.raises(OrganizationConflict, match="both be live or both be test"):
        enrolment.organization("acme", parent="portfolio")


def test_a_parent_that_is_not_stored_is_not_found() -> None:
    with pytest.raises(OrganizationNotFound):
        enrolment.organization("acme", parent="nobody")


def test_an_ambiguous_parent_is_the_one_on_the_childs_host() -> None:
    for host in (HOST, OTHER_HOST):
        enrolment.organization("portfolio", kind="portfolio", host=host)
    child = enrolment.organization("acme", host=OTHER_HOST, parent="portfolio")
    assert child.parent is not None
    assert child.parent.host == OTHER_HOST


def test_finding_by_name_costs_one_query_and_brings_the_parents(
    django_assert_num_queries: object,
) -> None:
    enrolment.family()
    with django_assert_num_queries(1):  # type: ignore[operator]
        found = organizations.find("acme")
        assert [row.org_id for row in found.chain()] == ["acme", "account", "portfolio"]


def test_one_found_alone_is_the_same_row_and_its_parents_are_read_when_they_are_asked_for(
    django_assert_num_queries: object,
) -> None:
    enrolment.family()
    enrolment.organization("acme", host=OTHER_HOST)
    with django_assert_num_queries(1):  # type: ignore[operator]
        alone = organizations.find_alone(f"acme@{HOST.upper()}")
    found = organizations.find(f"acme@{HOST}")
    assert model_to_dict(alone) == model_to_dict(found)
    assert alone.chain() == found.chain()


@pytest.mark.parametrize("find", FINDS)
def test_an_ambiguous_name_tells_every_way_to_say_it(find: Find) -> None:
    for host in (HOST, OTHER_HOST):
        enrolment.organization(host=host)
    with pytest.raises(OrganizationAmbiguous) as caught:
        find("acme")
    assert str(caught.value) == (
        f"acme exists on several hosts: say acme@{HOST} or acme@{OTHER_HOST}."
    )


@pytest.mark.parametrize("find", FINDS)
@pytest.mark.parametrize(
    "name",
    ["' OR 1=1 --", "a" * 100_000, "acme\0", "", "@", "@h", "@@", "acme@h@h", "\u202e", "%s"],
)
def test_a_hostile_name_is_not_found_and_not_repeated_at_length(find: Find, name: str) -> None:
    with pytest.raises(CybsError) as caught:
        find(name)
    assert isinstance(caught.value, OrganizationNotFound)
    assert len(str(caught.value)) < 300


def test_disabling_is_stored_and_audited() -> None:
    enrolment.organization()
    row = organizations.disable("acme", actor="operator", reason="closed")
    assert row.active is False
    assert Organization.objects.get().active is False
    event = KeyEvent.objects.get(action="disable")
    assert (event.actor, event.reason) == ("operator", "closed")


def test_enabling_takes_a_disabling_back_which_the_error_says() -> None:
    enrolment.shared_secret(enrolment.organization())
    organizations.disable("acme", actor="operator")
    signing.forget()
    with pytest.raises(OrganizationInactive) as caught:
        signing.keys_for("acme")
    assert "`manage.py cybs_org enable acme@" in str(caught.value)
    with texts.on_page():
        assert "manage.py" not in str(caught.value)
    row = enabling.enable("acme", actor="operator", now=timezone.now(), reason="a mistake")
    assert row.active
    signing.forget()
    assert signing.keys_for("acme").merchant == "acme"
    event = KeyEvent.objects.latest("seq")
    assert (event.action, event.actor, event.reason) == ("enable", "operator", "a mistake")


def test_enabling_takes_two_people_where_a_key_would_sign_again(settings: Any) -> None:
    portfolio, _, _ = enrolment.family()
    enrolment.shared_secret(portfolio, covers="all")
    organizations.disable("acme", actor="alice")
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    now = timezone.now()
    with pytest.raises(ApprovalRequired) as refused:
        enabling.enable("acme", actor="alice", now=now)
    assert organizations.find("acme").active is False
    (asked,) = approvals.request_missing(refused.value, actor="alice", now=now)
    assert (asked.action, asked.detail) == ("cover", "enables acme")
    approvals.approve(asked.pk, actor="bob", now=now)
    assert enabling.enable("acme", actor="alice", now=now).active


@pytest.mark.parametrize("is_covered", [True, False])
def test_enabling_asks_for_no_key_that_was_destroyed_but_for_the_one_that_signs_after_it(
    settings: Any, is_covered: bool
) -> None:
    portfolio, _, acme = enrolment.family()
    if is_covered:
        covering = enrolment.shared_secret(portfolio, covers="all")
    now, why = timezone.now(), "a mistake"
    withdrawal.suspend(enrolment.shared_secret(acme), actor="alice", now=now, reason=why)
    offboarding.offboard("acme", actor="alice", now=now, reason=why)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    if is_covered:
        with pytest.raises(ApprovalRequired) as refused:
            enabling.enable("acme", actor="alice", now=now)
        (asked,) = approvals.request_missing(refused.value, actor="alice", now=now)
        assert asked.credential == covering
        approvals.approve(asked.pk, actor="bob", now=now)
    assert enabling.enable("acme", actor="alice", now=now).active


def test_the_list_brings_each_parent_without_a_query_of_its_own(
    django_assert_num_queries: object,
) -> None:
    enrolment.family()
    with django_assert_num_queries(1):  # type: ignore[operator]
        rows = [(row.org_id, row.parent and row.parent.org_id) for row in organizations.listing()]
    assert rows == [("account", "portfolio"), ("acme", "account"), ("portfolio", None)]


def test_a_chain_of_parents_ends_even_when_rows_go_round_in_a_circle() -> None:
    """Written past the services, a loop must not hang a payment."""
    portfolio, account, _ = enrolment.family()
    Organization.objects.filter(pk=portfolio.pk).update(parent=account)
    assert len(organizations.find("acme").chain()) <= 3


@pytest.mark.parametrize("name", ["x" * 201, "a\nb", "a\0", "\u202egnp.exe"])
def test_a_name_is_short_and_printable(name: str) -> None:
    with pytest.raises(OrganizationConflict, match="200 printable"):
        organizations.add("acme", actor="alice", kind="merchant", host=HOST, name=name)


def test_a_name_may_be_in_any_language() -> None:
    assert (
        organizations.add("acme", actor="alice", kind="merchant", host=HOST, name="Größe 店").name
        == "Größe 店"
    )
