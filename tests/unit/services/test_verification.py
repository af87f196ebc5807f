"""A key is proved offline and with one harmless call, and the outcome is kept on its row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from django_cybs_jwt.exceptions import InvalidTransition, NoKey, OrganizationInactive
from django_cybs_jwt.models import Credential, KeyEvent, Organization, Verdict
from django_cybs_jwt.services import (
    coverage,
    epoch,
    organizations,
    rotation,
    trial_keys,
    verification,
    withdrawal,
)
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.testing.simulation import Simulation
from tests import pseudo
from tests.unit.management.running import run
from tests.unit.services import enrolment
from tests.unit.services.hands import Hands
from tests.unit.services.sealed_keys import use_ring

NOW = datetime(2026, 12, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
pytestmark = pytest.mark.django_db


def stored(row: Credential) -> Credential:
    return Credential.objects.get(pk=row.pk)


@pytest.mark.parametrize("kind", ["p12", "shared_secret"])
def test_signing_key__that_the_gateway_accepts_is_verified(
    cybs_simulator: Simulation, kind: str
) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    importer = (
        cybs_simulator.import_shared_secret(organization, activate=False)
        if kind == "shared_secret"
        else cybs_simulator.import_p12(organization, "signing", activate=False)
    )

    outcome = verification.verify(importer, actor="anna", now=NOW)

    row = stored(importer)
    assert outcome.verdict == Verdict.ACCEPTED
    assert (row.state, row.verified_at, row.verify_checked_at) == ("VERIFIED", NOW, NOW)
    assert row.verify_reference == outcome.reference != ""
    assert KeyEvent.objects.filter(action="verify", credential=row.pk).count() == 1


def test_response_key__is_verified_by_a_reply_that_it_opens(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = cybs_simulator.import_p12(organization, "response-mle", activate=False)

    assert verification.verify(row, actor="anna", now=NOW).verdict == Verdict.ACCEPTED
    assert stored(row).state == "VERIFIED"


def test_response_key__that_the_gateway_ignores_stays_staged(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = cybs_simulator.import_p12(organization, "response-mle", activate=False)
    cybs_simulator.faults.add(Fault(kind=FaultKind.PLAIN_REPLY, times=1))

    outcome = verification.verify(row, actor="anna", now=NOW)

    assert outcome.verdict == Verdict.INCONCLUSIVE
    assert (stored(row).state, stored(row).verify_outcome) == ("STAGED", "inconclusive")


def test_response_key__that_does_not_open_the_reply_is_refused(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = cybs_simulator.import_p12(organization, "response-mle", activate=False)
    cybs_simulator.faults.add(Fault(kind=FaultKind.BROKEN_JWE, times=1))

    assert verification.verify(row, actor="anna", now=NOW).verdict == Verdict.REFUSED


def test_unknown_key__is_refused_with_an_explanation(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    Credential.objects.filter(pk=row.pk).update(key_id="another-kid", live_key_id="another-kid")
    forgotten = stored(row)
    forgotten.key_id = row.key_id  # the gateway knows it under the other name only

    outcome = verification.verify(forgotten, actor="anna", now=NOW)

    assert outcome.verdict == Verdict.REFUSED
    assert "HTTP 401" in outcome.explanation
    assert stored(row).state == "STAGED"


@pytest.mark.parametrize("fault", [FaultKind.RESET_BEFORE, FaultKind.TRUNCATE])
def test_no_answer__is_inconclusive(cybs_simulator: Simulation, fault: FaultKind) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    cybs_simulator.faults.add(Fault(kind=fault, times=1))

    assert verification.verify(row, actor="anna", now=NOW).verdict == Verdict.INCONCLUSIVE
    assert stored(row).state == "STAGED"


def test_server_error__is_inconclusive(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    cybs_simulator.faults.add(Fault(kind=FaultKind.STATUS, status=503, times=1))

    assert verification.verify(row, actor="anna", now=NOW).verdict == Verdict.INCONCLUSIVE


def test_the_audit_row_is_english_whoever_looks_on(
    cybs_simulator: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    cybs_simulator.faults.add(Fault(kind=FaultKind.STATUS, status=503, times=1))
    pseudo.speak(monkeypatch.setattr)

    said = verification.verify(row, actor="anna", now=NOW).detail

    assert str(said) != said.english
    event = KeyEvent.objects.filter(action="verify").latest("seq")
    assert event.reason == f"inconclusive: {said.english}"
    assert stored(row).verify_detail == said.english


def test_active_key__keeps_its_state_and_its_version_when_verified(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = Credential.objects.get(organization=organization)

    verification.verify(row, actor="anna", now=NOW)

    assert stored(row).state == "ACTIVE"
    assert stored(row).verify_outcome == "accepted"
    assert stored(row).lock_version == row.lock_version


def test_response_key__without_a_signing_key_beside_it_is_not_refused_as_nothing_was_asked(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_p12(organization, "response-mle", activate=False)

    outcome = verification.verify(row, actor="anna", now=NOW)

    assert outcome.verdict == Verdict.INCONCLUSIVE
    assert outcome.detail.startswith("Nothing was asked. No active key. Import one with")
    assert stored(row).state == "STAGED"


def test_response_key__whose_owners_signing_key_is_suspended_says_so_and_the_cure(
    cybs_simulator: Simulation,
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    signing = Credential.objects.get(organization=acme)
    row = cybs_simulator.import_p12(acme, "response-mle", activate=False)
    withdrawal.suspend(signing, actor="anna", now=NOW, reason="a doubt")

    outcome = verification.verify(row, actor="anna", now=NOW)

    assert outcome.verdict == Verdict.INCONCLUSIVE
    assert f"{signing.key_id} is SUSPENDED. Resume it" in outcome.detail
    assert stored(row).verify_detail == outcome.detail


def test_response_key__that_cannot_be_tried_names_nobody_above_its_owner(
    cybs_simulator: Simulation,
) -> None:
    cybs_simulator.merchant("mall", kind="portfolio", signs_with=None)
    acme = cybs_simulator.merchant("acme", parent="mall", signs_with=None)
    row = cybs_simulator.import_p12(acme, "response-mle", activate=False)

    outcome = verification.verify(row, actor="anna", now=NOW)

    told = KeyEvent.objects.get(action="verify", credential=row.pk).reason
    assert not any("mall" in text for text in (outcome.detail, stored(row).verify_detail, told))


def test_meta_key__speaks_for_a_merchant_that_it_covers(cybs_simulator: Simulation) -> None:
    portfolio = cybs_simulator.merchant("mall", kind="portfolio", signs_with=None)
    cybs_simulator.merchant("garden", parent="mall", signs_with=None)
    row = cybs_simulator.import_p12(portfolio, "signing", covers="selected", activate=False)
    coverage.add("mall", ["garden"], actor="anna")

    outcome = verification.verify(row, actor="anna", now=NOW)

    assert outcome.verdict == Verdict.ACCEPTED
    assert spoken_for(row) == "garden"


def spoken_for(row: Credential) -> str:
    return trial_keys.of(row, None, now=NOW).merchant


@pytest.fixture
def mall(cybs_simulator: Simulation) -> Organization:
    """A portfolio whose key serves one merchant of many: the last one by its id."""
    mall = cybs_simulator.merchant(
        "mall", kind="portfolio", signs_with="shared_secret", covers="all", response_mle=False
    )
    add = partial(cybs_simulator.merchant, signs_with=None, response_mle=False)
    add("a-disabled", parent="mall")
    organizations.disable("a-disabled", actor="anna")
    add("b-account", kind="account", parent="mall", signs_with="shared_secret", covers="all")
    add("c-of-the-account", parent="b-account")
    add("d-own-key", parent="mall", signs_with="shared_secret")
    add("e-served", parent="mall")
    return mall


@pytest.mark.parametrize("purpose", ["signing", "response-mle"])
@pytest.mark.parametrize("covers", [None, "all"])
def test_meta_key__speaks_for_a_merchant_that_lives_on_its_owners_keys(
    cybs_simulator: Simulation, mall: Organization, purpose: str, covers: str | None
) -> None:
    row = cybs_simulator.import_p12(mall, purpose, covers=covers, activate=False)

    assert verification.verify(row, actor="anna", now=NOW).verdict == Verdict.ACCEPTED
    assert spoken_for(row) == "e-served"


def test_first_meta_key__speaks_for_whom_it_could_serve(cybs_simulator: Simulation) -> None:
    mall = cybs_simulator.merchant("mall", kind="portfolio", signs_with=None)
    cybs_simulator.merchant("a-own-key", parent="mall", signs_with="shared_secret")
    cybs_simulator.merchant("b-lone", parent="mall", signs_with=None)
    row = cybs_simulator.import_shared_secret(mall, covers="all", activate=False)

    assert verification.verify(row, actor="anna", now=NOW).verdict == Verdict.ACCEPTED
    assert spoken_for(row) == "b-lone"


@pytest.mark.parametrize("merchant", ["c-of-the-account", "d-own-key", "e-served"])
def test_response_key__is_tried_with_its_owners_key_whosever_key_signs_for_the_merchant(
    cybs_simulator: Simulation, mall: Organization, merchant: str
) -> None:
    row = cybs_simulator.import_p12(mall, "response-mle", activate=False)

    outcome = verification.verify(row, actor="anna", now=NOW, acting_as=merchant)

    assert outcome.verdict == Verdict.ACCEPTED
    trial = trial_keys.of(row, merchant, now=NOW)
    assert (trial.merchant, trial.signing.owner) == (merchant, "mall")


@pytest.fixture
def two_slots(cybs_simulator: Simulation) -> dict[str, Credential]:
    """The keys of a portfolio by the merchants that they cover: one each."""
    mall = cybs_simulator.merchant("mall", kind="portfolio", signs_with=None)
    found = {}
    for name in ("garden", "kiosk"):
        cybs_simulator.merchant(name, parent="mall", signs_with=None)
        options = {"slot": name, "covers": "selected", "activate": True}
        found[name] = enrolment.shared_secret(mall, **options)
        coverage.add("mall", [name], actor="anna", slot=name)
    return found


@pytest.mark.parametrize("merchant", ["garden", "kiosk"])
def test_the_newest_key_that_covers_the_merchant_is_tried(
    two_slots: dict[str, Credential], merchant: str
) -> None:
    mall = two_slots["garden"].organization

    ended = run("cybs_verify", "mall", "--as", merchant, "--json")

    assert [row["id"] for row in ended.json] == [str(two_slots[merchant].pk)]
    assert (ended.code, ended.json[0]["outcome"]) == (0, "accepted")
    assert verification.newest(mall) == [two_slots["kiosk"]]
    assert verification.newest(mall, acting_as="stranger") == [two_slots["kiosk"]]


def test_a_healthy_key_is_not_refused_for_a_merchant_of_another_slot(
    two_slots: dict[str, Credential],
) -> None:
    garden = two_slots["garden"]
    before = (garden.verify_outcome, garden.verify_checked_at)

    with pytest.raises(NoKey, match="does not cover kiosk"):
        verification.verify(garden, actor="anna", now=NOW, acting_as="kiosk")
    named = ("--credential", str(garden.pk), "--as", "kiosk")
    assert run("cybs_verify", "mall", *named).code == 1

    row = stored(garden)
    assert (row.verify_outcome, row.verify_checked_at) == before


def test_disabled_merchant__is_not_spoken_for(
    cybs_simulator: Simulation, mall: Organization
) -> None:
    row = cybs_simulator.import_shared_secret(mall, activate=False)

    with pytest.raises(OrganizationInactive, match="a-disabled"):
        verification.verify(row, actor="anna", now=NOW, acting_as="a-disabled")


def test_tampered_row__is_refused_without_a_call(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    Credential.objects.filter(pk=row.pk).update(fingerprint="0" * 64)

    outcome = verification.verify(stored(row), actor="anna", now=NOW)

    assert outcome.verdict == Verdict.REFUSED
    assert outcome.reference == ""


@pytest.mark.parametrize("ring", [{"old": "blocked"}, {}], ids=["blocked", "away"])
def test_a_ring_that_does_not_open_a_key_says_nothing_about_the_key(
    cybs_simulator: Simulation, settings: Any, ring: dict[str, str]
) -> None:
    use_ring(settings, "old")
    organization = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    verification.verify(row, actor="anna", now=NOW)
    use_ring(settings, "new", **ring)

    outcome = verification.verify(stored(row), actor="anna", now=NOW)

    assert outcome.verdict == stored(row).verify_outcome == Verdict.INCONCLUSIVE
    assert outcome.detail.startswith("Nothing was asked. The key-encryption key 'old' is")
    rotation.rotate(row, actor="anna", now=NOW)


def test_marked_rows__are_verified_by_the_tick_and_counted_from_the_rows(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    for _ in range(3):
        cybs_simulator.import_shared_secret(organization, activate=False)
    rows = Credential.objects.filter(organization=organization)

    assert verification.request(rows, actor="anna", now=NOW) == 3
    assert verification.verify_requested(now=NOW, most=2) == 2
    assert rows.exclude(verify_requested_at=None).count() == 1
    assert verification.verify_requested(now=NOW) == 1
    assert set(rows.values_list("state", flat=True)) == {"VERIFIED"}


def test_outcome__holds_no_token_and_no_secret(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    cybs_simulator.faults.add(Fault(kind=FaultKind.CLOCK_SKEW, seconds=600, times=1))

    outcome = verification.verify(row, actor="anna", now=NOW)

    assert outcome.verdict == Verdict.REFUSED
    assert "BAD  clock" in outcome.explanation
    assert "eyJ" not in f"{outcome}"


@pytest.mark.parametrize("verb", ["suspend", "compromise", "retire"])
def test_key_out_of_use__signs_nothing_not_even_to_be_tried(
    cybs_simulator: Simulation, verb: str
) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = Credential.objects.get(organization=organization)
    getattr(withdrawal, verb)(row, actor="anna", now=NOW, reason="test")

    with pytest.raises(InvalidTransition, match="signs nothing"):
        verification.verify(stored(row), actor="anna", now=NOW)
    denied = KeyEvent.objects.get(action="verify", outcome="denied")
    assert (denied.actor, denied.organization) == ("anna", str(organization))


def test_merchant_that_the_key_does_not_cover__is_refused(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = Credential.objects.get(organization=organization)

    with pytest.raises(NoKey, match="does not cover stranger"):
        verification.verify(row, actor="anna", now=NOW, acting_as="stranger")


def test_marked_row__belongs_to_one_of_two_who_verify_at_once(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    verification.request(Credential.objects.all(), actor="anna", now=NOW)
    seen_by_both = stored(row)
    assert verification._claim(seen_by_both, NOW)

    assert not verification._claim(seen_by_both, NOW)
    assert verification.verify_requested(now=NOW) == 0
    assert verification.verify_requested(now=NOW + verification.LEASE) == 1


def test_marked_rows__are_claimed_when_their_turn_comes_and_for_a_minute_at_most(
    cybs_simulator: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    for _ in range(3):
        cybs_simulator.import_shared_secret(organization, activate=False)
    verification.request(Credential.objects.all(), actor="anna", now=NOW)
    clock, held = Hands(NOW), []

    def slow(row: Credential, *, actor: str, now: datetime) -> None:
        held.append(stored(row).verify_requested_at)
        clock.moment += timedelta(seconds=50)

    monkeypatch.setattr(verification, "verify", slow)

    assert verification.verify_requested(now=NOW, clock=clock) == 2
    assert held == [NOW + verification.LEASE, NOW + timedelta(seconds=50) + verification.LEASE]


def test_marked_row__that_cannot_be_tried_says_so_and_waits_no_more(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("acme", response_mle=False)
    row = Credential.objects.get(organization=organization)
    verification.request(Credential.objects.all(), actor="anna", now=NOW)
    withdrawal.suspend(row, actor="anna", now=NOW, reason="test")

    assert verification.verify_requested(now=NOW) == 0

    after = stored(row)
    assert (after.verify_requested_at, after.verify_outcome) == (None, "inconclusive")
    assert "it signs nothing" in after.verify_detail
    counted = verification.progress(Credential.objects.all(), since=NOW)
    assert (counted.waiting, counted.inconclusive, counted.tried) == (0, 1, 1)


def test_a_refusal_stands_until_the_gateway_accepts_the_key(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    for status in (401, 503):
        cybs_simulator.faults.add(Fault(kind=FaultKind.STATUS, status=status, times=1))
        verification.verify(row, actor="anna", now=NOW)
    verification.request(Credential.objects.all(), actor="anna", now=NOW)
    organizations.disable("acme", actor="anna")
    assert verification.verify_requested(now=NOW) == 0

    assert (stored(row).verify_outcome, stored(row).verify_requested_at) == ("refused", None)
    assert "(401)" in stored(row).verify_detail
    with pytest.raises(InvalidTransition, match="failed its last verification"):
        rotation.activate(row, actor="anna", now=NOW)


def refuse_once(simulation: Simulation) -> None:
    simulation.faults.add(Fault(kind=FaultKind.STATUS, status=401, times=1))


def test_a_refusal_takes_a_planned_switch_back_and_the_old_key_goes_on_signing(
    cybs_simulator: Simulation,
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    old = Credential.objects.get(organization=acme)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    verification.verify(row, actor="anna", now=NOW)
    rotation.rotate(stored(row), actor="anna", now=NOW, at=NOW + 2 * HOUR)
    seen = epoch.value()
    refuse_once(cybs_simulator)

    outcome = verification.verify(stored(row), actor="bert", now=NOW + HOUR)

    assert outcome.detail.endswith(
        "(401). The switch planned for 2026-12-01 02:00 UTC is taken back."
    )
    assert stored(row).verify_detail == outcome.detail
    told = KeyEvent.objects.get(action="unschedule", credential=row.pk)
    assert (told.actor, told.reason) == ("bert", "refused: The gateway refused the token (401).")
    assert epoch.value() != seen
    rotation.carry_out_due(now=NOW + 3 * HOUR)
    assert (stored(row).overlap_until, stored(old).state) == (None, "ACTIVE")


@pytest.mark.parametrize("said", ["nothing", "refused"])
def test_a_switch_that_was_forced_is_not_taken_back_by_a_refusal(
    cybs_simulator: Simulation, said: str
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    if said == "refused":
        verification.verify(row, actor="anna", now=NOW)
        refuse_once(cybs_simulator)
        verification.verify(stored(row), actor="anna", now=NOW)
    forced = {"at": NOW + 2 * HOUR, "force": True, "reason": "the gateway takes it from 02:00 on"}
    rotation.rotate(stored(row), actor="anna", now=NOW, **forced)
    refuse_once(cybs_simulator)

    outcome = verification.verify(stored(row), actor="anna", now=NOW + HOUR)

    assert outcome.verdict == Verdict.REFUSED
    assert outcome.detail.endswith(STANDS)
    assert stored(row).activate_at == NOW + 2 * HOUR


STANDS = "The switch planned for 2026-12-01 02:00 UTC stands; take it back if this key is to blame."


@pytest.mark.parametrize("excuse", ["its owner's other key", "a merchant", "our clock"])
def test_a_refusal_that_need_not_be_the_keys_takes_no_planned_switch_back(
    cybs_simulator: Simulation, excuse: str
) -> None:
    mall = cybs_simulator.merchant("mall", kind="portfolio", covers="all")
    cybs_simulator.merchant("garden", parent="mall", signs_with=None)
    row = (
        cybs_simulator.import_p12(mall, "response-mle", activate=False)
        if excuse == "its owner's other key"
        else cybs_simulator.import_shared_secret(mall, covers="all", activate=False)
    )
    verification.verify(row, actor="anna", now=NOW)
    rotation.rotate(stored(row), actor="anna", now=NOW, at=NOW + 2 * HOUR)
    if excuse == "our clock":
        cybs_simulator.faults.add(Fault(kind=FaultKind.CLOCK_SKEW, seconds=600, times=1))
    else:
        refuse_once(cybs_simulator)
    spoken = {"acting_as": "garden" if excuse == "a merchant" else "mall"}

    outcome = verification.verify(stored(row), actor="bert", now=NOW + HOUR, **spoken)

    assert (outcome.verdict, stored(row).verify_outcome) == (Verdict.REFUSED, Verdict.REFUSED)
    assert outcome.detail.endswith(STANDS)
    assert stored(row).activate_at == NOW + 2 * HOUR


def test_a_switch_that_came_into_force_while_the_gateway_was_asked_is_not_taken_back(
    cybs_simulator: Simulation,
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    verification.verify(row, actor="anna", now=NOW)
    at = NOW + timedelta(seconds=0.2)
    rotation.rotate(stored(row), actor="anna", now=NOW, at=at)
    cybs_simulator.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.4, times=1))
    refuse_once(cybs_simulator)

    outcome = verification.verify(stored(row), actor="bert", now=NOW)

    assert outcome.detail == "The gateway refused the token (401)."
    after = stored(row)
    assert (after.state, after.activated_at, after.verify_outcome) == ("ACTIVE", at, "refused")


def test_a_key_that_was_forced_into_use_is_verified_once_the_gateway_accepts_it(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    rotation.rotate(row, actor="anna", now=NOW, force=True, reason="the gateway is down")
    verification.verify(stored(row), actor="anna", now=NOW)
    rotation.roll_back(row.slot, actor="anna", now=NOW)

    rotation.rotate(stored(row), actor="anna", now=NOW)

    assert (stored(row).state, stored(row).verified_at) == ("ACTIVE", NOW)


@pytest.mark.parametrize("verb", ["suspend", "compromise"])
def test_a_marked_key_that_is_withdrawn_before_its_turn_signs_nothing(
    cybs_simulator: Simulation, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    organization = cybs_simulator.merchant("acme", signs_with=None)
    first, second = (
        cybs_simulator.import_shared_secret(organization, activate=False) for _ in range(2)
    )
    verification.request(Credential.objects.filter(pk=first.pk), actor="anna", now=NOW)
    verification.request(Credential.objects.filter(pk=second.pk), actor="anna", now=NOW)
    told = verification.verify

    def withdrawn_meanwhile(row: Credential, **how: Any) -> Any:
        outcome = told(row, **how)
        getattr(withdrawal, verb)(second, actor="anna", now=NOW, reason="stolen")
        return outcome

    monkeypatch.setattr(verification, "verify", withdrawn_meanwhile)

    assert verification.verify_requested(now=NOW) == 1
    assert stored(first).verify_outcome == "accepted"
    assert "it signs nothing" in stored(second).verify_detail


def test_a_key_whose_overlap_is_over_is_not_tried_whether_something_ticked_or_not(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    old = Credential.objects.get(organization=organization)
    new = cybs_simulator.import_shared_secret(organization, activate=False)
    rotation.rotate(new, actor="anna", now=NOW, force=True, reason="test")

    with pytest.raises(InvalidTransition, match="is RETIRED; it signs nothing"):
        verification.verify(stored(old), actor="anna", now=NOW + timedelta(days=1))
