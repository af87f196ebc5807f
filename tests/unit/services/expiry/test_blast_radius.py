"""The scan asks the database for everybody at once; it must say what resolution says of each."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from uuid import UUID

import pytest

from django_cybs_jwt.models import Credential, GatewayCertificate, Organization, State
from django_cybs_jwt.services import expiry, gateway_certificates, organizations, resolution
from django_cybs_jwt.services.expiry.endings import Artefact, Successor
from tests.unit.services import estate
from tests.unit.services.estate import DAY, NOW

pytestmark = pytest.mark.django_db


def asked_one_by_one(merchants: list[Organization], now: datetime) -> dict[UUID, list[str]]:
    """Which merchants rely on which row: `resolution` and `choose`, as a send asks them."""
    relying: dict[UUID, list[str]] = defaultdict(list)
    for pk in [row.pk for row in merchants]:
        merchant = organizations.listing().select_related("parent__parent").get(pk=pk)
        rows = resolution.candidates(merchant)
        signing = resolution.deciding_signing_key(merchant, rows, now=now)
        if signing is None or not resolution.in_force(signing, now):
            continue
        owner = signing.organization
        if not (merchant.active and owner.active):
            continue
        relying[signing.pk].append(str(merchant))
        response = resolution.deciding_response_key(merchant, owner, rows, now=now)
        asks = merchant.response_mle != "never"
        if asks and response is not None and resolution.in_force(response, now):
            relying[response.pk].append(str(merchant))
        certificate = last_certificate(owner, now)
        if certificate is not None:
            relying[certificate.pk].append(str(merchant))
    return {pk: sorted(names) for pk, names in relying.items()}


def last_certificate(owner: Organization, now: datetime) -> GatewayCertificate | None:
    """Go through time: from each chosen certificate's end to the one chosen then."""
    rows = gateway_certificates.candidates(owner)
    moment, last = now, None
    while (chosen := gateway_certificates.choose(rows, now=moment)) is not None:
        if not chosen.not_before <= moment < chosen.not_after:
            break
        last, moment = chosen, chosen.not_after
    return last


def takes_over_by_itself(row: Credential, now: datetime) -> bool:
    """A due time before the end, of a key that lasts longer."""
    others = row.slot.credentials.filter(activate_at__gt=now, activate_at__lte=row.expires_at)
    return any(
        other.state in (State.STAGED, State.VERIFIED, State.RETIRING)
        and (other.expires_at is None or other.expires_at > row.expires_at)
        for other in others
    )


@pytest.mark.parametrize("seed", range(60))
def test_the_scan_says_of_every_merchant_what_resolution_says(seed: int) -> None:
    expected = asked_one_by_one(estate.random_estate(seed), NOW)

    found = {
        ending.subject: ending
        for ending in expiry.scan(NOW)
        if ending.artefact not in (Artefact.OVERLAP, Artefact.APPROVAL, Artefact.KEK)
    }

    for pk, names in expected.items():
        key = Credential.objects.filter(pk=pk).first()
        if key is not None and key.expires_at is None:
            assert pk not in found
        elif key is not None and takes_over_by_itself(key, NOW):
            assert found[pk].successor == Successor.SCHEDULED
            assert not found[pk].stops
        else:
            assert list(found[pk].stops) == names
    relied_upon = {pk for pk, ending in found.items() if ending.stops}
    ended = {
        pk
        for pk in relied_upon
        if found[pk].artefact == Artefact.REQUEST_MLE_CERTIFICATE and found[pk].ends <= NOW
    }
    assert relied_upon - ended <= set(expected)


def test_a_time_that_is_only_planned_makes_no_key_the_newest_of_its_slot() -> None:
    """A rolled-back key that will be tried again must not stop what another level signs."""
    mall = estate.organization("mall", kind="portfolio")
    meta = estate.key(mall, covers="all")
    acme = estate.organization("acme", parent=mall)
    planned = {"activated_at": NOW - 9 * DAY, "activate_at": NOW + DAY}
    again = estate.key(acme, state=State.RETIRING, **planned)
    estate.key(acme, state=State.RETIRED, slot=again.slot, activated_at=NOW - 8 * DAY)

    assert asked_one_by_one([acme], NOW) == {meta.pk: [str(acme)]}
