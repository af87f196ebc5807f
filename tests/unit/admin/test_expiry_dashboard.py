"""The expiry dashboard: what ends week by week, whom it stops, what was done about it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from django_cybs_jwt.admin import words
from django_cybs_jwt.models import ExpiryAlert, KeyEvent, Organization
from django_cybs_jwt.services import alerts
from tests.unit.admin import people
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


@pytest.fixture
def operator() -> User:
    return people.staff("olga", "operators")


@pytest.fixture
def mall() -> Organization:
    """A portfolio whose meta key ends in 20 days, over two merchants; and one that has its own."""
    now = timezone.now()
    top = estate.organization("mall", kind="portfolio")
    for name in ("bakery", "florist"):
        estate.organization(name, parent=top)
    estate.key(top, days=20, covers="all", now=now)
    estate.key(estate.organization("acme"), days=40, now=now)
    estate.key(estate.organization("gone"), days=-3, now=now)
    alerts.raise_due(now)
    return top


def page(user: User, query: str = "") -> Any:
    return people.client(user).get(f"{people.url('expiryalert', 'dashboard')}?{query}")


def rows(answer: Any) -> list[tuple[str, list[str]]]:
    return [(str(row["alert"].organization), row["stops"]) for row in answer.context["rows"]]


def bars(answer: Any) -> dict[str, tuple[int, int]]:
    """The weeks in which anything ends: merchants and artefacts."""
    weeks = (bar.week for bar in answer.context["bars"])
    return {week.name: (week.merchants, week.artefacts) for week in weeks if week.artefacts}


def monday(days: int) -> str:
    day = timezone.localdate() + timedelta(days=days)
    return (day - timedelta(days=day.weekday())).isoformat()


def test_each_end_counts_in_its_week_with_the_merchants_that_stop(
    mall: Organization, operator: User
) -> None:
    answer = page(operator)
    assert bars(answer) == {"ended": (1, 1), monday(20): (2, 1), monday(40): (1, 1)}
    assert [name for name, _ in rows(answer)] == [
        f"{name}@{estate.LIVE_HOST}" for name in ("gone", "mall", "acme")
    ]


def test_a_week_shows_what_ends_in_it_and_every_merchant_that_stops(
    mall: Organization, operator: User
) -> None:
    answer = page(operator, f"week={monday(20)}")
    served = [f"bakery@{estate.LIVE_HOST}", f"florist@{estate.LIVE_HOST}"]
    assert rows(answer) == [(str(mall), served)]
    assert "bakery@" in answer.content.decode()
    assert rows(page(operator, "week=ended")) == [
        (f"gone@{estate.LIVE_HOST}", [f"gone@{estate.LIVE_HOST}"])
    ]


def test_two_keys_of_one_owner_stop_its_merchants_once(operator: User) -> None:
    now = timezone.now()
    top = estate.organization("mall", kind="portfolio")
    shop = estate.organization("shop", parent=top)
    estate.organization("kiosk", parent=top)
    for owner, covers in ((top, "all"), (estate.organization("acme"), "own")):
        for purpose in ("signing", "response-mle"):
            estate.key(owner, days=20, purpose=purpose, covers=covers, now=now)
    alerts.raise_due(now)
    assert bars(page(operator)) == {monday(20): (3, 4)}
    assert Organization.objects.get(pk=shop.pk).parent == top


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("portfolio=mall", {"mall"}),
        ("portfolio=acme", {"acme"}),
        (f"host={estate.LIVE_HOST}", {"gone", "mall", "acme", "-"}),
        (f"host={estate.HOST}", {"tester", "-"}),
        (f"portfolio=mall&host={estate.HOST}", set()),
    ],
)
def test_portfolio_and_host_narrow_it(
    mall: Organization, operator: User, query: str, expected: set[str]
) -> None:
    now = timezone.now()
    tester = estate.organization("tester", host=estate.HOST)
    estate.key(tester, days=20, now=now)
    host = estate.LIVE_HOST if estate.LIVE_HOST in query else estate.HOST
    estate.certificate(None, days=10, host=host, now=now)
    alerts.raise_due(now)
    listed = page(operator, query).context["rows"]
    owners = {row["alert"].organization for row in listed}
    assert {owner.org_id if owner else "-" for owner in owners} == expected


def test_what_cannot_be_asked_for_is_told_at_the_field(mall: Organization, operator: User) -> None:
    for query in ("portfolio=nobody", "host=evil.example.com", "portfolio=%00"):
        answer = page(operator, query)
        assert answer.status_code == 400
        assert "rows" not in answer.context
    for query in ("week=x", "p=x", "p=-1", "p=999999999999", "week=2026-11-23'--"):
        assert page(operator, query).status_code == 200


def test_a_limited_visitor_sees_his_part_and_nobody_elses_names(
    mall: Organization, operator: User
) -> None:
    bakery = Organization.objects.get(org_id="bakery")
    acme = Organization.objects.get(org_id="acme")
    people.limited(operator, mall)
    assert [name for name, _ in rows(page(operator))] == [str(mall)]
    assert page(operator, "portfolio=acme").status_code == 400
    missing = page(operator, "portfolio=nobody").context["form"].errors
    assert page(operator, "portfolio=acme").context["form"].errors == missing
    people.limited(operator, bakery, acme)
    content = page(operator).content.decode()
    assert "mall" not in content
    assert "florist" not in content
    assert "acme@" in content


def test_merchants_out_of_scope_that_a_seen_key_stops_are_counted_only(operator: User) -> None:
    now = timezone.now()
    top = estate.organization("mall", kind="portfolio")
    own, foreign = estate.organization("bakery", parent=top), estate.organization("stranger")
    row = estate.key(top, days=20, covers="selected", now=now)
    row.slot.merchants.set([own, foreign])
    alerts.raise_due(now)
    people.limited(operator, top)
    answer = page(operator)
    assert answer.context["rows"][0]["stops"] == [str(own)]
    assert answer.context["rows"][0]["more"] == 1
    assert "stranger" not in answer.content.decode()
    alert = people.client(operator).get(
        people.url("expiryalert", "change", ExpiryAlert.objects.get().pk)
    )
    assert "stranger" not in alert.content.decode()
    assert "bakery@" in alert.content.decode()


@pytest.mark.parametrize(
    ("codenames", "status"), [((), 403), (("view_credential",), 403), (("view_expiryalert",), 200)]
)
def test_the_dashboard_takes_the_sight_of_alerts(
    mall: Organization, codenames: tuple[str, ...], status: int
) -> None:
    answer = page(people.allowed("mara", *codenames))
    assert answer.status_code == status
    assert "_selected_action" not in answer.content.decode()


def test_the_drawing_says_what_the_table_says_and_holds_nothing_inline(
    mall: Organization, operator: User
) -> None:
    text = page(operator).content.decode()
    start = text.index("<svg class")
    drawn = text[start : text.index("</svg>", start) + len("</svg>")]
    svg = ET.fromstring(drawn)  # noqa: S314  # our own page
    assert svg.get("role") == "group"  # an image has no links in it
    assert svg.get("aria-labelledby") == svg[0].get("id")
    assert svg[0].text
    counts = [node.text for node in svg.iter("text") if node.get("class") == "cybs-count"]
    assert counts == ["1", "2", "1"]
    links = list(svg.iter("a"))
    assert all(link.get("href") and link.get("aria-label") for link in links)
    table = re.findall(r"<td>(\d+)</td><td>(\d+)</td></tr>", text)
    weeks = [bar.week for bar in page(operator).context["bars"]]
    assert table == [(str(week.merchants), str(week.artefacts)) for week in weeks]
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*src=)", text)


def test_queries_do_not_grow_with_what_ends(
    operator: User, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    for number in range(3):
        top = estate.organization(f"mall{number}", kind="portfolio")
        estate.organization(f"shop{number}", parent=top)
        estate.key(top, days=20 + number, covers="all", now=now)
    estate.many_merchants(120, days=30, now=now)
    alerts.raise_due(now)
    visitor = people.client(operator)
    address = people.url("expiryalert", "dashboard")
    with django_assert_max_num_queries(20) as captured:
        answer = visitor.get(address)
    assert answer.context["page"].paginator.count == 123
    assert not any('."sealed_' in query["sql"] for query in captured)
    assert visitor.get(answer.context["later"]).context["page"].number == 2


# What is done about it


def test_what_is_chosen_on_the_dashboard_is_acknowledged_after_a_page_that_says_so(
    mall: Organization, operator: User
) -> None:
    chosen = [str(row.pk) for row in ExpiryAlert.objects.all()[:2]]
    data = {"index": "0", "select_across": "0", "_selected_action": chosen}
    visitor, address = people.client(operator), people.url("expiryalert", "changelist")
    asked = visitor.post(address, {**data, "action": "acknowledge_many"})
    assert "2 alerts." in asked.content.decode()
    assert not ExpiryAlert.objects.exclude(acknowledged_at=None).exists()
    done = {**data, "action": "acknowledge_many", "cybs_confirmed": "1", "reason": "ticket 4711"}
    visitor.post(address, done)
    assert ExpiryAlert.objects.filter(acknowledged_by="olga").count() == 2
    assert "ticket 4711" in KeyEvent.objects.filter(action="ack-alert")[0].reason


def test_putting_off_many_leaves_those_within_three_days_as_they_are(
    mall: Organization, operator: User
) -> None:
    data = {
        "index": "0",
        "action": "snooze_many",
        "_selected_action": [str(row.pk) for row in ExpiryAlert.objects.all()],
        "cybs_confirmed": "1",
        "days": "7",
    }
    answer = people.client(operator).post(
        people.url("expiryalert", "changelist"), data, follow=True
    )
    told = [str(message) for message in answer.context["messages"]]
    assert told[0].startswith("2 alerts are done. Not done: 1x: Three days before")
    snoozed = ExpiryAlert.objects.exclude(snoozed_until=None)
    assert {alert.organization.org_id for alert in snoozed if alert.organization} == {
        "mall",
        "acme",
    }
    assert str(page(operator).context["rows"][1]["standing"]).startswith("put off until")


def test_before_many_are_put_off_those_that_cannot_be_are_named(
    mall: Organization, operator: User
) -> None:
    """And the merchants are those of the others."""
    chosen = [str(row.pk) for row in ExpiryAlert.objects.all()]
    data = {"index": "0", "action": "snooze_many", "_selected_action": chosen}
    asked = people.client(operator).post(people.url("expiryalert", "changelist"), data)
    said = asked.context["consequences"]
    soon = timezone.now() + alerts.NO_SNOOZE
    (stays,) = ExpiryAlert.objects.filter(ends__lte=soon)
    assert said["sentences"][0] == "3 alerts."
    assert said["sentences"][1].startswith("1 stays as it is, as it has ended, ends within three")
    assert said["sentences"][1].endswith(f" {stays.key_id}")
    others = ExpiryAlert.objects.filter(ends__gt=soon).order_by("ends")
    assert words.until(others[0].ends - alerts.NO_SNOOZE) in said["sentences"][2]
    assert not any(other.key_id in "".join(map(str, said["sentences"])) for other in others)
    ExpiryAlert.objects.update(resolved_at=timezone.now())
    resolved = people.url("expiryalert", "changelist") + "?state=resolved"
    said = people.client(operator).post(resolved, data).context["consequences"]
    assert said["sentences"][1].startswith("3 stay as they are")
    assert (len(said["sentences"]), said["merchants"]) == (2, [])


@pytest.mark.parametrize("action", ["acknowledge_many", "snooze_many"])
def test_from_the_dashboard_the_step_leads_back_to_the_same_place_on_it(
    mall: Organization, operator: User, action: str
) -> None:
    visitor = people.client(operator)
    here = people.url("expiryalert", "dashboard") + f"?host={estate.LIVE_HOST}"
    shown = visitor.get(here).content.decode()
    assert f'name="cybs_back" value="{here}"' in shown
    chosen = [str(ExpiryAlert.objects.get(organization=mall).pk)]
    data = {"index": "0", "action": action, "_selected_action": chosen, "cybs_back": here}
    address = people.url("expiryalert", "changelist")
    asked = visitor.post(address, data)
    assert f'class="cybs-back" href="{here}"' in asked.content.decode()
    assert ("cybs_back", here) in asked.context["hidden"]
    confirmed = {**data, "cybs_confirmed": "1", "days": "5"}
    assert visitor.post(address, confirmed)["Location"] == here
    elsewhere = {**confirmed, "cybs_back": "https://evil.example/"}
    assert "evil" not in visitor.post(address, elsewhere)["Location"]


@pytest.mark.parametrize(("days", "done"), [("7", True), ("17", False), ("0", False), ("x", False)])
def test_one_alert_is_put_off_no_nearer_than_three_days_to_its_end(
    mall: Organization, operator: User, days: str, done: bool
) -> None:
    alert = ExpiryAlert.objects.get(organization=mall)
    visitor = people.client(operator)
    visitor.post(people.url("expiryalert", "snooze", alert.pk), {"days": days, "reason": "later"})
    alert.refresh_from_db()
    assert (alert.snoozed_until is not None) is done


def test_one_alert_is_acknowledged_by_name(mall: Organization, operator: User) -> None:
    alert = ExpiryAlert.objects.get(organization=mall)
    address = people.url("expiryalert", "acknowledge", alert.pk)
    visitor = people.client(operator)
    assert "2 merchants stop then" in visitor.get(address).content.decode()
    visitor.post(address, {"reason": "on it"})
    alert.refresh_from_db()
    assert alert.acknowledged_by == "olga"
    change = visitor.get(people.url("expiryalert", "change", alert.pk)).content.decode()
    assert address not in change
    assert "acknowledged by olga" in change


def test_viewers_and_those_out_of_scope_do_nothing(mall: Organization, operator: User) -> None:
    alert = ExpiryAlert.objects.get(organization=mall)
    acknowledge = people.url("expiryalert", "acknowledge", alert.pk)
    viewer = people.client(people.staff("vera", "viewers"))
    assert viewer.post(acknowledge, {"reason": ""}).status_code == 403
    people.limited(operator, Organization.objects.get(org_id="acme"))
    outsider = people.client(operator)
    assert outsider.post(acknowledge, {"reason": ""}).status_code == 404
    data = {"index": "0", "action": "acknowledge_many", "cybs_confirmed": "1"}
    for visitor in (viewer, outsider):
        visitor.post(
            people.url("expiryalert", "changelist"), {**data, "_selected_action": [str(alert.pk)]}
        )
    alert.refresh_from_db()
    assert alert.acknowledged_at is None


def test_more_than_a_thousand_at_once_are_refused(
    operator: User, monkeypatch: pytest.MonkeyPatch, mall: Organization
) -> None:
    monkeypatch.setattr("django_cybs_jwt.services.alerts.bulk.MOST", 2)
    data = {
        "index": "0",
        "action": "acknowledge_many",
        "_selected_action": [str(row.pk) for row in ExpiryAlert.objects.all()],
        "cybs_confirmed": "1",
    }
    address = people.url("expiryalert", "changelist")
    answer = people.client(operator).post(address, data, follow=True)
    assert "3 alerts at once are too many" in str(next(iter(answer.context["messages"])))
    assert not ExpiryAlert.objects.exclude(acknowledged_at=None).exists()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("", {"mall", "acme", "gone"}),
        ("open", {"acme"}),
        ("acknowledged", {"mall"}),
        ("snoozed", {"gone"}),
        ("escalated", {"acme"}),
        ("resolved", {"over"}),
        ("nonsense", {"mall", "acme", "gone"}),
    ],
)
def test_the_list_is_filtered_by_what_was_done(
    mall: Organization, operator: User, state: str, expected: set[str]
) -> None:
    now = timezone.now()
    of = ExpiryAlert.objects.filter
    of(organization=mall).update(acknowledged_at=now, acknowledged_by="x")
    of(organization__org_id="gone").update(snoozed_until=now + timedelta(days=1))
    of(organization__org_id="acme").update(escalated_at=now)
    over = ExpiryAlert.objects.all()[0]
    over.pk, over.threshold, over.resolved_at = None, 999, now
    over.organization = estate.organization("over")
    over._state.adding = True
    over.save()
    listed = people.client(operator).get(
        people.url("expiryalert", "changelist"), {"state": state} if state else {}
    )
    assert {row.organization.org_id for row in listed.context["cl"].result_list} == expected
