"""`cybs_alerts`: every verb, its exit code and its audit row."""

from __future__ import annotations

import base64
import io
import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_cybs_jwt.models import AlertDelivery, AlertRecipient, ExpiryAlert, KeyEvent
from django_cybs_jwt.services import ticking, verification
from django_cybs_jwt.services.alerts import channels, webhook
from tests.unit.management import running
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("cybs_alerts", *arguments, stdout=out)
    return out.getvalue()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def refused(*arguments: str) -> int:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return caught.value.returncode


def acme_key(days: float = 20.5) -> Any:
    return estate.key(estate.organization("acme"), days=days, now=timezone.now())


def test_run__raises_and_tells_once() -> None:
    acme_key()
    run("add-recipient", "mail", "ops@example.com")

    first, second = run_json("run"), run_json("run")

    assert (first["raised"], first["told"]) == (1, 1)
    assert (second["raised"], second["told"]) == (0, 0)
    assert len(mail.outbox) == 1
    assert ExpiryAlert.objects.count() == 1


def test_run__says_when_nobody_is_told() -> None:
    assert "add-recipient" in run("run")
    run("add-recipient", "mail", "ops@example.com")
    assert "add-recipient" not in run("run")


def told(*arguments: str) -> tuple[int, Any, str]:
    ended = running.run("cybs_alerts", "run", "--json", *arguments)
    return ended.code, ended.json, ended.err


def test_run__is_1_while_nobody_is_told_of_an_open_alert() -> None:
    assert told()[0] == 0, "nothing stands that somebody should know of"
    acme_key()

    code, facts, said = told()
    assert (code, facts["unheard"], facts["overdue"]) == (1, 1, 0)
    assert "Nobody is told of 1 open alert." in said

    run("add-recipient", "mail", "books@example.com", "--organization", "acme", "--escalation")
    assert told()[0] == 1, "who hears of escalations hears of this only after a day"
    run("add-recipient", "mail", "ops@example.com")
    assert (told()[0], len(mail.outbox)) == (0, 1)


def test_run__is_0_once_somebody_knows_or_has_put_it_off() -> None:
    acme_key()
    assert refused("run") == 1
    (alert,) = run_json("list")
    run("ack", alert["id"])
    assert told()[0] == 0


def test_run__is_1_while_a_message_cannot_be_handed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    acme_key()
    run("add-recipient", "mail", "ops@example.com")

    def refuse(*_: Any) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(channels.MailChannel, "send", refuse)
        code, facts, said = told()
        assert (code, facts["overdue"], facts["unheard"]) == (1, 1, 0)
        assert "could not be handed over" in said
        assert told()[0] == 1, "it waits for its next try"
    AlertDelivery.objects.update(next_at=timezone.now())
    assert (told()[0], len(mail.outbox)) == (0, 1)


def test_run__is_0_though_another_runner_ended_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ticking.tick

    def beside_another(now: datetime) -> dict[str, int | None]:
        done = real(now)
        real(now + timedelta(minutes=1))
        return done

    monkeypatch.setattr(ticking, "tick", beside_another)

    assert "0 raised" in run("run")


def test_run__is_1_when_a_part_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> int:
        raise RuntimeError("planted")

    monkeypatch.setattr(verification, "verify_requested", fail)

    assert refused("run") == 1
    assert "planted" in caplog.text


def test_list__shows_what_stands_and_with_all_what_stood() -> None:
    row = acme_key()
    told()
    (shown,) = run_json("list")
    type(row).objects.filter(pk=row.pk).update(state="RETIRED", active_slot=None)
    told()

    assert (shown["artefact"], shown["key_id"]) == ("signing-certificate", row.key_id)
    assert (shown["organization"], shown["host"]) == ("acme", estate.LIVE_HOST)
    assert (shown["days_left"], shown["threshold"], shown["severity"]) == (20, 30, "warning")
    assert (shown["stops"], shown["acknowledged_by"]) == (1, None)
    assert run_json("list") == []
    assert [old["id"] for old in run_json("list", "--all")] == [shown["id"]]
    assert run("list") == "No alert stands.\n"


def test_ack__names_who_did_it() -> None:
    acme_key()
    told()
    (alert,) = run_json("list")

    (shown,) = run_json("ack", alert["id"], "--user", "ann", "--reason", "ticket 4711")

    assert shown["acknowledged_by"] == "ann"
    event = KeyEvent.objects.get(action="ack-alert")
    assert event.actor == "ann"
    assert event.reason.endswith("ticket 4711")


def test_snooze__puts_off_and_refuses_in_the_last_three_days() -> None:
    acme_key(days=20.5)
    told()
    (alert,) = run_json("list")

    (shown,) = run_json("snooze", alert["id"], "--days", "17", "--user", "ann", "--reason", "move")

    assert shown["snoozed_until"] is not None
    event = KeyEvent.objects.get(action="snooze-alert", actor="ann")
    assert event.reason.endswith("move")
    assert refused("snooze", alert["id"], "--days", "18") == 1
    assert refused("snooze", alert["id"], "--days", "0") == 1
    assert refused("snooze", alert["id"], "--days", "999999999") == 1


def test_list__names_the_host_of_a_certificate_that_serves_all_of_it() -> None:
    estate.key(estate.organization("acme"), days=None)
    estate.certificate(None, days=20.5, now=timezone.now())
    told()

    (shown,) = run_json("list")

    assert (shown["organization"], shown["host"]) == (None, estate.LIVE_HOST)
    assert f"{shown['ends']:.10}" in run("list")


@pytest.mark.parametrize("number", ["-1", "-999999999999", "soon"])
def test_days_that_are_no_number_of_days_are_refused(number: str) -> None:
    with pytest.raises(CommandError, match="days"):
        run("snooze", str(uuid.uuid4()), f"--days={number}")


@pytest.mark.parametrize("verb", [["ack"], ["snooze", "--days", "1"], ["remove-recipient"]])
@pytest.mark.parametrize(
    "name", ["nonsense", str(uuid.uuid4()), ""], ids=["nonsense", "another", "empty"]
)
def test_an_unknown_id_is_2(verb: list[str], name: str) -> None:
    assert refused(verb[0], name, *verb[1:]) == 2


def test_add_recipient__shows_the_webhooks_key_once_and_again_when_asked() -> None:
    said = run("add-recipient", "webhook", "https://hooks.example.com/", "--user", "ann")

    recipient = AlertRecipient.objects.get()
    key = base64.b64encode(webhook.signing_key(recipient)).decode()
    assert key in said
    assert key not in run("recipients")
    again = ("recipients", "--signing-key", str(recipient.pk))
    assert run(*again).strip() == key
    assert run_json(*again) == {"id": str(recipient.pk), "signing_key": key}
    assert KeyEvent.objects.filter(action="add-recipient", actor="ann").exists()


def test_no_verb_shows_the_path_of_a_webhook_which_is_its_secret() -> None:
    said = run("add-recipient", "webhook", "https://hooks.example.com/t0ken")
    said += run("recipients") + str(run_json("recipients"))
    said += run("remove-recipient", str(AlertRecipient.objects.get().pk))

    assert said.count("https://hooks.example.com/…") == 4
    assert "t0ken" not in said


def test_add_recipient__can_be_for_one_organization_and_for_escalation() -> None:
    estate.organization("mall", kind="portfolio")

    (shown,) = run_json(
        "add-recipient", "mail", "boss@example.com", "--organization", "mall", "--escalation"
    )

    assert (shown["organization"], shown["escalation"]) == (f"mall@{estate.LIVE_HOST}", True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["mail", "nobody"],
        ["fax", "555"],
        ["webhook", "http://hooks.example.com/"],
        ["mail", "a@example.com", "--organization", "nobody"],
    ],
)
def test_add_recipient__refuses_what_cannot_be(arguments: list[str]) -> None:
    assert refused("add-recipient", *arguments) == 2


def test_remove_recipient__takes_it_off_the_list() -> None:
    (added,) = run_json("add-recipient", "mail", "ops@example.com")

    run("remove-recipient", added["id"])

    assert run_json("recipients") == []
    assert "Nobody is told" in run("recipients")
