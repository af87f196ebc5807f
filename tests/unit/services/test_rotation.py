"""Switch keys now, later, back; what is refused, and what time decides by itself."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import InvalidTransition, KeyNotUsable
from django_cybs_jwt.models import Credential, KeyEvent, Organization, State
from django_cybs_jwt.services import (
    lifecycle,
    overlaps,
    rotation,
    signing,
    verification,
    withdrawal,
)
from django_cybs_jwt.testing.simulation import Simulation

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
pytestmark = pytest.mark.django_db


@pytest.fixture
def acme(cybs_simulator: Simulation) -> Organization:
    return cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)


@pytest.fixture
def old(acme: Organization) -> Credential:
    """In use since before NOW, whatever day it is."""
    Credential.objects.filter(organization=acme).update(activated_at=NOW - HOUR)
    return Credential.objects.get(organization=acme)


@pytest.fixture
def new(cybs_simulator: Simulation, acme: Organization) -> Credential:
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    verification.verify(row, actor="anna", now=NOW)
    return row


def states(*rows: Credential) -> list[str]:
    return [Credential.objects.get(pk=row.pk).state for row in rows]


def signer(now: datetime) -> str:
    signing.forget()
    return cybs.keys_for("acme", now=now).signing.kid


def test_rotate__keeps_what_a_re_wrap_wrote_to_a_planned_key_meanwhile(
    old: Credential, new: Credential, cybs_simulator: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation.rotate(new, actor="anna", now=NOW, at=NOW + HOUR)
    third = cybs_simulator.import_shared_secret(new.organization, activate=False)
    lock = lifecycle.locked

    def waited_for(key: uuid.UUID) -> Credential:
        if key == new.pk:
            Credential.objects.filter(pk=key).update(sealed_secret=b"re-wrapped")
        return lock(key)

    monkeypatch.setattr(lifecycle, "locked", waited_for)
    rotation.rotate(third, actor="anna", now=NOW, force=True, reason="sooner")

    new.refresh_from_db()
    assert (new.activate_at, bytes(new.sealed_secret or b"")) == (None, b"re-wrapped")


def test_rotate__makes_the_new_key_active_and_keeps_the_old_for_the_overlap(
    old: Credential, new: Credential
) -> None:
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)

    assert states(old, new) == ["RETIRING", "ACTIVE"]
    assert Credential.objects.get(pk=old.pk).overlap_until == NOW + HOUR
    assert signer(NOW) == new.key_id


def test_rotate__without_overlap_retires_the_old_key_at_once(
    old: Credential, new: Credential
) -> None:
    rotation.rotate(new, actor="anna", now=NOW, overlap=timedelta(0))

    assert states(old, new) == ["RETIRED", "ACTIVE"]


def test_rotate__refuses_an_unverified_key_and_force_takes_a_reason(
    cybs_simulator: Simulation, acme: Organization, old: Credential
) -> None:
    row = cybs_simulator.import_shared_secret(acme, activate=False)

    with pytest.raises(InvalidTransition, match="not verified"):
        rotation.rotate(row, actor="anna", now=NOW)
    with pytest.raises(InvalidTransition, match="takes a reason"):
        rotation.rotate(row, actor="anna", now=NOW, force=True)
    rotation.rotate(row, actor="anna", now=NOW, force=True, reason="gateway is down")

    assert states(old, row) == ["RETIRING", "ACTIVE"]
    assert KeyEvent.objects.filter(action="activate", reason="gateway is down").exists()


def test_rotate__is_refused_inside_an_open_overlap_and_possible_after_it(
    cybs_simulator: Simulation, acme: Organization, old: Credential, new: Credential
) -> None:
    third = cybs_simulator.import_shared_secret(acme, activate=False)
    verification.verify(third, actor="anna", now=NOW)
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)

    with pytest.raises(InvalidTransition, match="in its overlap until 2027-03-01 13:00 UTC"):
        rotation.rotate(third, actor="anna", now=NOW + HOUR / 2)
    rotation.rotate(third, actor="anna", now=NOW + HOUR)

    assert states(new, third) == ["RETIRING", "ACTIVE"]


def test_roll_back__returns_to_the_old_key_and_closes_the_overlap(
    old: Credential, new: Credential
) -> None:
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)

    rotation.roll_back(old.slot, actor="anna", now=NOW + HOUR / 2)

    assert states(old, new) == ["ACTIVE", "RETIRING"]
    assert signer(NOW + HOUR / 2) == old.key_id
    with pytest.raises(InvalidTransition, match="no open overlap"):
        rotation.roll_back(old.slot, actor="anna", now=NOW + HOUR / 2)


@pytest.mark.parametrize("looked", ["at the same key", "at nothing"])
def test_of_two_who_roll_back_one_after_the_other_the_second_lands_on_no_older_key(
    cybs_simulator: Simulation, acme: Organization, old: Credential, new: Credential, looked: str
) -> None:
    third = cybs_simulator.import_shared_secret(acme, activate=False)
    rotation.rotate(new, actor="anna", now=NOW)
    rotation.rotate(third, actor="anna", now=NOW + HOUR, force=True, reason="in haste")
    seen = str(third.pk) if looked == "at the same key" else None
    at = NOW + 2 * HOUR
    rotation.roll_back(old.slot, actor="anna", now=at, replaces=seen)

    told = f"now it is {new.key_id}. Look again" if seen else "no open overlap"
    with pytest.raises(InvalidTransition, match=told):
        rotation.roll_back(old.slot, actor="bert", now=at, replaces=seen)

    assert states(old, new, third) == ["RETIRED", "ACTIVE", "RETIRING"]


@pytest.fixture
def third(
    cybs_simulator: Simulation, acme: Organization, old: Credential, new: Credential
) -> Credential:
    """The newest of three keys; both before it are in their overlaps."""
    third = cybs_simulator.import_shared_secret(acme, activate=False)
    week = {"overlap": overlaps.OVERLAPS["7d"], "actor": "anna"}
    rotation.rotate(new, now=NOW, **week)
    rotation.rotate(third, now=NOW + HOUR, force=True, reason="in haste", **week)
    return third


def test_roll_back__retires_a_still_older_key_at_that_moment_and_audits_it(
    old: Credential, third: Credential
) -> None:
    at = NOW + 48 * HOUR

    rotation.roll_back(old.slot, actor="bert", now=at)

    retired = Credential.objects.get(pk=old.pk)
    assert (retired.state, retired.retired_at) == ("RETIRED", at)
    told = KeyEvent.objects.filter(credential=old.pk, at=at).order_by("seq")
    assert list(told.values_list("action", "actor")) == [
        ("close-overlap", "bert"),
        ("retire", "schedule"),
    ]


def test_roll_back__closes_the_overlap_of_a_suspended_key_too(
    old: Credential, new: Credential, third: Credential
) -> None:
    at = NOW + 2 * HOUR
    withdrawal.suspend(old, actor="anna", now=at, reason="a doubt")
    rotation.roll_back(old.slot, actor="anna", now=at)
    withdrawal.resume(old, actor="anna", now=at, reason="no doubt")

    with pytest.raises(InvalidTransition, match="no open overlap"):
        rotation.roll_back(old.slot, actor="anna", now=at)

    assert states(old, new, third) == ["RETIRING", "ACTIVE", "RETIRING"]
    rotation.carry_out_due(now=at)
    assert states(old) == ["RETIRED"]
    assert KeyEvent.objects.filter(action="close-overlap", credential=old.pk).exists()


@pytest.mark.parametrize("planned", [False, True])
def test_an_overlap_that_is_ended_late_ended_when_it_was_over(
    old: Credential, new: Credential, planned: bool
) -> None:
    at = NOW + HOUR if planned else None
    rotation.rotate(new, actor="anna", now=NOW, at=at, overlap=HOUR)

    rotation.carry_out_due(now=NOW + 48 * HOUR)

    retired = Credential.objects.get(pk=old.pk)
    assert (retired.state, retired.retired_at) == ("RETIRED", NOW + HOUR * (2 if planned else 1))


def test_roll_back__after_the_overlap_is_refused(old: Credential, new: Credential) -> None:
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)

    with pytest.raises(InvalidTransition, match="no open overlap"):
        rotation.roll_back(old.slot, actor="anna", now=NOW + HOUR)


def test_roll_back__to_an_ended_key_is_refused(old: Credential, new: Credential) -> None:
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)
    Credential.objects.filter(pk=old.pk).update(expires_at=NOW)

    with pytest.raises(InvalidTransition, match="ended"):
        rotation.roll_back(old.slot, actor="anna", now=NOW + HOUR / 2)


def test_roll_back__to_a_compromised_key_is_refused(old: Credential, new: Credential) -> None:
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)
    withdrawal.compromise(old, actor="anna", now=NOW, reason="leaked")

    with pytest.raises(InvalidTransition, match="no open overlap"):
        rotation.roll_back(old.slot, actor="anna", now=NOW)


def test_rolled_back_key__may_be_tried_again(old: Credential, new: Credential) -> None:
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)
    rotation.roll_back(old.slot, actor="anna", now=NOW)

    rotation.rotate(new, actor="anna", now=NOW)

    assert states(old, new) == ["RETIRING", "ACTIVE"]


def test_schedule__holds_at_its_time_though_nothing_ticks(old: Credential, new: Credential) -> None:
    at = NOW + 3 * HOUR
    rotation.rotate(new, actor="anna", now=NOW, at=at, overlap=HOUR)

    assert states(old, new) == ["ACTIVE", "VERIFIED"]
    assert signer(at - timedelta(seconds=1)) == old.key_id
    assert signer(at) == new.key_id


def test_schedule__is_carried_out_by_the_tick_with_its_overlap(
    old: Credential, new: Credential
) -> None:
    at = NOW + 3 * HOUR
    rotation.rotate(new, actor="anna", now=NOW, at=at, overlap=HOUR)

    assert rotation.carry_out_due(now=at - HOUR) == []
    assert len(rotation.carry_out_due(now=at)) == 1
    assert states(old, new) == ["RETIRING", "ACTIVE"]
    assert len(rotation.carry_out_due(now=at + HOUR)) == 1
    assert states(old, new) == ["RETIRED", "ACTIVE"]
    assert rotation.carry_out_due(now=at + 2 * HOUR) == []


def test_warm_cache__lets_a_schedule_take_over_on_time(old: Credential, new: Credential) -> None:
    at = NOW + timedelta(minutes=1)
    rotation.rotate(new, actor="anna", now=NOW, at=at)
    signing.forget()

    before = cybs.keys_for("acme", now=NOW).signing.kid
    after = cybs.keys_for("acme", now=at).signing.kid

    assert (before, after) == (old.key_id, new.key_id)


def test_schedule__for_a_key_that_will_have_ended_is_refused(
    old: Credential, new: Credential
) -> None:
    Credential.objects.filter(pk=new.pk).update(expires_at=NOW + HOUR)

    with pytest.raises(InvalidTransition, match="ended"):
        rotation.rotate(new, actor="anna", now=NOW, at=NOW + 2 * HOUR)


def test_suspended_active_key__frees_its_place_for_another(
    old: Credential, new: Credential
) -> None:
    withdrawal.suspend(old, actor="anna", now=NOW, reason="doubt")

    rotation.rotate(new, actor="anna", now=NOW)

    assert states(old, new) == ["SUSPENDED", "ACTIVE"]
    with pytest.raises(InvalidTransition, match="another active key"):
        withdrawal.resume(old, actor="anna", now=NOW, reason="no doubt")


def test_replies__under_both_kids_decrypt_during_and_after_the_overlap(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("books", signs_with="shared_secret")
    start = timezone.now()  # as its certificates begin today
    old = Credential.objects.get(organization=organization, slot__purpose="response-mle")
    new = cybs_simulator.import_p12(organization, "response-mle", activate=False)
    verification.verify(new, actor="anna", now=start)
    rotation.rotate(new, actor="anna", now=start, overlap=HOUR)

    def keyring(now: datetime) -> tuple[set[str], str | None]:
        signing.forget()
        keys = cybs.keys_for("books", now=now)
        return set(keys.response_keys), keys.response_kid

    assert keyring(start) == ({old.key_id, new.key_id}, new.key_id)
    rotation.carry_out_due(now=start + HOUR)
    assert Credential.objects.get(pk=old.pk).state == State.RETIRED
    assert keyring(start + HOUR) == ({old.key_id, new.key_id}, new.key_id)


def test_due_schedule__is_what_a_roll_back_rolls_back(old: Credential, new: Credential) -> None:
    at = NOW + HOUR
    rotation.rotate(new, actor="anna", now=NOW, at=at, overlap=HOUR)

    rotation.roll_back(old.slot, actor="anna", now=at)

    assert states(old, new) == ["ACTIVE", "RETIRING"]


def test_due_schedule__is_what_a_compromise_meets_and_the_old_key_stays_away(
    old: Credential, new: Credential
) -> None:
    at = NOW + HOUR
    rotation.rotate(new, actor="anna", now=NOW, at=at, overlap=HOUR)

    withdrawal.compromise(new, actor="anna", now=at, reason="leaked")

    assert states(old, new) == ["RETIRING", "COMPROMISED"]
    with pytest.raises(KeyNotUsable, match="COMPROMISED"):
        signer(at)


def test_switch__overrides_what_was_planned_for_later(
    cybs_simulator: Simulation, acme: Organization, old: Credential, new: Credential
) -> None:
    third = cybs_simulator.import_shared_secret(acme, activate=False)
    verification.verify(third, actor="anna", now=NOW)
    rotation.rotate(new, actor="anna", now=NOW, at=NOW + 5 * HOUR)

    rotation.rotate(third, actor="anna", now=NOW, overlap=HOUR)
    rotation.carry_out_due(now=NOW + 6 * HOUR)

    assert states(new, third) == ["VERIFIED", "ACTIVE"]
    assert KeyEvent.objects.filter(action="unschedule", credential=new.pk).exists()


def test_roll_back__takes_back_what_was_planned_upon_the_key_that_did_not_do(
    cybs_simulator: Simulation, acme: Organization, old: Credential, new: Credential
) -> None:
    third = cybs_simulator.import_shared_secret(acme, activate=False)
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)
    later = {"at": NOW + 5 * HOUR, "force": True, "reason": "the one after"}
    rotation.rotate(third, actor="anna", now=NOW, **later)

    rotation.roll_back(old.slot, actor="anna", now=NOW)

    assert Credential.objects.get(pk=third.pk).activate_at is None
    event = KeyEvent.objects.get(action="unschedule", credential=third.pk)
    assert event.reason == f"{old.key_id} was activated"
    assert signer(NOW + 6 * HOUR) == old.key_id


def test_schedule__behind_an_open_overlap_needs_no_force_and_inside_it_does(
    cybs_simulator: Simulation, acme: Organization, old: Credential, new: Credential
) -> None:
    third = cybs_simulator.import_shared_secret(acme, activate=False)
    verification.verify(third, actor="anna", now=NOW)
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)

    with pytest.raises(InvalidTransition, match="in its overlap until"):
        rotation.rotate(third, actor="anna", now=NOW, at=NOW + HOUR / 2)
    rotation.rotate(third, actor="anna", now=NOW, at=NOW + HOUR)

    assert signer(NOW + HOUR) == third.key_id


def test_schedule__beyond_the_calendar_is_refused(new: Credential) -> None:
    with pytest.raises(InvalidTransition, match="beyond the calendar"):
        rotation.rotate(new, actor="anna", now=NOW, at=datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize("ticked", [True, False])
def test_activate__is_refused_once_a_planned_first_key_is_due(
    cybs_simulator: Simulation, ticked: bool
) -> None:
    organization = cybs_simulator.merchant("fresh", signs_with=None)
    first, second = (
        cybs_simulator.import_shared_secret(organization, activate=False) for _ in range(2)
    )
    planned = {"at": NOW + HOUR, "force": True, "reason": "first"}
    rotation.rotate(first, actor="anna", now=NOW, **planned)
    if ticked:
        rotation.carry_out_due(now=NOW + HOUR)

    with pytest.raises(InvalidTransition, match="has had an active key"):
        rotation.activate(second, actor="anna", now=NOW + HOUR)
    assert cybs.keys_for("fresh", now=NOW + HOUR).signing.kid == first.key_id


def test_activate__overrides_a_first_key_that_is_planned_for_later(
    cybs_simulator: Simulation,
) -> None:
    organization = cybs_simulator.merchant("fresh", signs_with=None)
    first, second = (
        cybs_simulator.import_shared_secret(organization, activate=False) for _ in range(2)
    )
    planned = {"at": NOW + HOUR, "force": True, "reason": "first"}
    rotation.rotate(first, actor="anna", now=NOW, **planned)

    rotation.activate(second, actor="anna", now=NOW)

    assert cybs.keys_for("fresh", now=NOW + 2 * HOUR).signing.kid == second.key_id


@pytest.mark.parametrize("verb", [withdrawal.suspend, withdrawal.retire])
def test_resume__of_a_key_that_has_ended_is_refused_where_it_would_be_used(
    old: Credential, verb: Callable[..., Credential]
) -> None:
    """A retired one only opens replies: those that come late are opened late."""
    for each in dict.fromkeys([verb, withdrawal.suspend]):
        each(old, actor="anna", now=NOW, reason="doubt")
    Credential.objects.filter(pk=old.pk).update(expires_at=NOW)

    if verb == withdrawal.retire:
        assert withdrawal.resume(old, actor="anna", now=NOW, reason="none").state == State.RETIRED
        return
    with pytest.raises(InvalidTransition, match="ended on 2027-03-01"):
        withdrawal.resume(old, actor="anna", now=NOW, reason="none")


def test_verify__leaves_a_schedule_in_place(
    cybs_simulator: Simulation, acme: Organization, old: Credential
) -> None:
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    rotation.rotate(row, actor="anna", now=NOW, at=NOW + HOUR, force=True, reason="test")

    verification.verify(row, actor="anna", now=NOW)

    assert Credential.objects.get(pk=row.pk).activate_at == NOW + HOUR


def test_resume__changes_no_history(old: Credential, new: Credential) -> None:
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)
    before = Credential.objects.get(pk=new.pk).activated_at
    for row in (old, new):
        withdrawal.suspend(row, actor="anna", now=NOW, reason="doubt")
        withdrawal.resume(row, actor="anna", now=NOW + HOUR / 2, reason="no doubt")

    assert Credential.objects.get(pk=new.pk).activated_at == before
    assert Credential.objects.get(pk=old.pk).overlap_until == NOW + HOUR


def test_rotate__refuses_a_key_that_the_gateway_refused_later(
    old: Credential, new: Credential
) -> None:
    Credential.objects.filter(pk=new.pk).update(verify_outcome="refused")

    with pytest.raises(InvalidTransition, match="not verified"):
        rotation.rotate(new, actor="anna", now=NOW)


def test_a_key_whose_overlap_is_over__is_retired_though_nothing_ticked(
    old: Credential, new: Credential
) -> None:
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)

    with pytest.raises(InvalidTransition, match="is RETIRED"):
        rotation.rotate(old, actor="anna", now=NOW + HOUR, force=True, reason="back for good")


def test_second_schedule__in_a_slot_is_refused_until_the_first_is_taken_back(
    cybs_simulator: Simulation, acme: Organization, old: Credential, new: Credential
) -> None:
    third = cybs_simulator.import_shared_secret(acme, activate=False)
    verification.verify(third, actor="anna", now=NOW)
    rotation.rotate(new, actor="anna", now=NOW, at=NOW + HOUR)

    with pytest.raises(
        InvalidTransition, match=f"{new.key_id} is planned for 2027-03-01 13:00 UTC.*--unschedule"
    ):
        rotation.rotate(
            third, actor="anna", now=NOW, at=NOW + 2 * HOUR, force=True, reason="in doubt"
        )
    rotation.rotate(new, actor="anna", now=NOW, at=NOW + 3 * HOUR)
    rotation.unschedule(new, actor="anna", now=NOW)
    rotation.rotate(third, actor="anna", now=NOW, at=NOW + 2 * HOUR)

    assert signer(NOW + 5 * HOUR) == third.key_id


def test_two_schedules__of_an_older_release_take_over_in_their_order(
    cybs_simulator: Simulation, acme: Organization, old: Credential, new: Credential
) -> None:
    third = cybs_simulator.import_shared_secret(acme, activate=False)
    for row, hours in ((third, 1), (new, 2)):
        at = NOW + hours * HOUR
        Credential.objects.filter(pk=row.pk).update(activate_at=at, overlap_until=at)

    rotation.settle(old.slot, now=NOW + 3 * HOUR)

    assert states(old, third, new) == ["RETIRED", "RETIRED", "ACTIVE"]


def test_schedule__carried_out_late_counts_from_its_time(old: Credential, new: Credential) -> None:
    at, late = NOW + HOUR, NOW + HOUR * 3 / 2
    rotation.rotate(new, actor="anna", now=NOW, at=at, overlap=HOUR)

    rotation.carry_out_due(now=late)

    assert Credential.objects.get(pk=new.pk).activated_at == at
    assert Credential.objects.get(pk=old.pk).overlap_until == at + HOUR
    assert KeyEvent.objects.get(action="activate", credential=new.pk).at == late


def test_a_rolled_back_key_that_is_planned_again__is_no_open_overlap(
    old: Credential, new: Credential
) -> None:
    rotation.rotate(new, actor="anna", now=NOW, overlap=HOUR)
    rotation.roll_back(old.slot, actor="anna", now=NOW)
    rotation.rotate(new, actor="anna", now=NOW, at=NOW + 5 * HOUR)

    with pytest.raises(InvalidTransition, match="no open overlap"):
        rotation.roll_back(old.slot, actor="anna", now=NOW + HOUR)
    withdrawal.suspend(new, actor="anna", now=NOW + HOUR, reason="doubt")
    withdrawal.resume(new, actor="anna", now=NOW + HOUR, reason="no doubt")
    with pytest.raises(InvalidTransition, match="no open overlap"):
        rotation.roll_back(old.slot, actor="anna", now=NOW + HOUR)


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("start", "at"),
    [
        (datetime(2028, 2, 28, 23, tzinfo=BERLIN), datetime(2028, 2, 29, 23, tzinfo=BERLIN)),
        (datetime(2027, 3, 20, 12, tzinfo=BERLIN), datetime(2027, 3, 27, 12, tzinfo=BERLIN)),
        (datetime(2027, 3, 28, 1, 30, tzinfo=BERLIN), datetime(2027, 3, 28, 3, 30, tzinfo=BERLIN)),
        (datetime(2027, 10, 30, 1, tzinfo=BERLIN), datetime(2027, 10, 30, 12, tzinfo=BERLIN)),
        (
            datetime(2027, 10, 31, 2, 45, tzinfo=BERLIN),
            datetime(2027, 10, 31, 2, 30, tzinfo=BERLIN, fold=1),
        ),
        (datetime(2029, 12, 31, 23, 59, tzinfo=BERLIN), datetime(2030, 1, 1, tzinfo=BERLIN)),
    ],
    ids=[
        "leap day",
        "overlap over clocks forward",
        "clocks forward",
        "overlap over clocks back",
        "clocks back",
        "new year",
    ],
)
def test_schedule__in_a_zone_of_its_own_is_exact_across_calendar_traps(
    old: Credential, new: Credential, start: datetime, at: datetime
) -> None:
    rotation.rotate(new, actor="anna", now=start, at=at)

    begins = at.astimezone(UTC)
    planned = Credential.objects.get(pk=new.pk)
    assert (planned.activate_at, planned.overlap_until) == (begins, begins + 24 * HOUR)
    assert signer(begins - timedelta(seconds=1)) == old.key_id
    assert signer(at) == new.key_id


def test_overlap__counted_from_a_zoned_now_is_as_long_as_it_says(
    old: Credential, new: Credential
) -> None:
    now = datetime(2027, 3, 27, 12, tzinfo=BERLIN)

    rotation.rotate(new, actor="anna", now=now)

    assert Credential.objects.get(pk=old.pk).overlap_until == now.astimezone(UTC) + 24 * HOUR
