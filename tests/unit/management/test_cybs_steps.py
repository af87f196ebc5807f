"""What the admin's screens do, commands do too: discard, unschedule, verify what was marked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_cybs_jwt.models import Credential, Organization, State
from django_cybs_jwt.services import verification
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.management.running import run
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


@pytest.fixture
def acme(cybs_simulator: Simulation) -> Organization:
    return cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)


@pytest.fixture
def new(cybs_simulator: Simulation, acme: Organization) -> Credential:
    return cybs_simulator.import_shared_secret(acme, activate=False)


def stored(row: Credential) -> Credential:
    return Credential.objects.get(pk=row.pk)


def test_what_was_marked_is_verified(new: Credential) -> None:
    verification.request(Credential.objects.filter(pk=new.pk), actor="olga", now=timezone.now())
    assert run("cybs_verify", "--requested", "--json").json == {"tried": 1}
    assert stored(new).state == State.VERIFIED


def test_of_a_compromised_key_the_command_shows_where_else_it_was_marked() -> None:
    secret = material.shared_secret().secret
    row, twin = (
        enrolment.shared_secret(enrolment.organization(host=host), secret=secret)
        for host in (enrolment.HOST, enrolment.OTHER_HOST)
    )
    ended = run("cybs_keys", "compromise", str(row.pk), "--reason", "leaked", "--json")
    moved = [(one["id"], one["host"], one["state"]) for one in ended.json]
    assert moved == [(str(one.pk), one.organization.host, State.COMPROMISED) for one in (row, twin)]


@pytest.mark.parametrize("arguments", [(), ("acme", "--requested")])
def test_either_an_organization_or_what_was_marked(
    acme: Organization, arguments: tuple[str, ...]
) -> None:
    assert run("cybs_verify", *arguments).code == 2


def test_a_planned_switch_is_taken_back_once(new: Credential) -> None:
    verification.verify(new, actor="olga", now=timezone.now())
    later = "2036-01-01T03:00Z"
    assert run("cybs_rotate", "acme", "--purpose", "signing", "--at", later).code == 0
    assert stored(new).activate_at is not None
    back = ("cybs_rotate", "acme", "--purpose", "signing", "--unschedule")
    assert run(*back).code == 0
    assert (stored(new).activate_at, stored(new).overlap_until) == (None, None)
    assert run(*back).code == 2
    assert run(*back, "--to", str(new.pk)).code == 1


ROTATE = ("cybs_rotate", "acme", "--purpose", "signing")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rollback", "--unschedule"),
        ("--rollback", "--to", "x"),
        ("--rollback", "--at", "2036-01-01T03:00Z"),
        ("--rollback", "--overlap", "now"),
        ("--rollback", "--force"),
        ("--unschedule", "--at", "2036-01-01T03:00Z"),
        ("--unschedule", "--force", "--reason", "r"),
    ],
    ids=" ".join,
)
def test_an_option_that_would_do_nothing_is_a_usage_error(
    acme: Organization, arguments: tuple[str, ...]
) -> None:
    ended = run(*ROTATE, *arguments)
    assert (ended.code, "does nothing with" in ended.err) == (2, True)


def test_a_key_that_was_rolled_back_is_taken_again_where_no_other_waits(
    cybs_simulator: Simulation, acme: Organization, new: Credential
) -> None:
    verification.verify(new, actor="olga", now=timezone.now())
    assert run(*ROTATE).code == 0
    refused = run(*ROTATE)
    assert (refused.code, "No key is waiting" in refused.err) == (2, True)
    for _ in range(2):
        assert run(*ROTATE, "--rollback").code == 0
        ended = run(*ROTATE)
        assert (ended.code, new.key_id in ended.err, new.key_id in ended.out) == (0, True, True)
        assert stored(new).state == State.ACTIVE

    assert run(*ROTATE, "--rollback").code == 0
    other = cybs_simulator.import_shared_secret(acme, activate=False)
    verification.verify(other, actor="olga", now=timezone.now())
    assert run(*ROTATE).err == ""
    assert stored(other).state == State.ACTIVE


def test_a_key_that_was_rolled_back_a_day_ago_is_not_taken_unnamed(new: Credential) -> None:
    verification.verify(new, actor="olga", now=timezone.now())
    run(*ROTATE)
    run(*ROTATE, "--rollback")
    earlier = timezone.now() - timedelta(hours=25)
    Credential.objects.filter(pk=new.pk).update(retiring_at=earlier)
    refused = run(*ROTATE)
    assert (refused.code, "No key is waiting" in refused.err) == (2, True)


def test_a_time_that_is_past_switches_nothing(new: Credential) -> None:
    verification.verify(new, actor="olga", now=timezone.now())
    refused = run(*ROTATE, "--at", "2026-01-01T03:00Z")
    assert (refused.code, "is past" in refused.err) == (1, True)
    assert stored(new).state == State.VERIFIED


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--overlap", "2 days"), "give now, 1h, 24h, 7d or a number of seconds."),
        (("--overlap", "9" * 30), "an overlap is between 0 and 30 days."),
        (("--at", "tomorrow"), "give a time like 2027-01-31T03:00Z."),
    ],
)
def test_a_time_that_is_none_is_named_in_a_sentence(
    acme: Organization, option: tuple[str, ...], says: str
) -> None:
    ended = run(*ROTATE, *option)
    assert ended.code != 0
    assert f"argument {option[0]}: {says}" in ended.err


def test_days_that_are_none_are_named_in_a_sentence(acme: Organization) -> None:
    for days in ("soon", "-1", "1.5"):
        ended = run("cybs_expiry", f"--days={days}")
        assert "argument --days: give a whole number of days from 0 up." in ended.err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--overlap", "9" * 30, "between 0 and 30 days"),
        ("--overlap", "-5", "between 0 and 30 days"),
        ("--overlap", "long", "give now, 1h, 24h, 7d"),
        ("--at", "9999-12-31T23:59:59", "beyond the calendar"),
        ("--at", "9999-12-31T23:59:59-01:00", "beyond the calendar"),
        ("--at", "2027-13-01", "give a time like"),
    ],
)
def test_a_time_that_cannot_be_is_wrong_usage(
    new: Credential, option: str, value: str, message: str
) -> None:
    rotate = ("cybs_rotate", "acme", "--purpose", "signing", "--force", "--reason", "x")
    refused = run(*rotate, f"{option}={value}")
    assert refused.err.startswith("Error: argument ")  # code 2 at a shell: the parser's own
    assert message in refused.err
    assert stored(new).state == State.STAGED


def test_a_rotation_names_the_merchants_whose_requests_it_changes(
    cybs_simulator: Simulation,
) -> None:
    mall = cybs_simulator.merchant(
        "mall", kind="portfolio", signs_with="shared_secret", covers="all", response_mle=False
    )
    cybs_simulator.merchant("garden", parent="mall", signs_with=None)
    cybs_simulator.merchant("own", parent="mall", signs_with="shared_secret", response_mle=False)
    cybs_simulator.import_shared_secret(mall, activate=False)
    rotate = ("cybs_rotate", "mall", "--purpose", "signing", "--force", "--reason", "x", "--json")
    planned = run(*rotate, "--at", "2036-01-01T03:00Z")
    assert planned.json["merchants"] == ["garden"]
    assert run(*rotate).json["merchants"] == ["garden"]


def test_an_upload_is_discarded_by_the_name_that_uploaded_it(new: Credential) -> None:
    discard = ("cybs_keys", "discard", str(new.pk), "--reason", "not meant")
    refused = run(*discard, "--user", "olga")
    assert refused.code == 1
    assert "was uploaded by testing" in refused.err
    assert run(*discard, "--user", "testing").code == 0
    assert stored(new).state == State.DESTROYED


def test_a_key_that_was_in_use_is_not_discarded(acme: Organization) -> None:
    row = Credential.objects.get()
    refused = run("cybs_keys", "discard", str(row.pk), "--reason", "x", "--user", "testing")
    assert refused.code == 1
    assert stored(row).state == State.ACTIVE
