"""The merchants of single alerts by name: the same that the whole scan finds."""

from __future__ import annotations

import pytest

from django_cybs_jwt.models import ExpiryAlert, Organization
from django_cybs_jwt.services import alerts, expiry
from django_cybs_jwt.services.expiry import blast_names
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

SEEDS = [0, 1, 2, 3, 4, 5, 9, 10, 11, 13, 15, 16]  # in the others nothing stops anybody


@pytest.mark.parametrize("seed", SEEDS)
def test_each_alert_names_whom_the_scan_says_it_stops(seed: int) -> None:
    estate.random_estate(seed)
    alerts.raise_due(estate.NOW)
    stops = {
        (ending.artefact, ending.subject, ending.ends): list(ending.stops)
        for ending in expiry.scan(estate.NOW)
    }
    rows = list(ExpiryAlert.objects.select_related("organization").filter(resolved_at=None))
    found = blast_names.stopping(rows, now=estate.NOW)
    for row in rows:
        if row.organization is not None:
            expected = stops[row.artefact, row.subject, row.ends]
            assert list(found.get(row.pk, ())) == expected
    assert any(found.values()), "an estate in which nothing stops anybody proves nothing"


def test_a_merchant_that_nothing_stops_is_not_named() -> None:
    top = estate.organization("mall", kind="portfolio")
    shop = estate.organization("shop", parent=top)
    estate.key(top, days=20, covers="all")
    estate.key(shop, days=500)
    alerts.raise_due(estate.NOW)
    rows = ExpiryAlert.objects.select_related("organization")
    assert {
        name for some in blast_names.stopping(rows, now=estate.NOW).values() for name in some
    } == set()
    assert Organization.objects.count() == 2
