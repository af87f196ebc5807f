"""A page that is refused keeps what was typed, but for secrets; nothing else keeps it either."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from django_cybs_jwt.models import Credential, ExpiryAlert, Organization, State
from django_cybs_jwt.services import alerts, rotation
from tests.unit.admin import people
from tests.unit.admin.people import url
from tests.unit.services import enrolment, estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]
WHY = "the acquirer asks for it"
PLAN = {"when": "2031-05-01T08:30", "overlap": "custom", "hours": "30", "reason": WHY}


@pytest.fixture
def operator() -> User:
    return people.staff("olga", "operators", "custodians")


@pytest.fixture
def visitor(operator: User) -> Client:
    made = people.client(operator)
    people.password_typed(made, timezone.now().timestamp())
    return made


@pytest.fixture
def acme() -> Organization:
    return enrolment.organization()


def told(answer: Any) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def page(row: Any, name: str) -> str:
    return url(row._meta.model_name, name, row.pk)


def shown(answer: Any) -> dict[str, Any]:
    """The fields of the form as the page shows them."""
    assert answer.status_code == 200
    return {field.name: field.value() for field in answer.context["form"]}


def test_a_rule_that_refuses_leaves_the_reason_where_it_was_typed(
    visitor: Client, acme: Organization
) -> None:
    row = enrolment.shared_secret(acme)
    answer = visitor.post(page(row, "resume"), {"reason": WHY})
    assert "is possible from" in told(answer)
    assert shown(answer) == {"reason": WHY}
    assert f'value="{WHY}"' in answer.content.decode()


def test_a_plan_that_is_refused_stays_and_the_page_knows_the_key_that_is_active_by_now(
    visitor: Client, acme: Organization
) -> None:
    old, other, new = (enrolment.shared_secret(acme, activate=n == 0) for n in range(3))
    seen = visitor.get(page(new, "activate")).context["form"]["replaces"].value()
    assert seen == str(old.pk)
    rotation.rotate(other, actor="kim", now=timezone.now(), force=True, reason="first")
    answer = visitor.post(page(new, "activate"), {**PLAN, "force": "on", "replaces": seen})
    assert told(answer)
    assert shown(answer) == {**PLAN, "force": True, "replaces": str(other.pk)}


def test_alerts_that_are_refused_stay_chosen(visitor: Client, acme: Organization) -> None:
    now = timezone.now()
    enrolment.shared_secret(acme, expires_at=now + 2 * estate.DAY, now=now - 300 * estate.DAY)
    alerts.raise_due(now)
    alert = ExpiryAlert.objects.get()
    chosen = {"action": "snooze_many", "index": "0", "_selected_action": [alert.pk]}
    typed = {"days": "5", "reason": WHY, "cybs_confirmed": "1"}
    answer = visitor.post(url("expiryalert", "changelist"), {**chosen, **typed})
    assert told(answer)
    assert shown(answer) == {"days": "5", "reason": WHY}
    assert ("_selected_action", str(alert.pk)) in answer.context["hidden"]


# The password


def test_the_password_is_asked_for_over_what_was_typed_and_then_it_is_done(
    operator: User, acme: Organization
) -> None:
    row, visitor = enrolment.shared_secret(acme, activate=False), people.client(operator)
    asked = visitor.post(page(row, "destroy"), {"reason": WHY})
    assert asked.status_code == 200
    assert asked.context["hidden"] == [("reason", WHY)]
    assert Credential.objects.get(pk=row.pk).state == State.STAGED
    wrong = visitor.post(page(row, "destroy"), {"reason": WHY, "passwd": "guess"})
    assert wrong.context["hidden"] == [("reason", WHY)]
    assert "That is not the password" in wrong.content.decode()
    assert "guess" not in wrong.content.decode()
    typed = {"reason": WHY, "passwd": people.PASSWORD}
    done = visitor.post(page(row, "destroy"), typed)
    assert done["Location"] == page(row, "change")
    assert Credential.objects.get(pk=row.pk).state == State.DESTROYED


def test_the_fifth_wrong_password_ends_the_session_here_too(
    operator: User, acme: Organization
) -> None:
    row, visitor = enrolment.shared_secret(acme, activate=False), people.client(operator)
    typed = {"reason": WHY, "passwd": "guess"}
    answers = [visitor.post(page(row, "destroy"), typed).status_code for _ in range(5)]
    assert answers == [200, 200, 200, 200, 302]
    assert "_auth_user_id" not in visitor.session
    assert Credential.objects.get(pk=row.pk).state == State.STAGED


def test_a_list_of_merchants_and_the_button_pass_through_the_password(operator: User) -> None:
    top = enrolment.organization("mall", kind="portfolio")
    enrolment.organization("shop", parent="mall")
    slot = enrolment.shared_secret(top, covers="all").slot
    visitor = people.client(operator)
    typed = {"covers": "selected", "merchants": "shop\nkiosk", "_preview": "1"}
    asked = visitor.post(page(slot, "coverage"), typed)
    assert dict(asked.context["hidden"]) == typed
    proved = {**dict(asked.context["hidden"]), "passwd": people.PASSWORD}
    answer = visitor.post(page(slot, "coverage"), proved)
    assert "kiosk" in told(answer)
    assert shown(answer)["merchants"] == "shop\nkiosk"


def test_a_session_keeps_nothing_of_it(operator: User, acme: Organization) -> None:
    row, visitor = enrolment.shared_secret(acme, activate=False), people.client(operator)
    visitor.post(page(row, "destroy"), {"reason": WHY})
    assert WHY not in str(dict(visitor.session))
