"""Recipients in the admin: added, tested, deactivated; an address that is a secret stays one."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client
from django.utils import timezone

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import AlertRecipient, KeyEvent, Organization
from django_cybs_jwt.services.alerts import channels, recipients, webhook
from django_cybs_jwt.signals import key_ends_soon
from tests.unit.admin import people
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]
TOKEN = "T0KEN4711"
HOOK = f"https://hooks.example.com/services/{TOKEN}?t={TOKEN}"


@pytest.fixture
def operator() -> User:
    return people.staff("olga", "operators")


@pytest.fixture
def hook() -> AlertRecipient:
    return recipients.add("webhook", HOOK, actor="tests")


def visitor(user: User) -> Client:
    made = people.client(user)
    people.password_typed(made, timezone.now().timestamp())
    return made


def add(user: User, **given: str) -> Any:
    data = {"channel": "mail", "address": "keys@example.com", **given}
    return visitor(user).post(people.url("alertrecipient", "add_recipient"), data)


def of(row: AlertRecipient, name: str) -> str:
    return people.url("alertrecipient", name, row.pk)


def told(answer: Any) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def test_a_mail_recipient_is_added_under_the_name_of_whoever_did(operator: User) -> None:
    mall = estate.organization("mall", kind="portfolio")
    assert add(operator, organization="mall", escalation="on").status_code == 302
    row = AlertRecipient.objects.get()
    assert (row.address, row.organization, row.escalation) == ("keys@example.com", mall, True)
    assert KeyEvent.objects.get(action="add-recipient").actor == "olga"


def test_adding_takes_the_password(operator: User) -> None:
    address = people.url("alertrecipient", "add_recipient")
    data = {"channel": "mail", "address": "keys@example.com"}
    assert people.asks_password(people.client(operator).post(address, data))
    assert not AlertRecipient.objects.exists()


def test_the_key_of_a_webhook_is_shown_once(operator: User) -> None:
    answer = add(operator, channel="webhook", address=HOOK)
    row = AlertRecipient.objects.get()
    key = base64.b64encode(webhook.signing_key(row)).decode()
    assert key in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    again = add(operator, channel="webhook", address=HOOK)
    assert again.status_code == 302
    made = people.client(people.superuser())
    for name in ("change", "history", "change_recipient", "test", "deactivate"):
        assert key not in made.get(of(row, name)).content.decode()


def test_no_page_message_or_audit_row_repeats_the_secret_part_of_an_address(
    hook: AlertRecipient, operator: User
) -> None:
    made = visitor(operator)
    pages = [of(hook, name) for name in ("change", "history", "change_recipient", "test")]
    texts = [made.get(page).content.decode() for page in (*pages, of(hook, "deactivate"))]
    texts.append(made.get(people.url("alertrecipient", "changelist")).content.decode())
    texts.append(add(operator, channel="webhook", address=HOOK).content.decode())
    texts.append(made.get(people.url("alertrecipient", "changelist")).content.decode())
    texts.append(made.post(of(hook, "deactivate"), follow=True).content.decode())
    assert all(TOKEN not in text for text in texts)
    assert "hooks.example.com" in texts[0]
    assert all(TOKEN not in event.reason for event in KeyEvent.objects.all())


def test_no_query_guesses_at_an_address(hook: AlertRecipient) -> None:
    made = people.client(people.superuser())
    page = people.url("alertrecipient", "changelist")
    for lookup in ("address", "address__startswith", "address__contains", "deliveries__attempts"):
        assert made.get(page, {lookup: "https"}).status_code == 400
    assert not made.get(page, {"q": TOKEN}).context["cl"].result_count


@pytest.mark.parametrize(
    ("channel", "address"),
    [("mail", "nobody"), ("webhook", "http://example.com/x"), ("signal", "x"), ("pager", "x")],
)
def test_what_cannot_be_told_is_refused(operator: User, channel: str, address: str) -> None:
    add(operator, channel=channel, address=address)
    assert not AlertRecipient.objects.exists()


def test_a_limited_visitor_has_only_his_part_sent_out(operator: User) -> None:
    mall = estate.organization("mall", kind="portfolio")
    estate.organization("acme")
    for organization in (None, mall):
        recipients.add("mail", "a@example.com", actor="x", organization=organization)
    people.limited(operator, mall)
    before = set(AlertRecipient.objects.values_list("pk", flat=True))
    for organization in ("", "acme", "nobody", "mall@nowhere"):
        assert add(operator, organization=organization).status_code == 200
    assert set(AlertRecipient.objects.values_list("pk", flat=True)) == before
    assert add(operator, organization="mall").status_code == 302
    everything = AlertRecipient.objects.get(organization=None)
    for name in ("change", "change_recipient", "test", "deactivate"):
        assert visitor(operator).get(of(everything, name)).status_code == 404
        assert visitor(operator).post(of(everything, name), {}).status_code == 404
    listed = people.client(operator).get(people.url("alertrecipient", "changelist"))
    assert {row.organization for row in listed.context["cl"].result_list} == {mall}


@pytest.mark.parametrize("name", ["change_recipient", "test", "deactivate"])
@pytest.mark.parametrize("codenames", [(), ("view_alertrecipient",), ("change_expiryalert",)])
def test_changing_takes_the_permission(
    hook: AlertRecipient, name: str, codenames: tuple[str, ...]
) -> None:
    made = visitor(people.allowed("mara", *codenames))
    assert made.get(of(hook, name)).status_code == 403
    assert made.post(of(hook, name), {}).status_code == 403
    hook.refresh_from_db()
    assert hook.active


def test_a_test_arrives_and_names_no_key(operator: User) -> None:
    estate.key(estate.organization("acme"))
    row = recipients.add("mail", "keys@example.com", actor="tests")
    answer = visitor(operator).post(of(row, "test"), follow=True)
    assert "Handed over" in told(answer)
    (message,) = mail.outbox
    assert message.to == ["keys@example.com"]
    assert message.subject.startswith("Test:")
    assert "acme" not in message.subject + message.body
    assert KeyEvent.objects.get(action="test-recipient").actor == "olga"


@pytest.mark.parametrize(
    "error",
    [
        CybsError("The receiver answered 410, which is no 2xx."),
        ConnectionRefusedError(f"nobody listens at {HOOK}"),
        TimeoutError(HOOK),
    ],
)
def test_a_test_that_fails_says_neither_how_nor_where_but_the_log_says_how(
    hook: AlertRecipient,
    operator: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
    error: Exception,
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(webhook.WebhookChannel, "send", refuse)
    answer = visitor(operator).post(of(hook, "test"), follow=True)
    assert told(answer).startswith("It was not handed over; the log says why.")
    assert "410" not in told(answer)
    assert type(error).__name__ not in told(answer)
    assert TOKEN not in answer.content.decode()
    assert TOKEN not in caplog.text
    assert ("410" if isinstance(error, CybsError) else type(error).__name__) in caplog.text
    assert KeyEvent.objects.filter(action="test-recipient").exists()


def test_a_webhook_on_this_machine_is_added_on_this_machine(operator: User) -> None:
    page = add(operator, channel="webhook", address="HTTP://127.0.0.1:9200/_shutdown")
    assert "cybs_alerts add-recipient" in page.content.decode()
    assert not AlertRecipient.objects.exists()


def test_deactivated_means_told_nothing_until_it_is_saved_again(
    hook: AlertRecipient, operator: User
) -> None:
    made = visitor(operator)
    made.post(of(hook, "deactivate"))
    hook.refresh_from_db()
    assert not hook.active
    assert of(hook, "test") not in made.get(of(hook, "change")).content.decode()
    made.post(of(hook, "change_recipient"), {"escalation": "on"})
    hook.refresh_from_db()
    assert (hook.active, hook.escalation) == (True, True)


def test_telling_again_or_more_takes_the_password(hook: AlertRecipient, operator: User) -> None:
    recipients.remove(hook, actor="tests")
    estate.organization("acme")
    assert people.asks_password(people.client(operator).post(of(hook, "change_recipient")))
    hook.refresh_from_db()
    assert not hook.active
    text = visitor(operator).get(of(hook, "change_recipient")).content.decode()
    assert "it is told again of everything" in text
    assert "acme@" in text


@pytest.fixture
def mall() -> Organization:
    """Two merchants under it, and two that stand alone, one of them disabled."""
    top = estate.organization("mall", kind="portfolio")
    for name in ("garden", "shop"):
        estate.organization(name, parent=top)
    estate.organization("acme")
    estate.organization("gone", active=False)
    return top


def silenced(user: User, row: AlertRecipient) -> list[str]:
    """The merchants that the page before a deactivation names."""
    shown = visitor(user).get(of(row, "deactivate")).context["consequences"]["merchants"]
    return [name.split("@")[0] for name in shown]


def test_deactivating_names_the_merchants_of_whom_nobody_is_told_then(
    operator: User, mall: Organization
) -> None:
    whole = recipients.add("mail", "all@example.com", actor="x")
    assert silenced(operator, whole) == ["acme", "garden", "shop"]
    part = recipients.add("mail", "mall@example.com", actor="x", organization=mall)
    assert silenced(operator, whole) == ["acme"]
    assert silenced(operator, part) == []
    recipients.remove(whole, actor="x")
    assert silenced(operator, part) == ["garden", "shop"]


def test_escalation_stands_in_for_nobody_who_is_told_at_once(
    operator: User, mall: Organization
) -> None:
    whole = recipients.add("mail", "all@example.com", actor="x")
    night = recipients.add("mail", "night@example.com", actor="x", escalation=True)
    assert silenced(operator, whole) == ["acme", "garden", "shop"]
    assert silenced(operator, night) == ["acme", "garden", "shop"]
    text = visitor(operator).get(of(whole, "deactivate")).content.decode()
    assert "hear of it a day later" in text
    assert "belongs to no merchant" in text


def test_a_signal_that_nobody_listens_to_tells_nobody(operator: User, mall: Organization) -> None:
    whole = recipients.add("mail", "all@example.com", actor="x")
    AlertRecipient.objects.create(channel="signal", address="key_ends_soon")
    assert silenced(operator, whole) == ["acme", "garden", "shop"]
    key_ends_soon.connect(test_a_signal_that_nobody_listens_to_tells_nobody)
    try:
        assert silenced(operator, whole) == []
    finally:
        key_ends_soon.disconnect(test_a_signal_that_nobody_listens_to_tells_nobody)


def test_channels_of_the_host_project_are_offered_and_shown_in_part(
    operator: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = channels.BUILT_IN["webhook"]
    settings.CYBS_JWT = {**settings.CYBS_JWT, "ALERT_CHANNELS": {"pager": path}}
    add(operator, channel="pager", address=HOOK)
    row = AlertRecipient.objects.get()
    assert row.shown_address == f"…{HOOK[-4:]}"
    assert HOOK not in str(row)
