"""What an alert says of its end, whom it names, and where it leads."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.formats import date_format

from django_cybs_jwt.models import Credential, ExpiryAlert, Organization
from django_cybs_jwt.services import alerts
from tests.unit.admin import people
from tests.unit.admin.people import url
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]
DASHBOARD = ("expiryalert", "dashboard")
LIST = ("expiryalert", "changelist")


@pytest.fixture
def operator() -> User:
    return people.staff("olga", "operators")


def ending(name: str, days: float, **options: Any) -> ExpiryAlert:
    """The alert of a key that ends so many days from now."""
    now = timezone.now()
    owner = Organization.objects.filter(org_id=name).first() or estate.organization(name)
    estate.key(owner, days=days, now=now, **options)
    alerts.raise_due(now)
    return ExpiryAlert.objects.get(organization=owner)


def text(user: User, *place: Any) -> str:
    return people.client(user).get(url(*place)).content.decode()


def test_the_page_says_what_is_left_and_not_the_threshold_it_passed(operator: User) -> None:
    alert = ending("acme", 4.5)
    page = text(operator, "expiryalert", "change", alert.pk)
    assert alert.threshold == 7
    assert "in 7 days" not in page
    assert f"{alert.key_id} until {date_format(alert.ends)}" in page
    assert re.search(r'<label>Days left:</label>\s*<div class="readonly">4</div>', page)
    assert "7 days before the end" in page


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (4.9, "4"),
        (0.5, "0"),
        (-0.5, "ended within the last day"),
        (-1.5, "ended 1 day ago"),
        (-5.9, "ended 5 days ago"),
    ],
)
def test_days_are_never_rounded_away_from_now(operator: User, days: float, said: str) -> None:
    alert = ending("acme", days)
    assert f"<td>{said}</td>" in re.sub(r"</?span[^>]*>", "", text(operator, *DASHBOARD))
    assert f'field-days_left">{said}</td>' in text(operator, *LIST)
    page = text(operator, "expiryalert", "change", alert.pk)
    assert f'<div class="readonly">{said}</div>' in page


def test_an_alert_leads_to_its_key_and_to_the_upload_of_a_successor(operator: User) -> None:
    alert = ending("acme", 5)
    key = url("credential", "change", alert.subject)
    replace = url("credential", "replace", alert.subject)
    page = text(operator, "expiryalert", "change", alert.pk)
    assert f'href="{key}"' in page
    for place in (("expiryalert", "change", alert.pk), DASHBOARD, LIST):
        assert f'href="{replace}"' in text(operator, *place), place
    viewer = people.staff("vera", "viewers")
    assert f'href="{key}"' in text(viewer, "expiryalert", "change", alert.pk)
    for place in (("expiryalert", "change", alert.pk), DASHBOARD, LIST):
        assert replace not in text(viewer, *place), place


def test_a_certificate_of_a_host_has_a_page_and_no_successor_to_upload(operator: User) -> None:
    now = timezone.now()
    estate.key(estate.organization("acme"), now=now)
    row = estate.certificate(None, days=5, now=now)
    alerts.raise_due(now)
    alert = ExpiryAlert.objects.get(subject=row.pk)
    page = text(operator, "expiryalert", "change", alert.pk)
    assert f'href="{url("gatewaycertificate", "change", row.pk)}"' in page
    assert "replace/" not in page


def test_the_list_of_keys_leads_from_a_key_in_use_to_its_successor(operator: User) -> None:
    ending("acme", 5)
    key = Credential.objects.get()
    waiting = estate.successor(key)
    place = url("credential", "changelist")
    page = text(operator, "credential", "changelist")
    assert f'href="{url("credential", "replace", key.pk)}"' in page
    assert url("credential", "replace", waiting.pk) not in page
    viewer = people.client(people.staff("vera", "viewers"))
    assert "replace/" not in viewer.get(place).content.decode()


# Before it is done


@pytest.fixture
def mall() -> Organization:
    top = estate.organization("mall", kind="portfolio")
    for name in ("bakery", "florist"):
        estate.organization(name, parent=top)
    ending("mall", 20, covers="all")
    ending("acme", 5)
    return top


def asked(user: User, action: str) -> Any:
    """What the page before a bulk action says about all alerts of the list."""
    chosen = [str(row.pk) for row in ExpiryAlert.objects.all()]
    data = {"index": "0", "action": action, "_selected_action": chosen}
    return people.client(user).post(url(*LIST), data).context["consequences"]


@pytest.mark.parametrize("action", ["acknowledge_many", "snooze_many"])
def test_many_are_told_with_the_merchants_that_stop(
    mall: Organization, operator: User, action: str
) -> None:
    names = [f"{name}@{estate.LIVE_HOST}" for name in ("acme", "bakery", "florist")]
    assert asked(operator, action)["merchants"] == names


@pytest.mark.parametrize("screen", ["acknowledge", "snooze"])
def test_one_is_told_with_the_merchants_that_stop(
    mall: Organization, operator: User, screen: str
) -> None:
    alert = ExpiryAlert.objects.get(organization=mall)
    answer = people.client(operator).get(url("expiryalert", screen, alert.pk))
    names = [f"{name}@{estate.LIVE_HOST}" for name in ("bakery", "florist")]
    assert answer.context["consequences"]["merchants"] == names


def test_names_out_of_scope_are_counted_only(mall: Organization, operator: User) -> None:
    key = Credential.objects.get(organization=mall)
    stranger = estate.organization("stranger")
    key.slot.coverage = "selected"
    key.slot.save()
    key.slot.merchants.set([stranger, *Organization.objects.filter(parent=mall)])
    people.limited(operator, mall)
    told = asked(operator, "acknowledge_many")
    assert [name.split("@")[0] for name in told["merchants"]] == ["bakery", "florist"]
    assert told["hidden"] == 1


def test_merchants_of_a_whole_host_are_said_not_to_be_named(operator: User) -> None:
    now = timezone.now()
    estate.key(estate.organization("acme"), now=now)
    estate.certificate(None, days=5, now=now)
    alerts.raise_due(now)
    told = asked(operator, "acknowledge_many")
    assert any("of a whole host are not named" in str(text) for text in told["sentences"])


def test_a_mail_counts_the_days_since_an_end_as_they_were() -> None:
    from django_cybs_jwt.services.alerts import digest

    now = timezone.now()
    alert = ending("acme", -5.5)
    body = digest.compose([alert], now=now + timedelta(minutes=1)).body
    assert "ended 5 days ago" in body
