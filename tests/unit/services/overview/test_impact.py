"""Whom a step concerns, as the pages and commands say it before and after."""

from __future__ import annotations

import pytest

from django_cybs_jwt.models import Credential, GatewayCertificate, Organization, State
from django_cybs_jwt.services.overview import impact
from tests.unit.services import estate
from tests.unit.services.estate import DAY, NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def mall() -> Organization:
    """A portfolio with one merchant that lives on its key, one with its own, and a closed one."""
    mall = estate.organization("mall", kind="portfolio")
    estate.organization("garden", parent=mall)
    estate.key(estate.organization("own", parent=mall))
    estate.organization("closed", parent=mall, active=False)
    return mall


@pytest.fixture
def meta(mall: Organization) -> Credential:
    return estate.key(mall, covers="all")


GARDEN = [f"garden@{estate.LIVE_HOST}"]


@pytest.mark.parametrize("action", ["suspend", "retire", "destroy", "export"])
def test_what_takes_a_key_away_concerns_who_depends_on_it(action: str, meta: Credential) -> None:
    waiting = estate.successor(meta)
    assert impact.affected(action, meta, now=NOW) == GARDEN
    assert impact.affected(action, waiting, now=NOW) == []


@pytest.mark.parametrize("columns", [{}, {"activate_at": NOW + DAY}])
def test_an_activation_concerns_who_depends_on_the_key_before(
    columns: dict[str, object], meta: Credential
) -> None:
    waiting = estate.successor(meta, **columns)
    assert impact.affected("activate", waiting, now=NOW) == GARDEN


def test_the_plan_of_a_first_key_concerns_whom_it_will_serve(mall: Organization) -> None:
    first = estate.key(mall, covers="all", state=State.VERIFIED, activate_at=NOW + DAY)
    assert impact.affected("activate", first, now=NOW) == GARDEN


def test_an_activation_that_is_due_has_happened(meta: Credential) -> None:
    due = estate.successor(meta, activate_at=NOW - DAY)
    assert impact.served(due, now=NOW) == GARDEN
    assert impact.dependents(meta, now=NOW) == []


def with_successor(old: Credential, **columns: object) -> Credential:
    """*old* in an open overlap, and the key that replaced it."""
    hour = NOW - DAY / 24
    Credential.objects.filter(pk=old.pk).update(
        state=State.RETIRING, active_slot=None, retiring_at=hour, overlap_until=NOW + DAY
    )
    old.refresh_from_db()
    state = {"state": State.ACTIVE, "active_slot": old.slot, "activated_at": hour}
    return estate.key(old.organization, slot=old.slot, **{**state, **columns})


def test_a_key_in_its_overlap_is_the_way_back_of_who_depends_on_its_successor(
    meta: Credential,
) -> None:
    new = with_successor(meta)
    assert impact.lost("suspend", meta, now=NOW) == {impact.Stake.WAY_BACK: GARDEN}
    assert impact.lost("retire", new, now=NOW) == {impact.Stake.USE: GARDEN}
    assert impact.lost("suspend", meta, now=NOW + 2 * DAY) == {}


def test_where_the_successor_is_out_of_use_the_key_before_is_the_way_out(meta: Credential) -> None:
    gone = {"state": State.SUSPENDED, "active_slot": None}
    with_successor(meta, **gone, suspended_at=NOW, suspended_from=State.ACTIVE)
    assert list(impact.lost("retire", meta, now=NOW)) == [impact.Stake.WAY_OUT]
    assert f"garden@{estate.LIVE_HOST}" in impact.affected("retire", meta, now=NOW)


@pytest.mark.parametrize("state", [State.RETIRING, State.RETIRED, State.SUSPENDED])
def test_a_response_key_out_of_use_still_opens_the_replies_of_its_owners_merchants(
    meta: Credential, state: str
) -> None:
    row = estate.key(meta.organization, purpose="response-mle", covers="all", state=state)
    assert impact.lost("destroy", row, now=NOW) == {}
    Credential.objects.filter(pk=row.pk).update(activated_at=NOW - DAY)
    row.refresh_from_db()
    for action in ("suspend", "compromise", "destroy"):
        assert impact.lost(action, row, now=NOW) == {impact.Stake.REPLIES: GARDEN}
    assert impact.lost("retire", row, now=NOW) == {}


@pytest.mark.parametrize("state", [State.STAGED, State.VERIFIED, State.RETIRED])
def test_nobody_has_anything_of_a_key_that_signs_no_more_or_never_did(
    meta: Credential, state: str
) -> None:
    row = estate.key(meta.organization, slot=meta.slot, state=state)
    for action in ("suspend", "retire", "compromise", "destroy", "discard"):
        assert impact.lost(action, row, now=NOW) == {}


def test_a_suspended_key_stops_whom_its_slot_speaks_for(meta: Credential) -> None:
    Credential.objects.filter(pk=meta.pk).update(
        state=State.SUSPENDED, active_slot=None, suspended_at=NOW, suspended_from=State.ACTIVE
    )
    meta.refresh_from_db()
    (names,) = impact.lost("destroy", meta, now=NOW).values()
    assert GARDEN[0] in names
    estate.key(meta.organization, slot=meta.slot, activated_at=NOW)
    assert impact.lost("destroy", meta, now=NOW) == {}


def with_certificate(key: Credential, *, days: float = 300) -> GatewayCertificate:
    return estate.certificate(key.organization, days=days, credential=key)


def test_who_can_encrypt_only_for_what_a_keys_file_carried_loses_it_with_the_file(
    meta: Credential,
) -> None:
    retired = estate.key(meta.organization, slot=meta.slot, state=State.RETIRED)
    with_certificate(retired)
    assert impact.losing_certificate(retired, now=NOW) == GARDEN
    assert impact.losing_certificate(meta, now=NOW) == []


def test_another_valid_certificate_of_owner_or_host_stands_in(meta: Credential) -> None:
    retired = estate.key(meta.organization, slot=meta.slot, state=State.RETIRED)
    with_certificate(retired)
    with_certificate(meta, days=-1)
    assert impact.losing_certificate(retired, now=NOW) == GARDEN
    estate.certificate(None, days=9)
    assert impact.losing_certificate(retired, now=NOW) == []
