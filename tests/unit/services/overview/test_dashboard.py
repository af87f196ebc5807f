"""Each number of the front page counts the rows that its condition lists, inside the scope."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from django_cybs_jwt.models import (
    Approval,
    ExpiryAlert,
    GatewayCertificate,
    Organization,
    State,
    Verdict,
)
from django_cybs_jwt.services import readiness, scope
from django_cybs_jwt.services.expiry import certificate_endings
from django_cybs_jwt.services.expiry.blast_radius import BlastRadius
from django_cybs_jwt.services.overview import dashboard
from django_cybs_jwt.services.people import person
from django_cybs_jwt.services.readiness.standing import Fact
from django_cybs_jwt.services.scope import EVERYTHING
from tests.unit.services import estate
from tests.unit.services.estate import DAY, NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


def numbers(seen: scope.Scope = EVERYTHING, **options: Any) -> dashboard.Dashboard:
    may = {"may_view": lambda _model: True, "may_approve": True}
    asked = {"actor": "mara", "now": NOW, **may}
    return dashboard.of(seen, **{**asked, **options})


@pytest.mark.parametrize("seed", range(8))
def test_the_merchants_are_those_of_the_readiness_report(seed: int) -> None:
    estate.random_estate(seed)
    report = list(readiness.report(now=NOW))
    shown = numbers().merchants
    assert shown is not None
    assert shown.total == len(report)
    for fact in Fact:
        assert shown.facts[fact] == sum(getattr(row, fact) for row in report)
        assert shown.facts[fact] + shown.rest[fact] == len(report)


def test_ends_count_keys_in_force_up_to_the_day() -> None:
    acme = estate.organization("acme")
    for days in (-1, 6.9, 7.1, 29, 89, 91):
        estate.key(acme, days=days, name=f"slot {days}")
    estate.key(acme, days=3, state=State.STAGED, name="waiting")
    estate.key(estate.organization("gone", active=False), days=3)
    shown = numbers().keys
    assert shown is not None
    assert (shown.ended, shown.ending) == (1, {7: 1, 30: 3, 90: 4})


def test_an_overlap_is_open_until_its_end() -> None:
    acme = estate.organization("acme")
    for hours, name in ((1, "open"), (-1, "over")):
        estate.key(acme, state=State.RETIRING, name=name, overlap_until=NOW + hours * DAY / 24)
    assert numbers().keys.overlaps == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("verdict", "failed"),
    [(Verdict.REFUSED, 2), (Verdict.INCONCLUSIVE, 2), (Verdict.ACCEPTED, 0), ("", 0)],
)
def test_keys_that_were_not_accepted_count_while_they_could_be_used(
    verdict: str, failed: int
) -> None:
    acme = estate.organization("acme")
    for state in (State.STAGED, State.ACTIVE, State.RETIRED, State.DESTROYED):
        estate.key(acme, state=state, name=state, verify_outcome=verdict)
    assert numbers().keys.failed == failed  # type: ignore[union-attr]


def certificates() -> tuple[int, dict[int, int]]:
    found = numbers().certificates
    assert found is not None
    return found.ended, found.ending


def test_certificates_count_up_to_the_day() -> None:
    for host, days in (("a.example", -1), ("b.example", 6), ("c.example", 29), ("d.example", 91)):
        estate.certificate(None, days=days, host=host)
    estate.certificate(estate.organization("acme"), days=5)
    estate.certificate(estate.organization("gone", active=False), days=5)
    assert certificates() == (1, {7: 2, 30: 3, 90: 3})


def test_a_certificate_that_another_outlasts_without_a_gap_is_not_counted() -> None:
    acme, shop = (estate.organization(name) for name in ("acme", "shop"))
    for days in (3, 3, 500):  # twice the same, and its successor
        estate.certificate(acme, days=days)
    estate.certificate(shop, days=4)
    assert certificates() == (0, {7: 1, 30: 1, 90: 1})
    estate.certificate(None, days=400, host=shop.host)
    assert certificates() == (0, {7: 0, 30: 0, 90: 0})
    GatewayCertificate.objects.filter(organization=None).update(not_before=NOW + 5 * DAY)
    assert certificates() == (0, {7: 1, 30: 1, 90: 1})


@pytest.mark.parametrize("seed", range(8))
def test_whatever_certificate_the_alerts_know_is_counted(seed: int) -> None:
    """They leave out those of owners that sign nothing; the front page counts these too."""
    estate.random_estate(seed)
    until = NOW + 90 * DAY
    counted = dashboard.certificate_ends_within(NOW, 90) | dashboard.certificate_has_ended(NOW)
    found = set(GatewayCertificate.objects.filter(counted).values_list("pk", flat=True))
    radius = BlastRadius(NOW)
    told = [
        *certificate_endings.stream(radius, until=until),
        *certificate_endings.shared_ones(radius, until=until),
    ]
    assert {ending.subject for ending in told} <= found


def alert(owner: Organization, threshold: int, **columns: Any) -> None:
    ExpiryAlert.objects.create(
        artefact="kek",
        subject=owner.pk,
        organization=owner,
        ends=NOW,
        threshold=threshold,
        raised_at=NOW,
        **columns,
    )


def test_alerts_count_until_somebody_knows_or_puts_them_off() -> None:
    acme = estate.organization("acme")
    alert(acme, 1)
    alert(acme, 2, acknowledged_at=NOW)
    alert(acme, 3, resolved_at=NOW)
    alert(acme, 4, snoozed_until=NOW + DAY)
    alert(acme, 5, snoozed_until=NOW - DAY)
    assert numbers().unacknowledged == 2


def ask(key: Any, by: str) -> None:
    Approval.objects.create(
        credential=key,
        action="destroy",
        fingerprint=key.fingerprint,
        lock_version=key.lock_version,
        requested_by=by,
        requester=person(by),
        requested_at=NOW,
        expires_at=NOW + DAY,
    )


def test_approvals_wait_for_everybody_but_requester_and_uploader() -> None:
    acme = estate.organization("acme")
    ask(estate.key(acme, name="a"), "kim")
    ask(estate.key(acme, name="b", uploaded_by="MARA"), "kim")
    ask(estate.key(acme, name="c"), "Mara")
    ask(estate.key(acme, name="d", uploaded_by="os:mara"), "kim")
    ask(estate.key(acme, name="e"), "os:mara")
    assert numbers().waiting == 1
    assert numbers(actor="ann").waiting == 5
    assert numbers(actor="ann", may_approve=False).waiting is None


def test_what_was_granted_to_me_and_not_used_is_counted() -> None:
    acme = estate.organization("acme")
    for place, by in enumerate(("kim", "Mara", "mara")):
        ask(estate.key(acme, name=f"{place}"), by)
    assert numbers().granted == 0
    Approval.objects.update(status=Approval.Status.GRANTED, decided_by="bob", decider="bob")
    assert numbers().granted == 2
    Approval.objects.filter(requested_by="Mara").update(expires_at=NOW)
    assert numbers().granted == 1
    assert numbers(may_view=lambda model: model != "approval").granted is None


def test_what_is_out_of_scope_is_not_counted() -> None:
    mall = estate.organization("mall", kind="portfolio")
    for owner in (estate.organization("mine", parent=mall), estate.organization("other")):
        ask(estate.key(owner, days=5), "kim")
        alert(owner, 1)
    user = User.objects.create(username="mara")
    scope.limit(user, [mall], actor="tests")
    shown = numbers(scope.of(user))
    assert shown.merchants is not None
    assert shown.keys is not None
    assert shown.merchants.total == shown.merchants.facts[Fact.JWT_V2] == 1
    assert (shown.keys.ending[7], shown.unacknowledged, shown.waiting) == (1, 1, 1)


def test_what_may_not_be_viewed_is_not_counted() -> None:
    models = {
        "organization": "merchants",
        "credential": "keys",
        "gatewaycertificate": "certificates",
    }
    for model, name in models.items():
        shown = numbers(may_view=lambda asked, model=model: asked != model)
        assert getattr(shown, name) is None
    assert numbers(may_view=lambda _model: False).waiting is None
