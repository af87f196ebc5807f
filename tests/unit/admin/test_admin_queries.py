"""No list, dashboard or screen of a list takes more than fifteen queries."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from benchmarks.admin_lists import MOST_QUERIES, pages
from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import scope
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.admin import people, two_parts

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


@pytest.fixture
def part(cybs_simulator: Simulation) -> Organization:
    return two_parts.plant(cybs_simulator)


@pytest.fixture(params=["superuser", "limited"])
def visitor(request: Any, part: Organization) -> User:
    if request.param == "superuser":
        return people.superuser()
    groups = ("viewers", "operators", "approvers", "custodians", "auditors")
    return people.limited(people.staff("limited", *groups), part)


def test_fifteen_queries_are_enough_for_every_page_of_a_list(visitor: User) -> None:
    """The pages that the benchmark measures at 100,000 merchants, under the same filters."""
    client = people.client(visitor)
    people.password_typed(client, timezone.now().timestamp())
    dear, count = {}, 0
    for name, place in pages(scope.of(visitor)):
        client.get(place)
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(place)
        is_his = visitor.is_superuser or not name.startswith("staffscope")
        assert answer.status_code == (200 if is_his else 403), place
        count += 1
        if len(captured) > MOST_QUERIES:
            dear[name] = len(captured)
    assert dear == {}
    assert count > 50


def test_counts_beside_the_filters_are_not_to_be_had_and_take_no_query(visitor: User) -> None:
    client, dear = people.client(visitor), {}
    for model in people.registered():
        taken = []
        for query in ({}, {}, {"_facets": "True"}):
            with CaptureQueriesContext(connection) as captured:
                answer = client.get(people.url(model, "changelist"), query)
            taken.append(len(captured))
            assert b"Show counts" not in answer.content
        if taken[1] != taken[2]:
            dear[model] = taken[1:]
    assert dear == {}
