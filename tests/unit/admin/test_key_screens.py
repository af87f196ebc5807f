"""From verification to the end of a rotation and out of use, by clicks alone."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from django_cybs_jwt.models import Approval, Credential, KeyEvent, KeyUse, State
from django_cybs_jwt.services import approvals, coverage, export, ticking, verification
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.admin import people
from tests.unit.admin.test_admin_reading import Stored, assert_clean
from tests.unit.services import enrolment, estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]
YES = {"reason": "because"}
HOSTS = (enrolment.HOST, enrolment.OTHER_HOST)
SWITCH = {"overlap": "24h", "reason": "yearly"}


@pytest.fixture
def operator() -> User:
    return people.staff("olga", "operators", "custodians")


@pytest.fixture
def visitor(operator: User) -> Client:
    made = people.client(operator)
    people.password_typed(made, timezone.now().timestamp())
    return made


@pytest.fixture
def old(cybs_simulator: Simulation) -> Credential:
    acme = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    return Credential.objects.get(organization=acme)


@pytest.fixture
def new(cybs_simulator: Simulation, old: Credential) -> Credential:
    """Verified, and not uploaded by the operator."""
    row = cybs_simulator.import_shared_secret(old.organization, activate=False)
    verification.verify(row, actor="tests", now=timezone.now())
    return stored(row)


def stored(row: Credential) -> Credential:
    return Credential.objects.get(pk=row.pk)


def state(row: Credential) -> str:
    return stored(row).state


def click(visitor: Client, row: Any, page: str, data: dict[str, Any] | None = None) -> Any:
    model = row._meta.model_name
    return visitor.post(people.url(model, page, row.pk), data or {}, follow=True)


def page_of(visitor: Client, row: Credential) -> str:
    return visitor.get(people.url("credential", "change", row.pk)).content.decode()


def told(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


# Verify


def test_one_click_verifies_and_tells_the_outcome(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(acme, activate=False)

    answer = click(visitor, row, "verify")

    assert told(answer) == ["Accepted: The gateway accepted it."]
    assert state(row) == State.VERIFIED
    assert KeyEvent.objects.get(action="verify").actor == "olga"


def test_before_a_key_is_tried_its_page_says_that_a_refusal_takes_a_planned_switch_back(
    old: Credential, new: Credential, visitor: Client
) -> None:
    one = people.url("credential", "verify", new.pk)
    whole = people.url("organization", "verify", new.organization_id)
    many = people.url("credential", "changelist")
    chosen = {"action": "verify_many", "_selected_action": [str(old.pk), str(new.pk)]}

    def says_so() -> list[bool]:
        pages = [visitor.get(one), visitor.get(whole), visitor.post(many, chosen)]
        return ["plan is taken back" in page.content.decode() for page in pages]

    assert says_so() == [False, False, False]
    click(visitor, new, "activate", {**SWITCH, "when": "2027-01-31T03:00"})
    assert says_so() == [True, True, True]


def test_a_refusal_shows_the_report_on_the_page_of_the_key(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    cybs_simulator.faults.add(Fault(kind=FaultKind.CLOCK_SKEW, seconds=600, times=1))

    click(visitor, row, "verify")

    text = page_of(visitor, row)
    assert "HTTP 401" in text
    assert "BAD  clock" in text
    assert "eyJ" not in text
    click(visitor, row, "verify")
    assert "BAD  clock" not in page_of(visitor, row)


def test_many_keys_are_marked_verified_by_the_tick_and_counted_from_the_rows(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    rows = [cybs_simulator.import_shared_secret(acme, activate=False) for _ in range(3)]
    chosen = {
        "action": "verify_many",
        "index": "0",
        "_selected_action": [row.pk for row in rows],
        "cybs_confirmed": "1",
    }

    answer = visitor.post(people.url("credential", "changelist"), chosen, follow=True)

    progress, _status = answer.redirect_chain[0]
    assert re.findall(r"<td>(\d+)</td>", answer.content.decode()) == ["3", "0", "0", "0"]
    assert told(answer) == ["3 keys are marked to be verified."]
    assert "Requested" in visitor.get(people.url("credential", "changelist")).content.decode()
    cybs_simulator.faults.add(Fault(kind=FaultKind.CLOCK_SKEW, seconds=600, times=1))
    ticking.tick(timezone.now())
    text = visitor.get(progress).content.decode()
    assert re.findall(r"<td>(\d+)</td>", text) == ["0", "2", "1", "0"]
    assert "The gateway refused the token" in text
    assert {event.actor for event in KeyEvent.objects.filter(action="verify")} == {"olga"}


def test_limited_staff_sees_the_progress_of_what_it_sees(
    cybs_simulator: Simulation, operator: User, visitor: Client
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    other = cybs_simulator.merchant("other", signs_with=None)
    for owner in (acme, other):
        cybs_simulator.import_shared_secret(owner, activate=False)
    verification.request(Credential.objects.all(), actor="tests", now=timezone.now())
    people.limited(operator, acme)
    text = visitor.get(people.url("credential", "verifying")).content.decode()
    assert re.findall(r"<td>(\d+)</td>", text) == ["1", "0", "0", "0"]


@pytest.mark.parametrize("since", ["", "x", "2026-13-01", "2026-01-01T00:00:00"])
def test_a_moment_that_is_none_is_the_last_hour(visitor: Client, since: str) -> None:
    answer = visitor.get(people.url("credential", "verifying"), {"since": since})
    assert answer.status_code == 200


def test_a_meta_key_is_tried_as_the_merchant_that_is_named(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    mall = cybs_simulator.merchant("mall", kind="portfolio", signs_with=None)
    cybs_simulator.merchant("garden", parent="mall", signs_with=None)
    row = cybs_simulator.import_shared_secret(mall, covers="all", activate=False)
    refused = click(visitor, row, "verify", {"acting_as": "stranger"})
    assert told(refused) == ["mall's key does not cover stranger."]
    click(visitor, row, "verify", {"acting_as": "garden"})
    assert state(row) == State.VERIFIED


def test_all_keys_of_a_merchant_are_verified_from_its_page(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    page = visitor.get(people.url("organization", "verify", acme.pk)).content.decode()
    assert row.key_id in page

    answer = click(visitor, acme, "verify")

    assert told(answer) == ["Accepted: The gateway accepted it."]
    assert state(row) == State.VERIFIED


def test_a_merchant_out_of_scope_is_not_verified(
    old: Credential, operator: User, visitor: Client
) -> None:
    people.limited(operator, estate.organization("mall", kind="portfolio"))
    address = people.url("organization", "verify", old.organization_id)
    assert visitor.get(address).status_code == 404
    assert visitor.post(address).status_code == 404
    assert stored(old).verify_outcome == ""


# Rotate


def test_activation_switches_watches_and_rolls_back(
    old: Credential, new: Credential, visitor: Client
) -> None:
    answer = click(visitor, new, "activate", SWITCH)
    assert (state(old), state(new)) == (State.RETIRING, State.ACTIVE)
    assert "Watch its uses here" in told(answer)[0]
    text = page_of(visitor, new)
    assert people.url("credential", "rollback", new.pk) in text

    click(visitor, new, "rollback", YES)
    assert (state(old), state(new)) == (State.ACTIVE, State.RETIRING)
    assert people.url("credential", "rollback", new.pk) not in page_of(visitor, new)


def test_the_page_names_who_switches_and_changes_nothing_before_the_button(
    old: Credential, new: Credential, visitor: Client
) -> None:
    text = visitor.get(people.url("credential", "activate", new.pk)).content.decode()
    assert "acme@" in text
    assert f"{old.key_id} retires when the overlap ends." in text
    assert (state(old), state(new)) == (State.ACTIVE, State.VERIFIED)


@pytest.mark.parametrize(
    ("data", "hours"),
    [
        ({"overlap": "1h"}, 1),
        ({"overlap": "24h"}, 24),
        ({"overlap": "7d"}, 168),
        ({"overlap": "custom", "hours": "5"}, 5),
    ],
)
def test_the_overlap_is_as_long_as_was_chosen(
    old: Credential, new: Credential, visitor: Client, data: dict[str, str], hours: int
) -> None:
    click(visitor, new, "activate", data)
    until, since = stored(old).overlap_until, stored(old).retiring_at
    assert until is not None
    assert since is not None
    assert until - since == timedelta(hours=hours)


def test_without_overlap_the_key_before_is_retired_at_once(
    old: Credential, new: Credential, visitor: Client
) -> None:
    click(visitor, new, "activate", {"overlap": "now"})
    assert (state(old), state(new)) == (State.RETIRED, State.ACTIVE)


def test_a_custom_overlap_needs_its_hours(new: Credential, visitor: Client) -> None:
    answer = click(visitor, new, "activate", {"overlap": "custom"})
    assert "How many hours?" in answer.content.decode()
    assert state(new) == State.VERIFIED


def test_a_switch_is_planned_in_the_zone_of_the_site_and_taken_back(
    old: Credential, new: Credential, visitor: Client, settings: Any
) -> None:
    settings.TIME_ZONE = "America/Sao_Paulo"
    answer = click(visitor, new, "activate", {**SWITCH, "when": "2027-01-31T03:00"})
    assert "Planned" in told(answer)[0]
    assert stored(new).activate_at == datetime(2027, 1, 31, 6, tzinfo=UTC)
    assert people.url("credential", "unschedule", new.pk) in answer.content.decode()

    click(visitor, new, "unschedule", YES)
    assert stored(new).activate_at is None
    assert (state(old), state(new)) == (State.ACTIVE, State.VERIFIED)


def test_an_unverified_key_takes_force_and_a_reason(
    cybs_simulator: Simulation, old: Credential, visitor: Client
) -> None:
    row = cybs_simulator.import_shared_secret(old.organization, activate=False)
    answer = click(visitor, row, "activate", SWITCH)
    assert "is not verified" in told(answer)[0]
    click(visitor, row, "activate", {"overlap": "24h", "force": "on"})
    assert state(row) == State.STAGED
    click(visitor, row, "activate", {**SWITCH, "force": "on"})
    assert state(row) == State.ACTIVE


def test_a_page_that_was_about_another_active_key_switches_nothing(
    visitor: Client, cybs_simulator: Simulation, old: Credential, new: Credential
) -> None:
    third = cybs_simulator.import_shared_secret(old.organization, activate=False)
    shown = visitor.get(people.url("credential", "activate", new.pk)).content.decode()
    assert f'name="replaces" value="{old.pk}"' in shown
    click(visitor, third, "activate", {**SWITCH, "overlap": "now", "force": "on"})

    answer = click(visitor, new, "activate", {**SWITCH, "replaces": str(old.pk)})

    assert f"now it is {third.key_id}. Look again." in told(answer)[0]
    assert (state(third), state(new)) == (State.ACTIVE, State.VERIFIED)


def test_a_page_that_was_about_another_active_key_rolls_nothing_back(
    visitor: Client, cybs_simulator: Simulation, old: Credential, new: Credential
) -> None:
    third = cybs_simulator.import_shared_secret(old.organization, activate=False)
    click(visitor, new, "activate", SWITCH)
    shown = visitor.get(people.url("credential", "rollback", new.pk)).content.decode()
    assert f'name="replaces" value="{new.pk}"' in shown
    click(visitor, third, "activate", {**SWITCH, "force": "on"})

    answer = click(visitor, new, "rollback", {**YES, "replaces": str(new.pk)})

    assert f"now it is {third.key_id}. Look again." in told(answer)[0]
    assert (state(third), state(new)) == (State.ACTIVE, State.RETIRING)


def test_the_first_key_of_a_slot_is_activated_without_the_network(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    click(visitor, row, "activate", {"reason": "first"})
    assert state(row) == State.ACTIVE


def test_a_first_key_that_was_refused_takes_force_and_a_reason(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    cybs_simulator.faults.add(Fault(kind=FaultKind.CLOCK_SKEW, seconds=600, times=1))
    click(visitor, row, "verify")
    page = visitor.get(people.url("credential", "activate", row.pk)).content.decode()
    assert "Its last verification failed" in page

    for data in ({}, {"reason": "now"}, {"force": "on"}):
        answer = click(visitor, row, "activate", data)
        assert "reason" in told(answer)[0]
        assert state(row) == State.STAGED
    click(visitor, row, "activate", {"force": "on", "reason": "a clock that was wrong"})

    assert state(row) == State.ACTIVE
    done = KeyEvent.objects.get(action="activate", outcome="done")
    assert done.reason == "a clock that was wrong"


@pytest.mark.parametrize("reason", ["", "for the launch"])
def test_the_audit_trail_says_the_reason_that_was_typed(
    cybs_simulator: Simulation, visitor: Client, reason: str
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    click(visitor, row, "activate", {"reason": reason})
    assert KeyEvent.objects.get(action="activate").reason == reason


def test_an_unverified_first_key_is_planned_by_force(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    acme = cybs_simulator.merchant("acme", signs_with=None)
    row = cybs_simulator.import_shared_secret(acme, activate=False)
    later = {"when": "2031-01-31T03:00", "reason": "the launch"}
    assert "force it with a reason" in told(click(visitor, row, "activate", later))[0]
    click(visitor, row, "activate", {**later, "force": "on"})
    assert stored(row).activate_at is not None


def test_activation_asks_for_the_password(new: Credential, operator: User) -> None:
    answer = people.client(operator).post(people.url("credential", "activate", new.pk), SWITCH)
    assert people.asks_password(answer)
    assert state(new) == State.VERIFIED


def test_where_two_people_are_needed_the_first_click_asks_and_the_second_switches(
    new: Credential, visitor: Client, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    answer = click(visitor, new, "activate", SWITCH)
    assert "takes a second person" in told(answer)[0]
    assert state(new) == State.VERIFIED
    Approval.objects.update(
        status="GRANTED", decided_by="bob", decider="bob", decided_at=timezone.now()
    )
    click(visitor, new, "activate", SWITCH)
    assert state(new) == State.ACTIVE


def test_the_chart_and_its_table_count_both_keys_by_the_hour(
    old: Credential, new: Credential, visitor: Client
) -> None:
    click(visitor, new, "activate", SWITCH)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    KeyUse.objects.create(credential=new, hour=hour, signed=7, opened=1)
    KeyUse.objects.create(credential=old, hour=hour, signed=2)
    text = page_of(visitor, new)
    bars = re.findall(r'<rect class="cybs-bar-(\w+)".*? height="([\d.]+)"', text)
    assert bars == [("new", "96.0"), ("old", "24.0")]
    assert re.search(r"<td>8</td><td>2</td>", text)


def test_a_rotated_key_says_when_it_is_safe_to_delete_and_where(
    old: Credential, new: Credential, visitor: Client
) -> None:
    click(visitor, new, "activate", {"overlap": "now"})
    text = page_of(visitor, new)
    assert "Not yet" in text
    assert f"delete {old.key_id} at the gateway" in text
    week_ago = timezone.now() - timedelta(days=8)
    Credential.objects.filter(pk=old.pk).update(retired_at=week_ago, last_used_at=week_ago)
    for row in (old, new):
        text = page_of(visitor, row)
        assert "Safe to delete" in text
        assert "Idle since" in text
        assert "Payment Configuration &gt; Key Management" in text
        assert f"Not {new.key_id}: that one is in use." in text


def test_a_staged_key_that_has_ended_says_so_and_is_not_activated(
    new: Credential, visitor: Client
) -> None:
    Credential.objects.filter(pk=new.pk).update(expires_at=timezone.now() - timedelta(days=1))
    assert "This key has ended." in page_of(visitor, new)
    answer = click(visitor, new, "activate", SWITCH)
    assert "ended on" in told(answer)[0]
    assert state(new) == State.VERIFIED


# Out of use

VERBS = {
    "suspend": State.SUSPENDED,
    "retire": State.RETIRED,
    "compromise": State.COMPROMISED,
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_key_is_withdrawn_after_a_page_that_names_who_stops(
    old: Credential, visitor: Client, verb: str
) -> None:
    text = visitor.get(people.url("credential", verb, old.pk)).content.decode()
    assert "Requests for these merchants fail until another key signs." in text
    assert "acme@" in text
    unreasoned = click(visitor, old, verb, {"reason": ""})
    assert unreasoned.context["form"].errors
    assert state(old) == State.ACTIVE
    click(visitor, old, verb, YES)
    assert state(old) == VERBS[verb]


def test_marking_a_key_as_compromised_names_where_else_it_is_and_who_stops_there() -> None:
    acme, elsewhere = (enrolment.organization(host=host) for host in HOSTS)
    secret = material.shared_secret().secret
    row = enrolment.shared_secret(acme, secret=secret, activate=False)
    twin = enrolment.shared_secret(elsewhere, secret=secret)
    told = warning(people.client(people.staff("olga", "operators")), row, "compromise")
    assert f"The same key is stored for {elsewhere} too, and is marked there with it." in told
    assert f"<li>{elsewhere}</li>" in told
    assert IDLE not in told
    limited = people.client(people.limited(people.staff("lena", "operators"), acme))
    told = warning(limited, row, "compromise")
    assert "The same key is stored for … too, and is marked there with it." in told
    assert str(elsewhere) not in told
    click(limited, row, "compromise", YES)
    assert state(twin) == State.COMPROMISED


def test_a_suspended_key_is_resumed_and_a_retired_one_destroyed(
    old: Credential, visitor: Client
) -> None:
    click(visitor, old, "suspend", YES)
    assert "acme@" in visitor.get(people.url("credential", "resume", old.pk)).content.decode()
    click(visitor, old, "resume", YES)
    assert state(old) == State.ACTIVE
    click(visitor, old, "retire", YES)
    assert (
        "No merchant depends on it now."
        in visitor.get(people.url("credential", "destroy", old.pk)).content.decode()
    )
    click(visitor, old, "destroy", YES)
    assert state(old) == State.DESTROYED


IDLE = "No merchant depends on it now."


def warning(visitor: Client, row: Credential, verb: str) -> str:
    """What the page says will happen, with the merchants that it names."""
    text = visitor.get(people.url("credential", verb, row.pk)).content.decode()
    return text.partition('class="cybs-consequences"')[2].partition("</section>")[0]


@pytest.mark.parametrize("verb", ["suspend", "retire", "compromise"])
def test_of_a_key_in_its_overlap_the_way_back_is_lost_and_its_successor_signs(
    old: Credential, new: Credential, visitor: Client, verb: str
) -> None:
    click(visitor, new, "activate", SWITCH)
    text = warning(visitor, old, verb)
    assert "the way back: the switch cannot be rolled back without this key" in text
    assert "acme@" in text
    assert IDLE not in text
    assert "fail" not in text


def test_whose_replies_a_retired_key_still_opens_stands_before_it_is_destroyed(
    old: Credential, visitor: Client
) -> None:
    row = enrolment.rsa_key(old.organization)
    click(visitor, row, "retire", YES)
    text = warning(visitor, row, "destroy")
    assert "that come in under its key ID cannot be decrypted without it" in text
    assert "acme@" in text
    assert IDLE not in text


@pytest.mark.parametrize("verb", ["suspend", "retire", "compromise", "destroy"])
def test_of_a_key_that_was_never_in_use_nothing_is_lost(
    old: Credential, visitor: Client, verb: str
) -> None:
    for row in (
        enrolment.rsa_key(old.organization, activate=False),
        enrolment.shared_secret(old.organization, activate=False),
    ):
        text = warning(visitor, row, verb)
        assert IDLE in text
        assert "acme@" not in text


def test_a_suspended_key_lets_the_next_sign_once_it_is_retired_and_not_when_it_is_destroyed(
    old: Credential, visitor: Client
) -> None:
    click(visitor, old, "suspend", YES)
    assert "Once it is retired, the next key that is found" in warning(visitor, old, "retire")
    assert "until another key is active in its place" in warning(visitor, old, "destroy")
    assert "acme@" in warning(visitor, old, "destroy")


@pytest.mark.parametrize("verb", ["suspend", "compromise", "retire", "destroy"])
def test_of_a_response_key_no_page_says_that_it_signs(visitor: Client, verb: str) -> None:
    """Nor that requests fail: most replies come in clear without it."""
    row = enrolment.rsa_key(enrolment.organization())
    text = visitor.get(people.url("credential", verb, row.pk)).content.decode()
    assert "sign" not in re.sub(r"<[^>]+>", " ", text.split('id="content"')[1])
    assert "Requests for these merchants fail" not in text
    if verb != "destroy":  # which an active key is too early for
        click(visitor, row, verb, YES)
    assert "sign" not in next_step(page_of(visitor, row))


def next_step(page: str) -> str:
    return page.partition('class="cybs-next"')[2].partition("</section>")[0]


WHO = {
    State.STAGED: ("verify", "verify"),
    State.VERIFIED: ("rotate", "activate"),
    State.ACTIVE: ("import", "import"),
    State.SUSPENDED: ("rotate", "activate"),
    State.COMPROMISED: ("import", "import"),
}


@pytest.mark.parametrize("at", WHO)
def test_who_may_not_go_on_is_told_who_may_and_who_may_has_a_button(
    old: Credential, at: State
) -> None:
    row = enrolment.shared_secret(old.organization, slot="other", activate=at == State.ACTIVE)
    if at not in (State.STAGED, State.ACTIVE):
        enrolment.put(row, at)
    permission, word = WHO[at]
    told = f"Somebody who may {word} keys goes on from here."
    blind = people.client(people.allowed("bert", "view_credential"))
    step = next_step(page_of(blind, row))
    assert told in step
    assert "cybs-button" not in step
    able = people.client(people.allowed("ada", "view_credential", f"{permission}_credential"))
    step = next_step(page_of(able, row))
    assert told not in step
    assert "cybs-button" in step


def test_a_first_response_key_is_asked_for_and_signs_nothing(visitor: Client) -> None:
    row = enrolment.rsa_key(enrolment.organization(), activate=False)
    assert "sign" not in next_step(page_of(visitor, row))
    answer = click(visitor, row, "activate", {"reason": "first"})
    assert told(answer) == ["Active: replies are asked for under it from now on."]


def test_the_blast_radius_of_a_meta_key_is_named(
    cybs_simulator: Simulation, visitor: Client
) -> None:
    mall = cybs_simulator.merchant("mall", kind="portfolio", signs_with=None)
    for name in ("garden", "shop"):
        cybs_simulator.merchant(name, parent="mall", signs_with=None)
    row = cybs_simulator.import_shared_secret(mall, covers="selected")
    coverage.add("mall", ["garden"], actor="tests")
    text = visitor.get(people.url("credential", "suspend", row.pk)).content.decode()
    assert "garden@" in text
    assert "shop@" not in text
    assert "It concerns 1 merchant:" in text


def test_an_upload_is_taken_back_by_its_uploader_alone(
    new: Credential, visitor: Client, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    answer = click(visitor, new, "discard", YES)
    assert "was uploaded by testing" in told(answer)[0]
    assert state(new) == State.VERIFIED
    Credential.objects.filter(pk=new.pk).update(uploaded_by="olga")
    assert people.url("credential", "discard", new.pk) in page_of(visitor, new)
    click(visitor, new, "discard", YES)
    assert state(new) == State.DESTROYED
    assert stored(new).sealed_secret is None


# Out of this system


def test_an_export_is_asked_for_here_and_written_elsewhere(
    visitor: Client, settings: Any, tmp_path: Any
) -> None:
    row = enrolment.rsa_key(enrolment.organization(), purpose="signing")
    page = people.url("credential", "request_export", row.pk)
    assert page not in page_of(visitor, row)
    assert "takes no approval" in told(click(visitor, row, "request_export", YES))[0]
    assert not Approval.objects.exists()
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    assert page in page_of(visitor, row)
    assert f"manage.py cybs_export {row.pk} FILE" in visitor.get(page).content.decode()
    assert click(visitor, row, "request_export", {"reason": ""}).context["form"].errors
    click(visitor, row, "request_export", {"reason": "a move to another system"})
    asked = Approval.objects.get()
    facts = (asked.action, asked.requested_by, asked.status, asked.reason)
    assert facts == ("export", "olga", "REQUESTED", "a move to another system")
    now = timezone.now()
    approvals.approve(asked.pk, actor="bob", now=now)
    file = tmp_path / "key.p12"
    export.export(row, file, "a new password", actor="olga", now=now, reason="the move")
    assert file.exists()


@pytest.mark.parametrize("what", ["shared secret", "destroyed"])
def test_no_export_is_asked_for_of_what_no_file_can_be_made_of(
    old: Credential, visitor: Client, settings: Any, what: str
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    if what == "destroyed":
        old = enrolment.rsa_key(old.organization, activate=False)
        gone = {"sealed_secret": None, "sealed_p12": None, "live_key_id": None}
        enrolment.put(old, State.DESTROYED, **gone)
    assert people.url("credential", "request_export", old.pk) not in page_of(visitor, old)
    assert told(click(visitor, old, "request_export", YES))
    assert not Approval.objects.filter(action="export").exists()


# Who may


SCREENS = {
    "verify": "verify_credential",
    "activate": "rotate_credential",
    "unschedule": "rotate_credential",
    "rollback": "rotate_credential",
    "replace": "import_credential",
    "discard": "import_credential",
    "suspend": "rotate_credential",
    "resume": "rotate_credential",
    "retire": "rotate_credential",
    "compromise": "rotate_credential",
    "destroy": "destroy_credential",
    "request_export": "export_credential",
}
ASKING = {"activate", "resume", "retire", "discard", "destroy"}


@pytest.mark.parametrize("page", SCREENS)
def test_every_screen_takes_its_own_permission(old: Credential, page: str) -> None:
    others = {"view_credential", *SCREENS.values()} - {SCREENS[page]}
    address = people.url("credential", page, old.pk)
    without = people.client(people.allowed("wilma", *others))
    assert without.get(address).status_code == 403
    assert without.post(address, YES).status_code == 403
    assert people.url("credential", page, old.pk) not in page_of(without, old)
    holder = people.client(people.allowed("hugo", "view_credential", SCREENS[page]))
    assert holder.get(address).status_code == (302 if page in ASKING else 200)
    assert state(old) == State.ACTIVE


@pytest.mark.parametrize("page", SCREENS)
def test_no_screen_finds_a_key_out_of_scope(
    old: Credential, operator: User, visitor: Client, page: str
) -> None:
    people.limited(operator, estate.organization("mall", kind="portfolio"))
    address = people.url("credential", page, old.pk)
    assert visitor.get(address).status_code == 404
    assert visitor.post(address, YES).status_code == 404
    assert state(old) == State.ACTIVE


@pytest.mark.parametrize("page", sorted(set(SCREENS) | {"verifying", "import"}))
def test_nothing_is_inline_and_a_get_changes_nothing(
    old: Credential, new: Credential, visitor: Client, page: str
) -> None:
    arguments = [] if page in ("verifying", "import") else [new.pk]
    before = list(Credential.objects.order_by("pk").values())
    text = visitor.get(people.url("credential", page, *arguments)).content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert list(Credential.objects.order_by("pk").values()) == before


def test_no_screen_of_any_key_shows_a_secret(visitor: Client) -> None:
    portfolio, _, acme = enrolment.family()
    file, shared = material.p12("acme"), material.shared_secret()
    enrolment.store(acme, enrolment.p12_inspection(file))
    enrolment.shared_secret(portfolio, secret=shared.secret, covers="selected")
    rows = list(Credential.objects.all())
    raw = [enrolment.pkcs8(file.private_key), file.data, base64.b64decode(shared.secret)]
    raw += [bytes(row.sealed_secret or b"") for row in rows]
    known = Stored(secrets=tuple(raw), texts=(file.password, shared.secret))
    for row in rows:
        for page in SCREENS:
            assert_clean(visitor.get(people.url("credential", page, row.pk)).content, known)
        for page in ("change", "coverage"):
            address = people.url("keyslot", page, row.slot_id)
            assert_clean(visitor.get(address).content, known)
