"""The readiness report: page by page, and as a file that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import readiness
from django_cybs_jwt.services.readiness import candidates, seen
from django_cybs_jwt.services.spreadsheet import cell
from tests.unit.admin import people
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


@pytest.fixture
def viewer() -> User:
    return people.staff("vera", "viewers")


@pytest.fixture
def mall() -> Organization:
    """A portfolio with a meta key over two merchants; one of its own, one with nothing."""
    now = timezone.now()
    top = estate.organization("mall", kind="portfolio")
    for name in ("bakery", "florist"):
        estate.organization(name, parent=top)
    estate.key(top, covers="all", now=now, verify_outcome="accepted")
    estate.key(top, covers="all", purpose="response-mle", now=now, verify_outcome="accepted")
    estate.certificate(top, days=100, now=now)
    estate.key(estate.organization("acme"), now=now)
    estate.organization("tester", host=estate.HOST)
    return top


def get(user: User, query: str = "") -> Any:
    return people.client(user).get(f"{people.url('organization', 'readiness')}?{query}")


def names(answer: Any) -> list[str]:
    return [row.organization for row in answer.context["page"].rows]


def table(answer: Any) -> list[dict[str, str]]:
    assert answer.streaming
    text = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(StringIO(text)))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["acme", "bakery", "florist", "tester"]),
        ("show=open", ["acme", "tester"]),
        ("portfolio=mall", ["bakery", "florist"]),
        ("portfolio=mall&show=open", []),
        (f"host={estate.HOST}", ["tester"]),
        (f"after=bakery@{estate.LIVE_HOST}", ["florist", "tester"]),
        ("after=%00", ["acme", "bakery", "florist", "tester"]),
    ],
)
def test_the_page_and_the_file_hold_the_merchants_that_are_asked_for(
    mall: Organization, viewer: User, query: str, expected: list[str]
) -> None:
    assert names(get(viewer, query)) == expected
    if "after" not in query:
        assert [row["organization"] for row in table(get(viewer, f"{query}&csv=1"))] == expected


def test_it_says_what_the_service_says(mall: Organization, viewer: User) -> None:
    content = get(viewer).content.decode()
    for row in readiness.report(now=timezone.now()):
        assert f"{row.organization}<br>" in content
        assert f"@{row.host}<" in content
        assert all(text in content for text in row.missing)
    assert "key of mall" in content


def test_a_limited_visitor_sees_his_merchants_and_no_name_above_them(
    mall: Organization, viewer: User
) -> None:
    people.limited(viewer, Organization.objects.get(org_id="bakery"))
    for query in ("", "csv=1"):
        answer = get(viewer, query)
        text = b"".join(answer).decode()
        assert "bakery" in text
        assert not any(name in text for name in ("mall", "florist", "acme", "tester"))
    assert get(viewer, "portfolio=mall").status_code == 400
    Organization.objects.filter(pk=mall.pk).update(active=False)
    text = get(viewer).content.decode()
    assert "An organization that you do not see" in text
    assert "mall" not in text


def test_it_takes_the_sight_of_organizations(mall: Organization) -> None:
    assert get(people.allowed("mara", "view_credential")).status_code == 403
    assert get(people.allowed("mona", "view_credential"), "csv=1").status_code == 403
    assert get(people.allowed("nina", "view_organization")).status_code == 200


def test_pages_follow_each_other_without_gap_or_repetition(
    viewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "PER_PAGE", 3)
    monkeypatch.setattr(candidates, "AT_ONCE", 2)
    monkeypatch.setattr(seen, "MOST_PORTIONS", 2)
    now = timezone.now()
    top = estate.organization("mall", kind="portfolio")
    for number in range(11):
        owner = estate.organization(f"mid{number:02}", parent=top if number % 3 else None)
        if number % 3 == 0:
            estate.key(owner, now=now)
    for query in ("", "show=open"):
        found, address = [], f"?{query}"
        for _ in range(12):
            answer = people.client(viewer).get(people.url("organization", "readiness") + address)
            found += names(answer)
            address = answer.context["further"]
            if not address:
                break
        assert found == [f"mid{number:02}" for number in range(11)]


def test_queries_do_not_grow_with_merchants(
    viewer: User, django_assert_max_num_queries: Any
) -> None:
    estate.many_merchants(150, days=30, now=timezone.now())
    made = people.client(viewer)
    with django_assert_max_num_queries(16) as captured:
        answer = made.get(people.url("organization", "readiness"))
    assert len(names(answer)) == 100
    assert not any('"sealed_' in query["sql"] for query in captured)


@pytest.mark.parametrize(
    "name",
    [
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        " =1",
        "\uff1d1+1",
        "\ufeff=1",
        'a",=1',
    ],
)
def test_no_cell_is_a_formula(viewer: User, name: str) -> None:
    estate.organization("acme", name=name)
    (row,) = table(get(viewer, "csv=1"))
    assert row["name"] in (name, f"'{name}")
    assert not row["name"].strip(" \ufeff").startswith(("=", "+", "-", "@", "\t", "\uff1d"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (False, "no"), (None, ""), (-3, "-3"), (("a", "b"), "a b"), ("-3", "'-3")],
)
def test_a_cell_says_what_the_value_is(value: object, text: str) -> None:
    assert cell(value) == text
