"""Choose whom a meta key serves: search, paste, see what changes, save."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from django_cybs_jwt.models import Approval, Credential, KeyEvent, KeySlot, Organization
from django_cybs_jwt.services import approvals, choosing
from tests.unit.admin import people
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


@pytest.fixture
def operator() -> User:
    return people.staff("olga", "operators")


@pytest.fixture
def visitor(operator: User) -> Client:
    made = people.client(operator)
    people.password_typed(made, timezone.now().timestamp())
    return made


@pytest.fixture
def slot() -> KeySlot:
    """A portfolio's key that serves garden; shop and market stand beside it."""
    mall = enrolment.organization("mall", kind="portfolio")
    for name in ("garden", "shop", "market"):
        enrolment.organization(name, parent="mall")
    row = enrolment.shared_secret(mall, covers="selected").slot
    row.merchants.set(Organization.objects.filter(org_id="garden"))
    return row


def post(visitor: Client, slot: KeySlot, **data: Any) -> Any:
    filled = {"covers": "selected", "merchants": "", **data}
    return visitor.post(people.url("keyslot", "coverage", slot.pk), filled, follow=True)


def served(slot: KeySlot) -> list[str]:
    return sorted(slot.merchants.values_list("org_id", flat=True))


def told(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def test_what_would_change_is_shown_and_nothing_changed(visitor: Client, slot: KeySlot) -> None:
    events = KeyEvent.objects.count()
    answer = post(visitor, slot, merchants="shop, market", _preview="1")
    plan = answer.context["plan"]
    effects = {str(e.merchant).split("@")[0]: (e.before, e.after) for e in plan.effects}
    kid = Credential.objects.get().key_id
    assert effects == {"market": ("", kid), "shop": ("", kid), "garden": (kid, "")}
    assert "none: it stops" in answer.content.decode()
    assert served(slot) == ["garden"]
    assert KeyEvent.objects.count() == events


def test_what_was_shown_is_what_is_saved(visitor: Client, slot: KeySlot) -> None:
    shown = post(visitor, slot, merchants="shop;garden\nmarket", _preview="1")
    answer = post(visitor, slot, **dict(shown.context["hidden"]))
    assert told(answer) == ["Saved: 2 merchants added, 0 removed, 1 as before."]
    assert served(slot) == ["garden", "market", "shop"]
    event = KeyEvent.objects.get(action="choose")
    assert (event.actor, event.reason) == ("olga", "covers selected; +market +shop")


def test_all_takes_no_list_and_the_list_does_not_come_back(visitor: Client, slot: KeySlot) -> None:
    post(visitor, slot, covers="all", merchants="garden", _save="1")
    assert KeySlot.objects.get(pk=slot.pk).coverage == "all"
    assert served(slot) == []
    shown = post(visitor, slot, covers="selected", merchants="", _preview="1")
    assert len(shown.context["plan"].removed) == 3


def test_signing_and_response_slots_change_together(visitor: Client, slot: KeySlot) -> None:
    response = enrolment.rsa_key(slot.organization, covers="selected").slot
    post(visitor, slot, merchants="shop", _save="1")
    assert served(slot) == served(response) == ["shop"]


@pytest.mark.parametrize("name", ["", "alone"])
def test_a_response_slot_leads_to_the_signing_slot_and_chooses_nothing(
    visitor: Client, slot: KeySlot, name: str
) -> None:
    row = enrolment.rsa_key(slot.organization, covers="selected", slot=name).slot
    page = visitor.get(people.url("keyslot", "change", row.pk)).content.decode()
    assert people.url("keyslot", "coverage", row.pk) not in page
    assert "whom both cover is chosen there" in page
    assert (people.url("keyslot", "change", slot.pk) in page) is (name == "")
    assert ("There is no such slot." in page) is (name != "")
    assert "follows the signing slot" in told(post(visitor, row, merchants="shop", _save="1"))[0]
    assert (served(slot), served(row)) == (["garden"], [])


def test_a_search_lists_matches_and_a_tick_adds_to_the_list(visitor: Client, slot: KeySlot) -> None:
    stranger = enrolment.organization("sharkshop")
    answer = post(visitor, slot, merchants="garden", search="sh", _search="1")
    offered = [value for value, _label in answer.context["form"].fields["found"].choices]
    assert offered == ["shop"]
    assert stranger.org_id not in offered
    again = post(visitor, slot, merchants="garden", found=["shop"], search="mark", _search="1")
    assert again.context["form"].initial["merchants"] == "garden\nshop"
    post(visitor, slot, merchants="garden", found=["shop"], _save="1")
    assert served(slot) == ["garden", "shop"]


@pytest.mark.parametrize(
    ("merchants", "message"),
    [
        ("shop nobody nothing", "Not known on apitest.cybersource.com: nobody, nothing."),
        ("shop@other.example.com", "Not known on"),
        ("mall", "Not merchants under mall: mall."),
        ("rival", "Not merchants under mall: rival."),
    ],
)
def test_one_name_that_does_not_fit_changes_nothing(
    visitor: Client, slot: KeySlot, merchants: str, message: str
) -> None:
    enrolment.organization("elsewhere", kind="portfolio")
    enrolment.organization("rival", parent="elsewhere")
    for button in ("_preview", "_save"):
        answer = post(visitor, slot, merchants=merchants, **{button: "1"})
        assert message in told(answer)[0]
        assert f">\n{merchants}</textarea>" in answer.content.decode()
    assert served(slot) == ["garden"]


def test_merchants_out_of_scope_are_unknown_and_stay_served(
    operator: User, visitor: Client, slot: KeySlot
) -> None:
    orphan = enrolment.organization("orphan")
    slot.merchants.add(orphan)
    people.limited(operator, slot.organization)
    page = visitor.get(people.url("keyslot", "coverage", slot.pk)).content.decode()
    assert "orphan" not in page
    assert "Not known" in told(post(visitor, slot, merchants="orphan", _save="1"))[0]
    post(visitor, slot, merchants="shop", _save="1")
    assert served(slot) == ["orphan", "shop"]


@pytest.mark.parametrize("covers", ["own", "all"])
@pytest.mark.parametrize("button", ["_preview", "_save"])
def test_no_choice_takes_the_key_from_a_merchant_out_of_scope_or_names_one(
    operator: User, visitor: Client, slot: KeySlot, covers: str, button: str
) -> None:
    slot.merchants.add(enrolment.organization("orphan"))
    people.limited(operator, slot.organization)
    answer = post(visitor, slot, covers=covers, **{button: "1"})
    assert "serves 1 merchant(s) outside of what you see" in told(answer)[0]
    assert "orphan" not in answer.content.decode()
    assert KeySlot.objects.get(pk=slot.pk).coverage == "selected"
    assert served(slot) == ["garden", "orphan"]


def test_the_key_of_an_owner_out_of_scope_is_not_named(
    operator: User, visitor: Client, slot: KeySlot
) -> None:
    """It signs for the merchants of the account until the account's own key does."""
    account = enrolment.organization("account", kind="account", parent="mall")
    enrolment.organization("stall", parent="account")
    mall = enrolment.shared_secret(slot.organization, slot="whole", covers="all")
    own = enrolment.shared_secret(account, covers="selected")
    people.limited(operator, account)
    answer = post(visitor, own.slot, merchants="stall", _preview="1")
    (effect,) = answer.context["plan"].effects
    assert (effect.before, effect.after) == (choosing.HIDDEN, own.key_id)
    assert mall.key_id not in answer.content.decode()


def test_it_takes_permission_password_and_scope(operator: User, slot: KeySlot) -> None:
    address = people.url("keyslot", "coverage", slot.pk)
    viewer = people.client(people.staff("vera", "viewers"))
    assert viewer.post(address, {"covers": "all", "_save": "1"}).status_code == 403
    sleepy = people.client(operator)
    assert people.asks_password(sleepy.post(address, {"covers": "all", "_save": "1"}))
    people.limited(operator, enrolment.organization("acme"))
    assert sleepy.get(address).status_code == 404
    assert KeySlot.objects.get(pk=slot.pk).coverage == "selected"


def test_the_page_of_a_slot_shows_its_keys_and_whom_they_serve(
    visitor: Client, slot: KeySlot
) -> None:
    text = visitor.get(people.url("keyslot", "change", slot.pk)).content.decode()
    assert Credential.objects.get().key_id in text
    assert "garden@" in text
    assert "shop@" not in text


def test_a_merchants_key_covers_nobody_else(visitor: Client) -> None:
    row = enrolment.shared_secret(enrolment.organization()).slot
    assert "coverage/" not in (
        visitor.get(people.url("keyslot", "change", row.pk)).content.decode()
    )
    answer = post(visitor, row, covers="all", _save="1")
    assert "covers nobody else" in told(answer)[0]


def test_with_four_eyes_more_merchants_wait_for_a_second_person(
    visitor: Client, slot: KeySlot, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}

    answer = post(visitor, slot, merchants="garden shop", _save="1")

    assert "takes a second person" in told(answer)[0]
    assert served(slot) == ["garden"]
    approval = Approval.objects.get()
    other = people.client(people.staff("kim", "approvers"))
    people.password_typed(other, timezone.now().timestamp())
    page = other.get(people.url("approval", "approve", approval.pk)).content.decode()
    assert "covers selected +shop" in page
    approvals.approve(approval.pk, actor="kim", now=timezone.now())
    post(visitor, slot, merchants="garden shop", _save="1")
    assert served(slot) == ["garden", "shop"]
