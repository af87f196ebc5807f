"""Four eyes at a shell: a refused command stores its request, a grant lets the repeat pass."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core import mail

from django_cybs_jwt.models import AlertRecipient, Approval, Credential, KeyEvent, State
from django_cybs_jwt.testing import material
from tests.unit.management.running import Ended, run
from tests.unit.services import enrolment

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("four_eyes"),
]

COMMANDS: dict[str, list[str]] = {
    "activate": ["cybs_rotate", "acme", "--purpose", "signing", "--force", "--reason", "first"],
    "destroy": ["cybs_keys", "destroy", "{key}", "--reason", "leaving"],
    "export": ["cybs_export", "{key}", "{file}", "--reason", "moving", "--new-password-env", "NEW"],
    "offboard": ["cybs_org", "offboard", "acme", "--reason", "over"],
}


@pytest.fixture
def four_eyes(cybs_ring: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    monkeypatch.setenv("LOGNAME", "kim")
    monkeypatch.setenv("NEW", "battery-staple-9")


@pytest.fixture
def key(four_eyes: None) -> Credential:
    owner = enrolment.organization()
    inspected = enrolment.rsa_inspection("acme", purpose="signing")
    return enrolment.store(owner, inspected, activate=False)


def request(key: Credential, action: str = "destroy", *more: str, user: str = "alice") -> Ended:
    line = ["cybs_approvals", "request", str(key.pk), action, "--reason", "leaving"]
    return run(*line, "--user", user, *more)


def approve(*ids: object, user: str = "bob") -> Ended:
    return run("cybs_approvals", "approve", *map(str, ids), "--user", user)


def only() -> Approval:
    return Approval.objects.get()


@pytest.mark.parametrize("name", COMMANDS)
def test_command_that_needs_a_second_person__asks_and_passes_when_repeated(
    key: Credential, tmp_path: Path, name: str
) -> None:
    line = [part.format(key=key.pk, file=tmp_path / "acme.p12") for part in COMMANDS[name]]

    refused = run(*line, "--user", "alice")
    asked = only()
    again = run(*line, "--user", "alice")
    granted = approve(asked.pk)
    passed = run(*line, "--user", "alice")

    assert (refused.code, again.code, granted.code, passed.code) == (1, 1, 0, 0)
    assert refused.err == again.err
    assert refused.err == (
        f"Approval {asked.pk} requested; somebody else runs: manage.py cybs_approvals "
        f"approve {asked.pk} --user NAME; then repeat this command."
    )
    assert (asked.requested_by, asked.reason) == ("alice", line[line.index("--reason") + 1])
    assert only().status == Approval.Status.USED


def test_resume__asks_too(key: Credential) -> None:
    run("cybs_keys", "suspend", str(key.pk), "--reason", "odd")

    assert run("cybs_keys", "resume", str(key.pk), "--reason", "fine").code == 1
    assert only().action == "resume"


def test_refused_command__leaves_a_denied_audit_row(key: Credential) -> None:
    run("cybs_keys", "destroy", str(key.pk), "--reason", "leaving", "--user", "alice")

    event = KeyEvent.objects.filter(outcome="denied", action="destroy").latest("seq")
    assert event.actor == "alice"


def test_import_with_activate__says_what_to_do_instead(
    four_eyes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolment.organization()
    path = tmp_path / "acme.p12"
    path.write_bytes(material.p12("acme", private_key=material.rsa_key(name="four eyes")).data)
    monkeypatch.setenv("PW", material.PASSWORD)

    refused = run("cybs_import", "acme", str(path), "--activate", "--password-env", "PW")

    assert refused.code == 1
    assert "Import without --activate" in refused.err
    assert not Credential.objects.exists()
    assert not Approval.objects.exists()


def test_offboarding__asks_for_all_keys_at_once_and_takes_the_answers_together(
    key: Credential,
) -> None:
    other = enrolment.rsa_key(key.organization, activate=False)
    line = ["cybs_org", "offboard", "acme", "--reason", "over", "--user", "alice"]

    refused = run(*line)
    (told,) = re.findall(r"cybs_approvals approve (.+) --user NAME", refused.err)
    granted = approve(*told.split())

    assert len(told.split()) == 2
    assert granted.code == 0
    assert run(*line).code == 0
    for row in (key, other):
        row.refresh_from_db()
        assert row.state == State.DESTROYED


# -- who says so


def test_approving__takes_a_name_while_four_eyes_is_on(key: Credential) -> None:
    request(key)

    nameless = run("cybs_approvals", "approve", str(only().pk))

    assert nameless.code == 2
    assert "--user" in nameless.err
    assert only().status == Approval.Status.REQUESTED


@pytest.mark.parametrize("user", ["alice", "ALICE", "tests"])
def test_requester_and_uploader__are_refused_with_1(key: Credential, user: str) -> None:
    request(key)

    refused = approve(only().pk, user=user)

    assert refused.code == 1
    assert "cannot approve" in refused.err


def test_user__may_stand_before_the_verb_and_behind_it(key: Credential) -> None:
    request(key)

    refused = run("cybs_approvals", "--user", "alice", "approve", str(only().pk))
    passed = run("cybs_approvals", "--user", "bob", "--json", "approve", str(only().pk))

    assert refused.code == 1
    assert passed.json[0]["decided_by"] == "bob"


def test_audit_row_of_an_approval__keeps_the_account_beside_the_name(key: Credential) -> None:
    request(key)
    approve(only().pk)

    event = KeyEvent.objects.filter(action="approve", outcome="done").latest("seq")
    assert (event.actor, event.reason) == ("bob", f"destroy {only().pk} on the account kim")


def test_without_a_user__the_account_asks(key: Credential) -> None:
    run("cybs_keys", "destroy", str(key.pk), "--reason", "leaving")

    assert only().requested_by == "os:kim"


# -- the verbs


def test_request__prints_what_the_other_one_runs(key: Credential) -> None:
    asked = request(key, "export")

    assert asked.code == 0
    assert f"manage.py cybs_approvals approve {only().pk} --user NAME" in asked.out


def test_request_of_what_takes_one_person__is_a_usage_error(key: Credential) -> None:
    assert request(key, "suspend").code != 0
    assert not Approval.objects.exists()


def test_list__shows_what_waits_as_table_and_json(key: Credential) -> None:
    empty = run("cybs_approvals", "list")
    request(key)

    (facts,) = run("cybs_approvals", "list", "--json").json
    header, row = run("cybs_approvals", "list").out.splitlines()

    assert empty.out == "Nothing waits for a second person.\n"
    assert facts["id"] == str(only().pk)
    assert (facts["status"], facts["action"], facts["organization"], facts["purpose"]) == (
        "REQUESTED",
        "destroy",
        "acme",
        "signing",
    )
    assert (facts["requested_by"], facts["decided_by"], facts["break_glass"]) == (
        "alice",
        "",
        False,
    )
    assert header.split()[:3] == ["ID", "STATUS", "ACTION"]
    assert row.split()[:3] == [facts["id"], "REQUESTED", "destroy"]


def test_list__shows_what_is_over_only_when_asked(key: Credential) -> None:
    request(key)
    rejected = run("cybs_approvals", "reject", str(only().pk), "--user", "bob")

    assert rejected.out == f"REJECTED: destroy of {key.key_id} (acme@{enrolment.HOST}).\n"
    assert run("cybs_approvals", "list", "--json").json == []
    assert [row["status"] for row in run("cybs_approvals", "list", "--all", "--json").json] == [
        "REJECTED"
    ]


def test_reason_that_steers_a_terminal__is_shown_harmlessly(key: Credential) -> None:
    line = ["cybs_approvals", "request", str(key.pk), "destroy", "--user", "alice"]
    run(*line, "--reason", "all fine\x1b[2K\nREQUESTED")

    shown = run("cybs_approvals", "list").out

    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 2
    assert json.loads(run("cybs_approvals", "list", "--json").out)[0]["reason"].endswith("UESTED")


@pytest.mark.parametrize("verb", ["approve", "reject", "break-glass"])
@pytest.mark.parametrize("text", ["x", str(uuid.UUID(int=1))])
def test_request_that_is_not_there__ends_with_2(four_eyes: None, verb: str, text: str) -> None:
    more = ["--reason", "r"] if verb == "break-glass" else []

    ended = run("cybs_approvals", verb, text, *more, "--user", "bob")

    assert ended.code == 2
    assert "list --all" in ended.err


def test_break_glass__grants_alone_and_mails(key: Credential) -> None:
    AlertRecipient.objects.create(channel="mail", address="ops@example.com")
    request(key)

    line = ["cybs_approvals", "break-glass", str(only().pk), "--reason", "4711"]
    opened = run(*line, "--user", "alice")
    passed = run("cybs_keys", "destroy", str(key.pk), "--reason", "leaving", "--user", "alice")

    assert opened.out.startswith(f"GRANTED: destroy of {key.key_id} (acme@{enrolment.HOST}), valid")
    assert passed.code == 0
    assert [message.to for message in mail.outbox] == [["ops@example.com"]]


def test_break_glass__says_so_where_nobody_is_paged(
    key: Credential, caplog: pytest.LogCaptureFixture
) -> None:
    request(key)
    line = ["cybs_approvals", "break-glass", str(only().pk), "--reason", "4711", "--json"]

    opened = run(*line, "--user", "alice")

    assert (opened.code, opened.json[0]["status"]) == (0, "GRANTED")
    assert "Nobody was paged" in opened.err
    assert "add-recipient" in opened.err
    assert "nobody is paged" in KeyEvent.objects.get(action="break-glass").reason
    assert "Break glass: nobody was told of destroy" in caplog.text


def test_break_glass__without_a_reason_is_a_usage_error(key: Credential) -> None:
    request(key)

    ended = run("cybs_approvals", "break-glass", str(only().pk), "--user", "alice")

    assert ended.code != 0
    assert only().status == Approval.Status.REQUESTED
