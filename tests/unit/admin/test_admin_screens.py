"""The base of all screens: who may, what is there, what a click does, on any site and prefix."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_cybs_jwt.models import Approval, Credential, JobRun, KeyEvent, Organization, State
from tests.unit.admin import people
from tests.unit.services import estate

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("cybs_ring", "fresh_chain", "back_office"),
]
PREFIX = "/somewhere/else/cybs_jwt/credential/"
YES = {"reason": "because"}


@pytest.fixture
def back_office(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.unit.admin.sites"


@pytest.fixture
def key() -> Credential:
    return estate.key(estate.organization("acme"), now=timezone.now())


@pytest.fixture
def operator() -> User:
    return people.staff("olga", "operators")


def state(row: Credential) -> str:
    return Credential.objects.get(pk=row.pk).state


def page(row: Credential, name: str) -> str:
    return f"{PREFIX}{row.pk}/{name}/"


def told(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def test_a_screen_has_a_name_on_the_site_it_is_shown_on(key: Credential) -> None:
    found = reverse("back-office:cybs_jwt_credential_suspend", args=[key.pk])
    assert found == page(key, "suspend")


def test_no_link_leads_to_another_site(key: Credential, operator: User) -> None:
    visitor = people.client(operator)
    for address in (PREFIX, f"{PREFIX}{key.pk}/change/", page(key, "suspend"), f"{PREFIX}hello/"):
        content = visitor.get(address).content.decode()
        links = re.findall(r'(?:href|action|src)="([^"#?]*)"', content)
        assert len(links) > 5
        assert {
            link for link in links if not link.startswith(("/somewhere/else/", "/static/"))
        } <= {
            "",
            "/",
            ".",
        }


def test_a_page_offers_the_screens_that_the_visitor_may_open(
    key: Credential, operator: User
) -> None:
    row, listed = f"{PREFIX}{key.pk}/change/", PREFIX
    visitor = people.client(operator)
    assert page(key, "suspend") in visitor.get(row).content.decode()
    assert page(key, "destroy") not in visitor.get(row).content.decode()
    assert f"{PREFIX}hello/" in visitor.get(listed).content.decode()
    viewer = people.client(people.staff("vera", "viewers"))
    assert page(key, "suspend") not in viewer.get(row).content.decode()
    assert f"{PREFIX}hello/" not in viewer.get(listed).content.decode()


@pytest.mark.parametrize(
    ("codenames", "expected"),
    [
        ((), 403),
        (("view_credential",), 403),
        (("rotate_credential",), 403),
        (("view_credential", "destroy_credential"), 403),
        (("view_credential", "rotate_credential"), 200),
    ],
)
def test_a_screen_takes_its_permission_and_the_sight_of_the_model(
    key: Credential, codenames: tuple[str, ...], expected: int
) -> None:
    visitor = people.client(people.allowed("mara", *codenames))
    assert visitor.get(page(key, "suspend")).status_code == expected
    posted = visitor.post(page(key, "suspend"), YES).status_code
    assert posted == (302 if expected == 200 else 403)
    assert state(key) == (State.SUSPENDED if expected == 200 else State.ACTIVE)


def test_a_stranger_is_sent_to_the_login(key: Credential) -> None:
    answer = Client().get(page(key, "suspend"))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/somewhere/else/login/")


def test_what_is_out_of_scope_is_as_absent_as_what_never_was(
    key: Credential, operator: User
) -> None:
    people.limited(operator, estate.organization("mall", kind="portfolio"))
    visitor = people.client(operator)
    for address in (
        page(key, "suspend"),
        f"{PREFIX}{uuid.uuid4()}/suspend/",
        f"{PREFIX}x/suspend/",
    ):
        assert visitor.get(address).status_code == 404
        assert visitor.post(address, YES).status_code == 404
    assert state(key) == State.ACTIVE


def test_the_page_says_what_will_happen_to_whom_and_changes_nothing(operator: User) -> None:
    mall = estate.organization("mall", kind="portfolio")
    estate.organization("garden", parent=mall)
    row = estate.key(mall, covers="all", now=timezone.now())
    content = people.client(operator).get(page(row, "suspend")).content.decode()
    assert "Nothing is signed any more." in content
    assert f"garden@{estate.LIVE_HOST}" in content
    assert state(row) == State.ACTIVE


def test_merchants_out_of_scope_are_counted_not_named(operator: User) -> None:
    mall = estate.organization("mall", kind="portfolio")
    shop = estate.organization("shop")
    row = estate.key(mall, covers="selected", now=timezone.now())
    row.slot.merchants.add(shop)
    people.limited(operator, mall)
    content = people.client(operator).get(page(row, "suspend")).content.decode()
    assert "shop@" not in content
    assert "1 of them stands outside of what you see." in content


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options"])
def test_other_methods_are_refused(key: Credential, operator: User, method: str) -> None:
    answer = getattr(people.client(operator), method)(page(key, "suspend"))
    assert (answer.status_code, answer["Allow"]) == (405, "GET, POST")
    assert state(key) == State.ACTIVE


def test_a_page_that_changes_nothing_takes_no_post(operator: User) -> None:
    visitor = people.client(operator)
    assert visitor.get(f"{PREFIX}hello/").status_code == 200
    assert visitor.head(f"{PREFIX}hello/").status_code == 200
    assert visitor.post(f"{PREFIX}hello/").status_code == 405


def test_a_post_without_a_token_is_refused(key: Credential, operator: User) -> None:
    visitor = people.client(operator, enforce_csrf_checks=True)
    assert visitor.post(page(key, "suspend"), YES).status_code == 403
    assert state(key) == State.ACTIVE
    content = visitor.get(page(key, "suspend")).content.decode()
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', content)
    assert found
    visitor.post(page(key, "suspend"), {**YES, "csrfmiddlewaretoken": found[1]})
    assert state(key) == State.SUSPENDED


def test_a_done_step_is_told_on_the_row_and_in_the_audit(key: Credential, operator: User) -> None:
    answer = people.client(operator).post(page(key, "suspend"), YES, follow=True)
    assert answer.redirect_chain == [(f"{PREFIX}{key.pk}/change/", 302)]
    assert told(answer) == ["Suspended."]
    assert KeyEvent.objects.get(action="suspend", outcome="done").actor == "olga"


def test_a_refusal_is_a_message_with_its_cure(key: Credential, operator: User) -> None:
    answer = people.client(operator).post(page(key, "suspend"), {"reason": ""}, follow=True)
    assert answer.status_code == 200
    assert told(answer) == ["suspend takes a reason."]
    assert state(key) == State.ACTIVE


# The password again


@pytest.fixture
def custodian() -> User:
    return people.staff("kurt", "custodians")


@pytest.fixture
def staged() -> Credential:
    return estate.key(estate.organization("acme"), state=State.STAGED)


def test_what_destroys_asks_for_the_password_first_and_comes_back(
    staged: Credential, custodian: User
) -> None:
    visitor = people.client(custodian)
    asked = visitor.get(page(staged, "destroy"))
    assert asked.status_code == 302
    assert asked["Location"].startswith(f"{PREFIX}password/?next=")
    assert people.asks_password(visitor.post(page(staged, "destroy"), YES))
    assert state(staged) == State.STAGED
    typed = visitor.post(asked["Location"], {"password": people.PASSWORD})
    assert typed["Location"] == page(staged, "destroy")
    assert visitor.get(typed["Location"]).status_code == 200
    visitor.post(page(staged, "destroy"), YES)
    assert state(staged) == State.DESTROYED


@pytest.mark.parametrize(
    ("minutes_ago", "allowed"), [(0, True), (9.9, True), (10.1, False), (-1, False)]
)
def test_the_password_holds_for_ten_minutes(
    staged: Credential, custodian: User, minutes_ago: float, allowed: bool
) -> None:
    visitor = people.client(custodian)
    people.password_typed(visitor, timezone.now().timestamp() - minutes_ago * 60)
    visitor.post(page(staged, "destroy"), YES)
    assert (state(staged) == State.DESTROYED) is allowed


def test_a_wrong_password_opens_nothing_and_the_fifth_ends_the_session(
    staged: Credential, custodian: User
) -> None:
    visitor = people.client(custodian)
    for left in (4, 3, 2, 1, 0):
        answer = visitor.post(f"{PREFIX}password/", {"password": "guess"})
        assert (answer.status_code == 302) is (left == 0)
        assert b"guess" not in answer.content
        assert visitor.get(page(staged, "destroy")).status_code == 302
    assert "/login/" in visitor.get(PREFIX)["Location"]


@pytest.mark.parametrize(
    "away", ["https://evil.example.com/", "//evil.example.com", "javascript:x"]
)
def test_the_password_page_leads_nowhere_else(custodian: User, away: str) -> None:
    visitor = people.client(custodian)
    answer = visitor.post(f"{PREFIX}password/?next={away}", {"password": people.PASSWORD})
    assert answer["Location"] == PREFIX


def test_without_a_password_of_its_own_an_account_logs_in_again(
    staged: Credential, custodian: User
) -> None:
    custodian.set_unusable_password()
    custodian.save()
    visitor = people.client(custodian)  # which is a login
    assert visitor.get(page(staged, "destroy")).status_code == 200
    User.objects.filter(pk=custodian.pk).update(
        last_login=timezone.now() - timezone.timedelta(minutes=11)
    )
    asked = visitor.get(page(staged, "destroy"), follow=True)
    assert "no password here" in asked.content.decode()


def test_where_two_people_are_needed_the_second_is_asked(
    staged: Credential, custodian: User, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    visitor = people.client(custodian)
    people.password_typed(visitor, timezone.now().timestamp())
    answer = visitor.post(page(staged, "destroy"), YES, follow=True)
    assert "second person" in told(answer)[0]
    assert Approval.objects.get().requested_by == "kurt"
    assert state(staged) == State.STAGED


# Many rows at once


@pytest.fixture
def three(db: None) -> list[Credential]:
    return [estate.key(estate.organization(f"mid{n}"), now=timezone.now()) for n in range(3)]


def choose(rows: list[Credential], **more: Any) -> dict[str, Any]:
    return {
        "action": "suspend_many",
        "index": "0",
        "_selected_action": [r.pk for r in rows],
        **more,
    }


def test_many_rows_are_shown_first_and_changed_after_the_typed_count(
    three: list[Credential], operator: User
) -> None:
    visitor = people.client(operator)
    asked = visitor.post(PREFIX, choose(three[:2]))
    assert {f"mid{n}@" in asked.content.decode() for n in (0, 1)} == {True}
    assert "mid2@" not in asked.content.decode()
    assert "Type 2 to go on." in asked.content.decode()
    for count in ("", "3", "x"):
        again = visitor.post(PREFIX, choose(three[:2], cybs_confirmed="1", count=count))
        assert again.status_code == 200
    assert {state(row) for row in three} == {State.ACTIVE}
    done = visitor.post(PREFIX, choose(three[:2], cybs_confirmed="1", count="2"), follow=True)
    assert told(done) == ["All are suspended."]
    assert [state(row) for row in three] == [State.SUSPENDED, State.SUSPENDED, State.ACTIVE]


def test_all_rows_of_a_list_keep_its_filters(three: list[Credential], operator: User) -> None:
    visitor = people.client(operator)
    across = choose(three[:1], select_across="1", cybs_confirmed="1", count="1")
    visitor.post(f"{PREFIX}?q=mid1", across)
    assert [state(row) for row in three] == [State.ACTIVE, State.SUSPENDED, State.ACTIVE]


def test_rows_out_of_scope_and_actions_without_permission_do_nothing(
    three: list[Credential], operator: User
) -> None:
    viewer = people.client(people.staff("vera", "viewers"))
    viewer.post(PREFIX, choose(three, cybs_confirmed="1", count="3"))
    people.limited(operator, Organization.objects.get(org_id="mid0"))
    visitor = people.client(operator)
    visitor.post(PREFIX, choose(three, cybs_confirmed="1", count="1"))
    assert [state(row) for row in three] == [State.SUSPENDED, State.ACTIVE, State.ACTIVE]


def test_a_refusal_in_the_middle_is_told(three: list[Credential], operator: User) -> None:
    estate.Credential.objects.filter(pk=three[0].pk).update(state=State.SUSPENDED, active_slot=None)
    chosen = choose(three[:1], cybs_confirmed="1")
    answer = people.client(operator).post(PREFIX, chosen, follow=True)
    assert "'Suspend' is possible from" in told(answer)[0]


# The page itself


def texts(visitor: Client, row: Credential) -> Iterator[str]:
    for address in (
        "/somewhere/else/cybs_jwt/",
        PREFIX,
        f"{PREFIX}{row.pk}/change/",
        f"{PREFIX}{row.pk}/history/",
        f"{PREFIX}password/",
        f"{PREFIX}hello/",
        page(row, "suspend"),
    ):
        yield visitor.get(address, follow=True).content.decode()
    yield visitor.post(PREFIX, choose([row])).content.decode()


def test_nothing_inline_so_that_a_strict_policy_holds(key: Credential, operator: User) -> None:
    for text in texts(people.client(operator), key):
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
        for script in re.findall(r"<script([^>]*)>", text):
            assert "src=" in script or "application/json" in script


def test_a_silent_alert_job_is_said_on_every_page(key: Credential, operator: User) -> None:
    visitor = people.client(operator)
    for text in texts(visitor, key):
        assert "Nobody is watching over the ends of keys." in text
    JobRun.objects.create(name="tick", succeeded_at=timezone.now())
    for text in texts(visitor, key):
        assert "Nobody is watching" not in text
