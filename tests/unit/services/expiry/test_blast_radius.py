"""The scan asks the database for everybody at once; it must say what resolution says of each."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from uuid import UUID

import pytest

from django_cybs_jwt.models import Credential, GatewayCertificate, Organization, State
from django_cybs_jwt.services import expiry, gateway_certificates, organizations, resolution
from django_cybs_jwt.services.expiry.endings import Artefact
from django_cybs_jwt.services.overview import impact
from tests.unit.services import estate
from tests.unit.services.estate import DAY, NOW

pytestmark = pytest.mark.django_db


def asked_one_by_one(merchants: list[Organization], now: datetime) -> dict[UUID, list[str]]:
    """Which merchants rely on which row when it ends: asked as a send would ask then."""
    relying: dict[UUID, list[str]] = defaultdict(list)
    certificates = {row.pk: row for row in GatewayCertificate.objects.all()}
    for merchant in (
        organizations.listing()
        .select_related("parent__parent")
        .filter(pk__in=[row.pk for row in merchants], active=True)
    ):
        keys = resolution.candidates(merchant)
        for row in keys:
            if row in used(merchant, keys, at=end_of(row.expires_at, now)):
                relying[row.pk].append(str(merchant))
        for row in certificates.values():
            signing, *_ = used(merchant, keys, at=end_of(row.not_after, now)) or [None]
            if signing is not None and row == last_certificate(signing.organization, now):
                relying[row.pk].append(str(merchant))
    return {pk: sorted(names) for pk, names in relying.items()}


def end_of(ends: datetime | None, now: datetime) -> datetime:
    return now if ends is None else max(ends, now)


def used(merchant: Organization, keys: list[Credential], *, at: datetime) -> list[Credential]:
    """The signing key, and the Response MLE key if there is one and it is asked for."""
    signing = resolution.deciding_signing_key(merchant, keys, now=at)
    if signing is None or not resolution.in_force(signing, at) or not signing.organization.active:
        return []
    response = None
    if merchant.response_mle != "never":
        response = resolution.deciding_response_key(merchant, signing.organization, keys, now=at)
    in_force = response is not None and resolution.in_force(response, at)
    return [signing, response] if in_force and response else [signing]


def last_certificate(owner: Organization, now: datetime) -> GatewayCertificate | None:
    """Go through time: from each chosen certificate's end to the one chosen then."""
    rows = gateway_certificates.candidates(owner)
    moment, last = now, None
    while (chosen := gateway_certificates.choose(rows, now=moment)) is not None:
        if not chosen.not_before <= moment < chosen.not_after:
            break
        last, moment = chosen, chosen.not_after
    return last


@pytest.mark.parametrize("seed", range(80))
def test_the_scan_says_of_every_merchant_what_resolution_says(seed: int) -> None:
    expected = asked_one_by_one(estate.random_estate(seed), NOW)

    found = {
        ending.subject: ending
        for ending in expiry.scan(NOW)
        if ending.artefact not in (Artefact.OVERLAP, Artefact.APPROVAL, Artefact.KEK)
    }

    endless = set(Credential.objects.filter(expires_at=None).values_list("pk", flat=True))
    assert not endless & set(found)
    for pk in expected.keys() - endless:
        assert list(found[pk].stops) == expected[pk]
    ended = {
        pk
        for pk, ending in found.items()
        if ending.artefact == Artefact.REQUEST_MLE_CERTIFICATE and ending.ends <= NOW
    }
    assert {pk for pk, ending in found.items() if ending.stops} - ended <= set(expected)


@pytest.mark.parametrize("seed", range(40))
def test_the_merchants_that_depend_on_a_key_are_those_that_a_send_gives_it_to(seed: int) -> None:
    merchants = [row for row in estate.random_estate(seed) if row.active]
    expected = defaultdict(set)
    for merchant in organizations.listing().filter(pk__in=[row.pk for row in merchants]):
        for row in used(merchant, resolution.candidates(merchant), at=NOW):
            expected[row.pk].add(str(merchant))

    for row in Credential.objects.select_related("slot", "organization"):
        assert set(impact.dependents(row, now=NOW)) == expected[row.pk]


def test_a_time_that_is_only_planned_makes_no_key_the_newest_of_its_slot() -> None:
    """A rolled-back key that will be tried again must not stop what another level signs."""
    mall = estate.organization("mall", kind="portfolio")
    meta = estate.key(mall, covers="all")
    acme = estate.organization("acme", parent=mall)
    planned = {"activated_at": NOW - 9 * DAY, "activate_at": NOW + DAY}
    again = estate.key(acme, state=State.RETIRING, **planned)
    estate.key(acme, state=State.RETIRED, slot=again.slot, activated_at=NOW - 8 * DAY)

    assert impact.dependents(meta, now=NOW) == [str(acme)]
    assert asked_one_by_one([acme], NOW) == {again.pk: [str(acme)]}
