"""Prove a merchant, or many: by its own keys, or by the meta key that signs for it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from django_cybs_jwt.models import Credential, KeyEvent, Organization, Verdict
from django_cybs_jwt.services import ticking
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.admin import people
from tests.unit.admin.people import url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


@pytest.fixture
def operator() -> User:
    return people.staff("olga", "operators")


@pytest.fixture
def visitor(operator: User) -> Client:
    return people.client(operator)


@pytest.fixture
def mall(cybs_simulator: Simulation) -> Organization:
    """Its meta keys serve garden and shop; acme has a key of its own, empty has none at all."""
    top = cybs_simulator.merchant("mall", kind="portfolio", signs_with=None)
    for name in ("garden", "shop"):
        cybs_simulator.merchant(name, parent="mall", signs_with=None)
    cybs_simulator.import_shared_secret(top, covers="all")
    cybs_simulator.import_p12(top, "response-mle", covers="all")
    cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    cybs_simulator.merchant("empty", signs_with=None)
    return top


def named(name: str) -> Organization:
    return Organization.objects.get(org_id=name)


def verify(visitor: Client, name: str) -> list[str]:
    answer = visitor.post(url("organization", "verify", named(name).pk), follow=True)
    return [str(message) for message in answer.context["messages"]]


def page(visitor: Client, name: str) -> str:
    return visitor.get(url("organization", "verify", named(name).pk)).content.decode()


def outcomes(owner: Organization) -> list[str]:
    keys = Credential.objects.filter(organization=owner).order_by("slot__purpose")
    return list(keys.values_list("verify_outcome", flat=True))


def test_a_merchant_without_keys_is_proved_by_the_meta_keys_that_serve_it(
    mall: Organization, visitor: Client
) -> None:
    text = page(visitor, "shop")
    for key in Credential.objects.filter(organization=mall):
        assert f"{key.key_id}, the meta key of {mall}, as shop." in text
    assert verify(visitor, "shop") == ["Accepted: The gateway accepted it."] * 2
    assert outcomes(mall) == [Verdict.ACCEPTED] * 2
    assert KeyEvent.objects.filter(action="verify", actor="olga").count() == 2


def test_a_disabled_merchant_is_not_proved_by_the_key_of_others(
    mall: Organization, visitor: Client
) -> None:
    Organization.objects.filter(org_id="garden").update(active=False)
    assert "nothing to verify" in verify(visitor, "garden")[0]
    assert outcomes(mall) == ["", ""]


def test_where_there_is_no_key_at_all_that_is_said(mall: Organization, visitor: Client) -> None:
    assert "There is nothing to verify" in page(visitor, "empty")
    assert "There is nothing to verify" in verify(visitor, "empty")[0]


def test_a_meta_key_out_of_scope_is_neither_tried_nor_named(
    mall: Organization, operator: User, visitor: Client
) -> None:
    people.limited(operator, named("shop"))
    text = page(visitor, "shop")
    assert "outside of what you see signs for it" in text
    assert "mall" not in text
    assert "outside of what you see" in verify(visitor, "shop")[0]
    assert outcomes(mall) == ["", ""]


def test_its_own_key_goes_first_and_the_meta_key_does_the_rest(
    mall: Organization, visitor: Client, cybs_simulator: Simulation
) -> None:
    own = cybs_simulator.import_shared_secret(named("shop"), activate=False)
    text = page(visitor, "shop")
    response = Credential.objects.get(slot__purpose="response-mle")
    assert f"Tried: {own.key_id}." in text
    assert f"{response.key_id}, the meta key" in text


def many(visitor: Client, **more: str) -> Any:
    chosen = Organization.objects.exclude(org_id="mall").values_list("pk", flat=True)
    data = {"action": "verify_many", "index": "0", "_selected_action": list(chosen), **more}
    return visitor.post(url("organization", "changelist"), data, follow=True)


def test_many_merchants_are_verified_in_the_background_each_key_once(
    mall: Organization, visitor: Client
) -> None:
    asked = many(visitor)
    assert asked.context["consequences"]["count"] == 4
    assert not Credential.objects.exclude(verify_requested_at=None).exists()
    done = many(visitor, cybs_confirmed="1")
    assert done.redirect_chain[0][0].startswith(url("credential", "verifying"))
    told = [str(message) for message in done.context["messages"]]
    assert told == ["3 keys are marked to be verified. 1 organization has no key that you see."]
    assert done.context["progress"].waiting == 3
    ticking.tick(timezone.now())
    assert set(Credential.objects.values_list("verify_outcome", flat=True)) == {Verdict.ACCEPTED}
    after = visitor.get(done.redirect_chain[0][0])
    assert (after.context["progress"].waiting, after.context["progress"].accepted) == (0, 3)


def test_of_many_those_whose_key_is_out_of_scope_are_counted(
    mall: Organization, operator: User, visitor: Client
) -> None:
    people.limited(operator, *(named(name) for name in ("shop", "acme")))
    told = [str(message) for message in many(visitor, cybs_confirmed="1").context["messages"]]
    assert told == ["1 key is marked to be verified. 1 organization has no key that you see."]
    assert not mall.credentials.exclude(verify_requested_at=None).exists()


def test_marking_takes_as_many_queries_for_ten_merchants_as_for_two(
    mall: Organization, django_assert_max_num_queries: Any
) -> None:
    from django_cybs_jwt.services.overview import proving
    from django_cybs_jwt.services.scope import EVERYTHING

    for number in range(10):
        Organization.objects.create(
            org_id=f"stall{number}", kind="merchant", host=mall.host, live=False, parent=mall
        )
    with django_assert_max_num_queries(10):
        rows = Organization.objects.filter(parent=mall)
        found = proving.mark(rows, actor="x", scope=EVERYTHING, now=timezone.now())
    assert found == (2, 0)


def test_who_may_not_see_keys_is_told_on_the_list(mall: Organization) -> None:
    ida = people.client(people.allowed("ida", "view_organization", "verify_credential"))
    done = many(ida, cybs_confirmed="1")
    assert "3 keys are marked" in str(next(iter(done.context["messages"])))
    assert done.context["cl"]
