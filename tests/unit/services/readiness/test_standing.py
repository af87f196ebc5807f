"""The conditions find the merchants of which readiness says the same, one by one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import readiness
from django_cybs_jwt.services.readiness.standing import Fact, Standing, joined
from tests.unit.services import estate
from tests.unit.services.estate import DAY, NOW

pytestmark = pytest.mark.django_db


def judged() -> dict[Organization, readiness.Readiness]:
    merchants = list(Organization.objects.filter(kind="merchant", active=True))
    return dict(zip(merchants, readiness.of(merchants, now=NOW), strict=True))


def found(condition: object) -> set[str]:
    rows = joined(Organization.objects.filter(kind="merchant")).filter(condition)
    return {row.org_id for row in rows}


@pytest.mark.parametrize("seed", range(40))
def test_each_fact_is_true_of_the_same_merchants(seed: int) -> None:
    estate.random_estate(seed)
    standing, merchants = Standing(NOW), judged()
    for fact in Fact:
        expected = {row.org_id for row, one in merchants.items() if getattr(one, fact)}
        assert found(standing.has(fact)) == expected, fact


@pytest.mark.parametrize("seed", range(40))
def test_the_same_merchants_stop_within_so_many_days(seed: int) -> None:
    estate.random_estate(seed)
    standing, merchants = Standing(NOW), judged()
    for days in (7, 40, 600):
        expected = {
            row.org_id
            for row, one in merchants.items()
            if one.days_left is not None and one.days_left < days
        }
        assert found(standing.ends_by(NOW + days * DAY)) == expected, days


def test_a_selected_merchant_with_a_planned_key_of_its_own_speaks_for_itself_alone() -> None:
    mall = estate.organization("mall", kind="portfolio")
    meta = estate.key(mall, covers="selected", days=5)
    for name in ("first", "second"):
        meta.slot.merchants.add(estate.organization(name, parent=mall))
    planned = Organization.objects.get(org_id="first")
    estate.key(planned, state="VERIFIED", verify_outcome="accepted", activate_at=NOW + DAY)
    expected = {row.org_id for row, one in judged().items() if one.days_left == 5}
    assert expected == {"second"}
    assert found(Standing(NOW).ends_by(NOW + 7 * DAY)) == expected


def test_the_questions_cost_the_same_for_few_and_for_many(
    django_assert_max_num_queries: object,
) -> None:
    mall = estate.organization("mall", kind="portfolio")
    estate.key(mall, covers="all", days=100)
    for n in range(30):
        estate.organization(f"mid{n}", parent=mall)
    estate.many_merchants(30, days=5, now=NOW)
    with django_assert_max_num_queries(5):
        standing = Standing(NOW)
        assert joined(Organization.objects.all()).filter(standing.has(Fact.JWT_V2)).count() == 61
        soon = standing.ends_by(NOW + timedelta(days=7))
        assert joined(Organization.objects.all()).filter(soon).count() == 30
