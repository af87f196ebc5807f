"""When a merchant stops: the list of ends, the readiness report and the lists' filter agree."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from django.db import transaction

from django_cybs_jwt.models import Credential, Organization
from django_cybs_jwt.services import expiry, readiness
from django_cybs_jwt.services.expiry.endings import Ending
from django_cybs_jwt.services.readiness.standing import Standing, joined
from tests.unit.services import estate
from tests.unit.services.estate import DAY, NOW

pytestmark = pytest.mark.django_db


def days_left() -> Mapping[str, int | None]:
    """By the readiness report, of merchants that sign now."""
    report = readiness.report(now=NOW)
    return {f"{row.organization}@{row.host}": row.days_left for row in report if row.jwt_v2}


def effective_ends() -> dict[str, Ending]:
    """By merchant: the list's, or an earlier one if only accepted keys take over as planned."""
    ends = expiry.effective_ends(expiry.scan(NOW))
    with transaction.atomic():
        doubtful = Credential.objects.filter(activate_at__gt=NOW).exclude(verify_outcome="accepted")
        doubtful.update(activate_at=None, overlap_until=None)
        others = expiry.effective_ends(expiry.scan(NOW))
        transaction.set_rollback(True)
    return {
        merchant: min(
            (found[merchant] for found in (ends, others) if merchant in found),
            key=lambda ending: ending.ends,
        )
        for merchant in ends.keys() | others.keys()
    }


def ending_within(days: int) -> set[str]:
    standing, merchants = Standing(NOW), Organization.objects.filter(kind="merchant")
    return {str(row) for row in joined(merchants).filter(standing.ends_by(NOW + days * DAY))}


@pytest.mark.parametrize("seed", range(120))
def test_the_first_end_that_stops_a_merchant_is_the_one_its_readiness_counts_to(seed: int) -> None:
    estate.random_estate(seed)
    ends = effective_ends()

    for merchant, days in days_left().items():
        ending = ends.get(merchant)
        if ending is None or ending.ends > NOW:  # of who is stopped the report says that instead
            assert (ending and ending.days_left(NOW)) == days, merchant


@pytest.mark.parametrize("seed", range(120))
def test_the_filter_finds_the_merchants_whose_readiness_counts_to_such_a_day(seed: int) -> None:
    estate.random_estate(seed)
    left = {merchant: days for merchant, days in days_left().items() if days is not None}

    for days in (3, 7, 40, 600):
        assert ending_within(days) == {one for one, count in left.items() if count < days}


@pytest.mark.parametrize("purpose", ["signing", "response-mle"])
@pytest.mark.parametrize(
    ("days", "planned", "expected"),
    [
        (30, [(10, 60)], 60),  # the successor's own end
        (900, [(10, 60)], 60),  # which may be the earlier one
        (30, [(40, 900)], 30),  # it comes too late
        (30, [(10, 60), (50, 900)], 900),
        (30, [(10, 60), (70, 900)], 60),
        (None, [(10, 60)], 60),
        (30, [(10, None)], None),
    ],
)
def test_a_planned_key_passes_its_own_end_on_to_those_whom_it_will_serve(
    purpose: str, days: float | None, planned: list[tuple[int, int | None]], expected: int | None
) -> None:
    acme = estate.organization("acme")
    if purpose != "signing":
        estate.key(acme, days=None)
    old = estate.key(acme, days=days, purpose=purpose)
    for begins, ends in planned:
        estate.successor(old, days=ends, activate_at=NOW + begins * DAY)

    ending = expiry.effective_ends(expiry.scan(NOW)).get(str(acme))
    assert (ending and ending.days_left(NOW)) == expected
    assert days_left() == {str(acme): expected}
    for horizon in (20, 45, 61, 901):
        found = expected is not None and expected < horizon
        assert ending_within(horizon) == ({str(acme)} if found else set())


@pytest.mark.parametrize("purpose", ["signing", "response-mle"])
@pytest.mark.parametrize("outcome", ["", "refused", "inconclusive"])
@pytest.mark.parametrize(
    ("days", "planned", "expected"),
    [
        (30, (10, 900), 30),  # the old key's end, as if nobody took over
        (900, (10, 60), 60),  # or its own, if that is earlier
        (None, (10, 900), 900),
        (None, (10, None), None),
    ],
)
def test_a_planned_key_that_the_gateway_did_not_accept_is_not_counted_on(
    purpose: str,
    outcome: str,
    days: float | None,
    planned: tuple[int, int | None],
    expected: int | None,
) -> None:
    acme = estate.organization("acme")
    if purpose != "signing":
        estate.key(acme, days=None)
    old = estate.key(acme, days=days, purpose=purpose)
    begins, ends = planned
    estate.successor(old, days=ends, activate_at=NOW + begins * DAY, verify_outcome=outcome)

    assert days_left() == {str(acme): expected}
    for horizon in (20, 45, 61, 901):
        found = expected is not None and expected < horizon
        assert ending_within(horizon) == ({str(acme)} if found else set())
