"""Approvals in the admin: what waits, for whom, and the second person's answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from django_cybs_jwt.admin import words
from django_cybs_jwt.models import Approval, Credential, KeyEvent, Organization, State
from django_cybs_jwt.services import approvals, rotation
from tests.unit.admin import people
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


@pytest.fixture
def key() -> Credential:
    mall = estate.organization("mall", kind="portfolio")
    estate.organization("bakery", parent=mall)
    estate.organization("closed", parent=mall, active=False)
    estate.key(estate.organization("own", parent=mall), now=timezone.now())
    estate.key(mall, covers="all", now=timezone.now())
    return estate.key(mall, covers="all", state=State.VERIFIED, uploaded_by="ursula")


@pytest.fixture
def asked(key: Credential) -> Approval:
    return approvals.request(
        "activate", key, actor="olga", now=timezone.now(), reason="the old one ends"
    )


@pytest.fixture
def approver() -> User:
    return people.staff("paul", "approvers")


def visitor(user: User, *, typed: bool = True) -> Client:
    made = people.client(user)
    if typed:
        people.password_typed(made, timezone.now().timestamp())
    return made


def page(row: Approval, name: str) -> str:
    return people.url("approval", name, row.pk)


def status(row: Approval) -> str:
    return Approval.objects.get(pk=row.pk).status


def told(answer: Any) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def listed(user: User, **query: str) -> list[str]:
    answer = people.client(user).get(people.url("approval", "changelist"), query)
    assert answer.status_code == 200
    return sorted(row.requested_by for row in answer.context["cl"].result_list)


def test_the_page_says_who_asks_what_of_which_key_and_whom_it_concerns(
    asked: Approval, approver: User
) -> None:
    content = visitor(approver).get(page(asked, "approve")).content.decode()
    for fact in (
        "olga asks for this: Activate. The key: mall, Request signing",
        "The key becomes active",
        f"Its fingerprint begins with {asked.fingerprint[:16]}; ursula uploaded it.",
        "the old one ends",
        f"bakery@{estate.LIVE_HOST}",
    ):
        assert fact in content
    assert not any(f"{other}@{estate.LIVE_HOST}" in content for other in ("own", "closed"))
    assert status(asked) == Approval.Status.REQUESTED


def test_the_page_says_what_the_gateway_said_what_it_replaces_and_when_it_ends(
    asked: Approval, key: Credential, approver: User
) -> None:
    before = Credential.objects.get(slot=key.slot, state=State.ACTIVE)
    content = visitor(approver).get(page(asked, "approve")).content.decode()
    assert key.expires_at is not None
    for fact in (
        "It was never verified with the gateway.",
        f"It replaces {before.key_id}.",
        f"It ends: {words.until(key.expires_at)}",
        "An activation by force is covered, too",
    ):
        assert fact in content
    checked = timezone.now()
    Credential.objects.update(verify_outcome="refused", verify_checked_at=checked, expires_at=None)
    content = visitor(approver).get(page(asked, "approve")).content.decode()
    assert f"Last verified with the gateway: Refused, {words.until(checked)}" in content
    assert "No end of it is known." in content


def test_who_destroys_is_told_what_is_lost_and_nothing_about_using_the_key(
    key: Credential, approver: User
) -> None:
    row = approvals.request("destroy", key, actor="olga", now=timezone.now())
    content = visitor(approver).get(page(row, "approve")).content.decode()
    assert "No merchant depends on it now." in content
    assert "by force" not in content


def test_a_force_needs_no_other_approval_than_the_page_says(
    asked: Approval, key: Credential
) -> None:
    Credential.objects.filter(pk=key.pk).update(verify_outcome="refused")
    now = timezone.now()
    approvals.approve(asked.pk, actor="paul", now=now)
    done = rotation.rotate(key, actor="olga", now=now, force=True, reason="the outage")
    assert done.state == State.ACTIVE


def test_the_keys_page_says_what_was_asked_and_until_when(
    asked: Approval, key: Credential, approver: User
) -> None:
    asker = people.client(people.staff("olga", "operators"))
    place = people.url("credential", "change", key.pk)
    until = words.until(asked.expires_at)
    waits = f"Activate: asked for by olga, waits for a second person until {until}"
    assert waits in asker.get(place).content.decode()
    blind = people.client(people.allowed("bert", "view_credential"))
    assert "asked for by olga" not in blind.get(place).content.decode()

    answer = visitor(approver).post(page(asked, "approve"), {"reason": ""}, follow=True)

    assert told(answer).endswith(f"It can be carried out once, until {until}")
    content = asker.get(place).content.decode()
    assert waits not in content
    assert f"Activate: approved by paul, to be carried out once, until {until}" in content
    assert people.url("approval", "change", asked.pk) in content
    Approval.objects.update(expires_at=timezone.now())
    assert "approved by paul" not in asker.get(place).content.decode()


def test_the_front_page_leads_to_what_i_may_carry_out(asked: Approval) -> None:
    asker = people.staff("olga", "operators")
    home = people.client(asker).get("/admin/cybs_jwt/").content.decode()
    assert "not carried out" not in home
    approvals.approve(asked.pk, actor="paul", now=timezone.now())
    home = people.client(asker).get("/admin/cybs_jwt/").content.decode()
    assert "request of yours is approved and not carried out" in home
    assert "?waiting=mine" in home
    assert listed(asker, waiting="mine") == ["olga"]
    vera = people.staff("vera", "viewers")
    assert listed(vera, waiting="mine") == []
    assert "not carried out" not in people.client(vera).get("/admin/cybs_jwt/").content.decode()


def test_the_second_person_grants_it_under_his_name(asked: Approval, approver: User) -> None:
    answer = visitor(approver).post(page(asked, "approve"), {"reason": "looked at"}, follow=True)
    assert told(answer).startswith("Approved: Activate, ")
    row = Approval.objects.get()
    assert (row.status, row.decided_by) == (Approval.Status.GRANTED, "paul")
    assert "looked at" in KeyEvent.objects.get(action="approve").reason


def test_nothing_waits_for_who_may_not_approve(asked: Approval, approver: User) -> None:
    """Neither on the front page nor in the list; all requests are there to be read."""
    for user, waiting in ((approver, ["olga"]), (people.staff("vera", "viewers"), [])):
        assert listed(user, waiting="me") == waiting
        assert listed(user) == ["olga"]
        home = people.client(user).get("/admin/cybs_jwt/").content.decode()
        assert ("approval waits for you" in home) == bool(waiting)


def test_approving_takes_the_password_rejecting_does_not(asked: Approval, approver: User) -> None:
    made = visitor(approver, typed=False)
    for answer in (made.get(page(asked, "approve")), made.post(page(asked, "approve"), {})):
        assert people.asks_password(answer)
    assert status(asked) == Approval.Status.REQUESTED
    made.post(page(asked, "reject"), {"reason": "not today"})
    assert status(asked) == Approval.Status.REJECTED


@pytest.mark.parametrize("name", ["olga", "OLGA", "ursula"])
def test_neither_who_asked_nor_who_uploaded_approves_superuser_or_not(
    asked: Approval, name: str
) -> None:
    made = visitor(people.superuser(name))
    content = made.get(people.url("approval", "change", asked.pk)).content.decode()
    assert page(asked, "approve") not in content
    answer = made.post(page(asked, "approve"), {"reason": ""}, follow=True)
    assert "cannot approve it" in told(answer)
    assert status(asked) == Approval.Status.REQUESTED
    assert KeyEvent.objects.get(action="approve").outcome == "denied"


def test_a_key_that_changed_since_is_not_approved(
    asked: Approval, key: Credential, approver: User
) -> None:
    Credential.objects.filter(pk=key.pk).update(lock_version=key.lock_version + 1)
    answer = visitor(approver).post(page(asked, "approve"), {"reason": ""}, follow=True)
    assert "has changed since" in told(answer)
    assert status(asked) == Approval.Status.REQUESTED


@pytest.mark.parametrize(
    ("codenames", "approve", "reject"),
    [
        ((), 403, 403),
        (("approve_approval",), 403, 403),
        (("view_approval",), 403, 403),
        (("view_approval", "rotate_credential"), 403, 403),
        (("view_approval", "approve_approval"), 302, 302),
    ],
)
def test_each_answer_takes_its_permission(
    asked: Approval, codenames: tuple[str, ...], approve: int, reject: int
) -> None:
    made = visitor(people.allowed("mara", *codenames))
    assert made.post(page(asked, "reject"), {"reason": ""}).status_code == reject
    Approval.objects.update(status=Approval.Status.REQUESTED, decided_by="")
    assert made.post(page(asked, "approve"), {"reason": ""}).status_code == approve
    assert status(asked) == (
        Approval.Status.GRANTED if approve == 302 else Approval.Status.REQUESTED
    )


def test_whoever_asked_may_take_it_back(asked: Approval) -> None:
    made = people.client(people.staff("olga", "viewers"))
    content = made.get(people.url("approval", "change", asked.pk)).content.decode()
    assert page(asked, "reject") in content
    made.post(page(asked, "reject"), {"reason": "a mistake"})
    assert status(asked) == Approval.Status.REJECTED


def test_what_is_out_of_scope_is_not_there(asked: Approval, approver: User) -> None:
    people.limited(approver, estate.organization("acme"))
    made = visitor(approver)
    for name in ("approve", "reject"):
        assert made.get(page(asked, name)).status_code == 404
        assert made.post(page(asked, name), {"reason": ""}).status_code == 404
    assert listed(approver) == []
    assert status(asked) == Approval.Status.REQUESTED
    people.limited(approver, Organization.objects.get(org_id="mall"))
    assert listed(approver) == ["olga"]


def test_the_list_tells_what_waits_and_what_waits_for_me(key: Credential) -> None:
    now = timezone.now()
    me = people.staff("mia", "approvers")
    other = estate.key(estate.organization("acme"), state=State.VERIFIED, uploaded_by="MIA")
    third = estate.key(estate.organization("kiosk"), state=State.VERIFIED)
    approvals.request("activate", key, actor="olga", now=now)
    approvals.request("activate", other, actor="ole", now=now)
    approvals.request("destroy", key, actor="mia", now=now)
    granted = approvals.request("activate", third, actor="pete", now=now)
    approvals.approve(granted.pk, actor="paul", now=now)
    over = approvals.request("destroy", third, actor="zoe", now=now)
    Approval.objects.filter(pk=over.pk).update(expires_at=now - timedelta(seconds=1))
    assert listed(me) == ["mia", "ole", "olga", "pete", "zoe"]
    assert listed(me, waiting="decision") == ["mia", "ole", "olga"]
    assert listed(me, waiting="me") == ["olga"]
    assert listed(me, waiting="use") == ["pete"]
    assert listed(me, action="destroy") == ["mia", "zoe"]
    assert listed(me, q="kio") == ["pete", "zoe"]


def test_the_list_loads_nothing_sealed_and_asks_little(
    approver: User, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        row = estate.key(estate.organization(f"mid{number}"), state=State.VERIFIED)
        approvals.request("activate", row, actor="olga", now=timezone.now())
    made = people.client(approver)
    with django_assert_max_num_queries(15) as captured:
        assert made.get(people.url("approval", "changelist")).status_code == 200
    with django_assert_max_num_queries(20) as detail:
        made.get(people.url("approval", "change", Approval.objects.first().pk))
    sql = [query["sql"] for query in (*captured, *detail)]
    assert not any('"sealed_' in text for text in sql)
