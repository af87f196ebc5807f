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
