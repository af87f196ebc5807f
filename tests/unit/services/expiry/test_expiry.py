"""What the list of ends contains, artefact by artefact, and what it leaves out."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.utils import timezone

from django_cybs_jwt.exceptions import OrganizationNotFound
from django_cybs_jwt.models import Approval, Credential, State
from django_cybs_jwt.sealing import KeyRing
from django_cybs_jwt.services import expiry
from django_cybs_jwt.services.expiry.endings import FAR, Artefact, Ending, Successor
from django_cybs_jwt.services.expiry.moments import Moment
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services import estate
from tests.unit.services.estate import DAY, NOW

pytestmark = pytest.mark.django_db

REQUEST_MLE = Artefact.REQUEST_MLE_CERTIFICATE


def ends(now: datetime = NOW, **filters: Any) -> list[Ending]:
    return list(expiry.listing(now, **filters))


def only(now: datetime = NOW) -> Ending:
    (found,) = ends(now)
    return found


@pytest.mark.parametrize(
    ("columns", "artefact"),
    [
        ({"purpose": "signing"}, "signing-certificate"),
        ({"purpose": "signing", "kind": "private_key"}, "signing-certificate"),
        ({"purpose": "signing", "kind": "shared_secret"}, "shared-secret"),
    ],
)
def test_a_signing_key_ends_and_stops_its_merchant(columns: dict[str, str], artefact: str) -> None:
    row = estate.key(estate.organization("acme"), days=100.5, **columns)

    found = only()

    assert (found.artefact, found.subject, found.key_id) == (artefact, row.pk, row.key_id)
    assert (found.organization, found.host, found.live) == ("acme", estate.LIVE_HOST, True)
    assert found.days_left(NOW) == 100
    assert found.in_use
    assert found.stops == [f"acme@{estate.LIVE_HOST}"]


def test_a_response_key_stops_a_merchant_that_signs_with_its_own_key() -> None:
    acme = estate.organization("acme")
    estate.key(acme, days=300)
    estate.key(acme, days=200, purpose="response-mle")

    first, _ = ends()

    assert first.artefact == "response-mle-certificate"
    assert first.stops == [f"acme@{estate.LIVE_HOST}"]


def test_a_response_key_left_behind_under_a_meta_key_stops_nobody() -> None:
    mall = estate.organization("mall", kind="portfolio")
    acme = estate.organization("acme", parent=mall)
    estate.key(mall, days=300, covers="all")
    estate.key(acme, days=200, purpose="response-mle")

    left_behind, meta = ends()

    assert (left_behind.in_use, list(left_behind.stops)) == (False, [])
    assert meta.stops == [str(acme)]


def test_the_certificate_that_a_real_file_carries_ends_before_the_key_beside_it() -> None:
    acme = estate.organization("acme")
    estate.key(acme, days=660)
    estate.certificate(acme, days=-118)

    first = ends()[0]

    assert (first.artefact, first.days_left(NOW)) == (REQUEST_MLE, -118)
    assert expiry.effective_ends(ends())[str(acme)] == first


def test_an_ended_certificate_beside_a_newer_valid_one_is_not_listed() -> None:
    acme = estate.organization("acme")
    estate.key(acme, days=660)
    estate.certificate(acme, days=-118)
    newer = estate.certificate(acme, days=200)

    assert [found.subject for found in ends() if found.artefact == REQUEST_MLE] == [newer.pk]


def test_the_same_certificate_in_several_files_is_listed_once_and_stays_the_same_row() -> None:
    acme = estate.organization("acme")
    estate.key(acme, days=660)
    first = estate.certificate(acme, days=50)
    estate.certificate(acme, days=50)
    estate.certificate(acme, days=50)

    assert [found.subject for found in ends() if found.artefact == REQUEST_MLE] == [first.pk]


def test_the_same_host_wide_certificate_twice_is_listed_once() -> None:
    estate.key(estate.organization("acme"), days=660)
    estate.certificate(None, days=50)
    estate.certificate(None, days=50)

    assert len([found for found in ends() if found.artefact == REQUEST_MLE]) == 1


def test_a_certificate_that_another_one_outlasts_is_listed_out_of_use_and_stops_nobody() -> None:
    acme, shop = estate.organization("acme"), estate.organization("shop")
    for owner in (acme, shop):
        estate.key(owner, days=660)
    for days in (50, 50, 200):
        estate.certificate(acme, days=days)
    for days in (-3, 40, 40, 180):
        estate.certificate(None, days=days)

    listed = [found for found in ends() if found.artefact == REQUEST_MLE]

    expected = [("", 40), ("acme", 50), ("", 180), ("acme", 200)]
    assert [(found.organization, found.days_left(NOW)) for found in listed] == expected
    quiet = [(found.in_use, list(found.stops)) for found in listed[:2]]
    assert quiet == [(False, [])] * 2
    assert all(found.in_use and found.stops for found in listed[2:])
    scanned = [found for found in expiry.scan(NOW) if found.artefact == REQUEST_MLE]
    assert scanned == listed[2:]


def test_a_newer_certificate_waits_with_the_key_whose_file_carried_it() -> None:
    acme = estate.organization("acme")
    old = estate.key(acme, days=660)
    ending = estate.certificate(acme, days=20)
    ready = estate.successor(old)
    estate.certificate(acme, days=700, credential=ready, in_use=False)

    found = {item.subject: item for item in ends()}

    assert found[ending.pk].successor == Successor.VERIFIED
    assert found[ending.pk].stops == [str(acme)]


@pytest.mark.parametrize(("days", "expected"), [(10, Successor.SCHEDULED), (100, Successor.NONE)])
def test_a_certificate_that_comes_with_a_planned_key_counts_if_it_comes_in_time(
    days: int, expected: Successor
) -> None:
    acme = estate.organization("acme")
    old = estate.key(acme, days=660)
    ending = estate.certificate(acme, days=20)
    planned = estate.successor(old, activate_at=NOW + days * DAY)
    estate.certificate(acme, days=700, credential=planned, in_use=False)

    found = {item.subject: item for item in ends()}

    assert found[ending.pk].successor == expected


def test_a_merchant_that_never_asks_for_encrypted_replies_needs_no_response_key(
    settings: Any,
) -> None:
    acme, shop = estate.organization("acme", response_mle="never"), estate.organization("shop")
    for owner in (acme, shop):
        estate.key(owner, days=300)
        estate.key(owner, days=200, purpose="response-mle")

    def stopped() -> list[list[str]]:
        return [list(found.stops) for found in ends() if "response" in found.artefact]

    assert sorted(stopped()) == [[], [str(shop)]]
    settings.CYBS_JWT = {"RESPONSE_MLE": "never"}
    assert stopped() == [[], []]


def test_a_host_wide_certificate_that_lasts_longer_stands_in_for_an_owners() -> None:
    acme, shop = estate.organization("acme"), estate.organization("shop")
    estate.key(acme, days=660)
    estate.key(shop, days=660)
    own = estate.certificate(acme, days=50)
    estate.certificate(shop, days=500)
    shared = estate.certificate(None, days=90)

    found = {ending.subject: ending for ending in ends() if ending.artefact == REQUEST_MLE}

    assert (found[own.pk].in_use, list(found[own.pk].stops)) == (False, [])
    assert own.pk not in {ending.subject for ending in expiry.scan(NOW)}
    assert found[shared.pk].stops == [str(acme)]
    assert (found[shared.pk].organization, found[shared.pk].host) == ("", estate.LIVE_HOST)


def test_a_certificate_of_an_owner_that_does_not_sign_is_not_listed() -> None:
    estate.certificate(estate.organization("acme"), days=-10)

    assert ends() == []


@pytest.mark.parametrize("state", [State.STAGED, State.VERIFIED, State.RETIRING])
def test_a_key_that_waits_is_listed_and_stops_nobody(state: State) -> None:
    estate.key(estate.organization("acme"), state=state)

    found = only()

    assert (found.state, found.in_use, list(found.stops)) == (state, False, [])


@pytest.mark.parametrize(
    "state", [State.RETIRED, State.SUSPENDED, State.COMPROMISED, State.DESTROYED]
)
def test_a_key_out_of_use_is_not_listed(state: State) -> None:
    estate.key(estate.organization("acme"), state=state)

    assert ends() == []


def test_a_disabled_organization_has_nothing_that_ends() -> None:
    estate.key(estate.organization("acme", active=False))

    assert ends() == []


def test_a_meta_key_stops_every_merchant_without_a_key_of_its_own() -> None:
    mall = estate.organization("mall", kind="portfolio")
    account = estate.organization("account", kind="account", parent=mall)
    covered = [estate.organization(f"mid{n}", parent=account) for n in range(17)]
    estate.organization("closed", parent=account, active=False)
    own = estate.organization("own", parent=account)
    estate.key(own, days=900)
    meta = estate.key(mall, days=100, covers="all")

    found = ends()[0]

    assert found.subject == meta.pk
    assert found.stops == sorted(str(merchant) for merchant in covered)


def test_a_due_key_has_taken_over_whether_something_ticked_or_not() -> None:
    acme = estate.organization("acme")
    old = estate.key(acme, days=5)
    new = estate.successor(old, days=800, activate_at=NOW - DAY)

    first, second = ends()

    assert (first.subject, first.in_use, list(first.stops)) == (old.pk, False, [])
    assert (second.subject, second.stops) == (new.pk, [str(acme)])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, Successor.VERIFIED),
        ({"verify_outcome": "refused"}, Successor.NONE),
        ({"state": State.STAGED, "verify_outcome": ""}, Successor.NONE),
        ({"days": 10}, Successor.NONE),
        ({"not_before": NOW + 60 * DAY}, Successor.NONE),
        ({"activate_at": NOW + 2 * DAY}, Successor.SCHEDULED),
        ({"activate_at": NOW + 60 * DAY}, Successor.NONE),
        ({"activate_at": NOW + 2 * DAY, "verify_outcome": "refused"}, Successor.NONE),
        ({"activate_at": NOW + 2 * DAY, "verify_outcome": "inconclusive"}, Successor.NONE),
        ({"activate_at": NOW + 2 * DAY, "verify_outcome": ""}, Successor.NONE),
        ({"activate_at": NOW + 2 * DAY, "state": State.RETIRING}, Successor.SCHEDULED),
    ],
)
def test_a_successor_counts_when_it_can_take_over_in_time(
    columns: dict[str, Any], expected: Successor
) -> None:
    old = estate.key(estate.organization("acme"), days=30)
    estate.successor(old, **columns)

    found = {ending.subject: ending for ending in ends()}

    assert found[old.pk].successor == expected
    # It switches at its time, verified or not; but only one that is verified calms anybody.
    switches = columns.get("activate_at", FAR) < found[old.pk].ends
    assert bool(found[old.pk].stops) is not switches


def test_a_successor_in_another_slot_is_none() -> None:
    acme = estate.organization("acme")
    old = estate.key(acme, days=30)
    estate.key(acme, name="other", state=State.VERIFIED, verify_outcome="accepted")

    assert ends()[0].subject == old.pk
    assert ends()[0].successor == Successor.NONE


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (date(2026, 1, 31), datetime(2027, 1, 31, tzinfo=UTC)),
        (date(2024, 2, 29), datetime(2025, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_key_encryption_key_is_due_after_twelve_months(
    created: date, expected: datetime, settings: Any
) -> None:
    ring = json.loads(KeyRing.generate("2026-01", created=created).to_json())
    settings.CYBS_JWT = {"KEYRING": ring}

    found = only()

    assert (found.artefact, found.key_id, found.ends) == ("kek", "2026-01", expected)
    assert found.subject == only().subject
    assert (found.in_use, list(found.stops)) == (True, [])


def test_without_a_ring_the_rest_is_listed(settings: Any) -> None:
    settings.CYBS_JWT = {}
    estate.key(estate.organization("acme"))

    assert only().artefact == Artefact.SIGNING_CERTIFICATE


def test_an_open_overlap_and_an_open_approval_are_listed_until_they_end() -> None:
    row = estate.key(
        estate.organization("acme"),
        days=None,
        state=State.RETIRING,
        overlap_until=NOW + DAY,
        retiring_at=NOW,
    )
    approval = Approval.objects.create(
        credential=row,
        action="destroy",
        fingerprint="",
        lock_version=0,
        requested_by="ann",
        requested_at=NOW,
        expires_at=NOW + DAY / 2,
    )

    listed = [(found.artefact, found.subject, list(found.stops)) for found in ends()]

    assert listed == [("approval", approval.pk, []), ("overlap", row.pk, [])]
    assert ends(NOW + 2 * DAY) == []


def test_the_list_is_sorted_by_end_and_goes_as_far_as_it_is_asked() -> None:
    for days in (300, -4, 20, 90, 2000):
        estate.key(estate.organization(f"mid{days}".replace("-", "m")), days=days)

    assert [found.days_left(NOW) for found in ends()] == [-4, 20, 90, 300, 2000]
    assert [found.days_left(NOW) for found in ends(days=90)] == [-4, 20, 90]
    assert len(ends(days=10**12)) == 5


def test_filters_choose_by_host_organization_and_portfolio() -> None:
    mall = estate.organization("mall", kind="portfolio")
    acme = estate.organization("acme", parent=mall)
    served = estate.organization("served", parent=mall)
    lone = estate.organization("lone", host=estate.HOST)
    meta = estate.key(mall, days=100, covers="all")
    own = estate.key(acme, days=200)
    other = estate.key(lone, days=300)

    def subjects(**filters: Any) -> list[object]:
        return [found.subject for found in ends(**filters)]

    assert subjects(host=estate.HOST.upper()) == [other.pk]
    assert subjects(organization="mall") == [meta.pk, own.pk]
    assert subjects(organization="acme") == [own.pk]
    assert subjects(organization=served.org_id) == [meta.pk]
    with pytest.raises(OrganizationNotFound):
        subjects(organization="nobody")


def test_keys_in_force_without_a_known_end_are_counted_not_listed() -> None:
    estate.key(estate.organization("acme"), days=None)
    estate.key(estate.organization("shop"), days=None, state=State.STAGED)

    assert ends() == []
    assert expiry.count_without_end(NOW) == 1


def test_the_scan_asks_a_fixed_number_of_queries(django_assert_max_num_queries: Any) -> None:
    estate.many_merchants(300, days=30)

    with django_assert_max_num_queries(16):
        assert len(ends()) == 300


def test_the_scan_never_reads_a_sealed_column(django_assert_max_num_queries: Any) -> None:
    mall = estate.organization("mall", kind="portfolio")
    estate.organization("acme", parent=mall)
    row = estate.key(mall, covers="all", state=State.ACTIVE)
    Credential.objects.filter(pk=row.pk).update(sealed_secret=b"x", sealed_p12=b"y")

    with django_assert_max_num_queries(20) as asked:
        assert ends()

    selected = [query["sql"].partition(" FROM ")[0] for query in asked.captured_queries]
    assert not any("sealed" in columns for columns in selected)


def test_what_an_import_of_real_files_stores_is_all_watched(cybs_simulator: Simulation) -> None:
    """Two P12 files, each with the gateway's certificate in it."""
    acme = cybs_simulator.merchant("acme")

    found = ends(timezone.now())

    assert {item.artefact: list(item.stops) for item in found} == {
        Artefact.SIGNING_CERTIFICATE: [str(acme)],
        Artefact.RESPONSE_MLE_CERTIFICATE: [str(acme)],
        Artefact.REQUEST_MLE_CERTIFICATE: [str(acme)],
    }
    assert len(found) == 3
    assert not any(item.live for item in found)


@pytest.mark.parametrize(
    "end",
    [
        None,
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2027, 3, 28, 1, 0, 0, 1, tzinfo=UTC),
        datetime(2028, 2, 29, 12, 34, 56, 654_321, tzinfo=UTC),
        datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_a_moment_is_the_columns_value_to_the_microsecond(end: datetime | None) -> None:
    estate.key(estate.organization("acme"), expires_at=end)

    ((column, moment),) = Credential.objects.values_list("expires_at", Moment("expires_at"))

    assert (column, moment) == (end, end)


@pytest.mark.parametrize(
    ("columns", "life"),
    [
        ({"kind": "shared_secret", "not_before": None, "staged_at": NOW}, None),
        ({"not_before": NOW - 915 * DAY, "staged_at": NOW}, 1000),
    ],
    ids=["a typed end", "a certificate"],
)
def test_a_life_begins_with_the_certificate_and_of_a_typed_end_nobody_knows_it(
    columns: dict[str, Any], life: int | None
) -> None:
    estate.key(estate.organization("acme"), days=85, **columns)

    (found,) = ends()

    assert (found.begins and found.ends - found.begins) == (life and life * DAY)
