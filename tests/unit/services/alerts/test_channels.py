"""Mail, signal and channels of the host project; hostile names in a digest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.models import AlertRecipient, ExpiryAlert, KeyEvent
from django_cybs_jwt.services import alerts
from django_cybs_jwt.services.alerts import channels, delivery, recipients
from django_cybs_jwt.services.alerts import digest as alert_digest
from django_cybs_jwt.services.alerts.digest import Digest, one_line
from django_cybs_jwt.signals import key_ends_soon
from tests.unit.services import enrolment, estate, hands
from tests.unit.services.estate import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

HOSTILE = [
    "acme\r\nBcc: thief@example.com",
    "acme\nCRITICAL  2026-01-01  everything",
    "<script>alert(1)</script>",
    "acme\u2028next",
    "acme\u202emoc.live",
    "=cmd|' /C calc'!A0",
    "a" * 5000,
    "",
]


@pytest.fixture
def heard() -> Iterator[list[dict[str, Any]]]:
    calls: list[dict[str, Any]] = []

    def receiver(**named: Any) -> None:
        calls.append(named)

    key_ends_soon.connect(receiver)
    yield calls
    key_ends_soon.disconnect(receiver)


def tick() -> int:
    alerts.raise_due(NOW)
    return hands.deliver(NOW)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_key_id_stays_on_its_line(name: str) -> None:
    """The gateway's serialNumber and an organization's id are other people's text."""
    row = estate.key(estate.organization("acme"), days=20, key_id=name[:128])
    enrolment.move(row.organization, org_id=name[:60])
    AlertRecipient.objects.create(channel="mail", address="ops@example.com")

    assert tick() == 1

    (message,) = mail.outbox
    lines = message.message().as_string().splitlines()
    assert not any(line.startswith(("Bcc", "CRITICAL")) for line in lines)
    assert message.message().get_content_type() == "text/plain"
    assert len(message.subject) <= alert_digest.LONGEST_SUBJECT
    assert message.subject.isprintable()
    assert all(line.isprintable() for line in message.body.split("\n"))


@given(st.text())
def test_one_line__is_printable_and_short(text: str) -> None:
    shown = one_line(text)

    assert shown.isprintable()
    assert len(shown) <= alert_digest.LONGEST_NAME


def test_mail__comes_from_alert_from_where_it_is_set(settings: Any) -> None:
    settings.DEFAULT_FROM_EMAIL = "web@example.com"
    estate.key(estate.organization("acme"), days=20)
    AlertRecipient.objects.create(channel="mail", address="a@example.com")
    tick()
    settings.CYBS_JWT = {**settings.CYBS_JWT, "ALERT_FROM": "keys@example.com"}
    AlertRecipient.objects.create(channel="mail", address="b@example.com")
    tick()

    assert [message.from_email for message in mail.outbox] == [
        "web@example.com",
        "keys@example.com",
    ]
    assert mail.outbox[0].extra_headers["Auto-Submitted"] == "auto-generated"


def test_a_message_about_a_host_wide_certificate_names_the_host() -> None:
    estate.key(estate.organization("acme"), days=None)
    row = estate.certificate(None, days=20)
    AlertRecipient.objects.create(channel="mail", address="a@example.com")

    tick()

    assert f"request MLE certificate {row.key_id} of {estate.LIVE_HOST}" in mail.outbox[0].body


def test_signal__every_receiver_hears_each_alert_with_who_is_told(
    heard: list[dict[str, Any]],
) -> None:
    estate.key(estate.organization("acme"), days=20)
    ops = AlertRecipient.objects.create(channel="mail", address="a@example.com")

    assert tick() == 2

    (call,) = heard
    assert call["sender"] is ExpiryAlert
    assert call["alert"] == alerts.listing().get()
    assert call["recipients"] == [ops]


def test_signal__is_sent_where_nobody_else_is_told_and_once(heard: list[dict[str, Any]]) -> None:
    estate.key(estate.organization("acme"), days=20)

    tick()
    tick()

    assert [call["recipients"] for call in heard] == [[]]


def test_signal__without_a_receiver_there_is_no_recipient() -> None:
    estate.key(estate.organization("acme"), days=20)

    assert tick() == 0
    assert not AlertRecipient.objects.exists()


def test_signal__a_receiver_that_fails_hears_again_later_and_stops_nobody() -> None:
    def receiver(**_: Any) -> None:
        raise RuntimeError("no")

    estate.key(estate.organization("acme"), days=20)
    AlertRecipient.objects.create(channel="mail", address="a@example.com")
    key_ends_soon.connect(receiver)
    try:
        assert tick() == 1
    finally:
        key_ends_soon.disconnect(receiver)

    assert delivery.pending(NOW).get().recipient.channel == "signal"


class Pager:
    """A channel that a host project brings."""

    pages: list[tuple[str, Digest]] = []

    def check(self, address: str) -> None:
        if not address.isdigit():
            raise ConfigurationError("A pager has a number.")

    def send(self, recipient: AlertRecipient, digest: Digest) -> None:
        self.pages.append((recipient.address, digest))


def test_a_channel_of_the_host_project_takes_the_digest(settings: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "ALERT_CHANNELS": {"pager": f"{__name__}.Pager"}}
    estate.key(estate.organization("acme"), days=20)
    Pager.pages.clear()

    with pytest.raises(ConfigurationError, match="number"):
        recipients.add("pager", "ann", actor="tests")
    recipients.add("pager", "555", actor="tests")

    assert tick() == 1
    ((address, digest),) = Pager.pages
    assert (address, digest.at, len(digest.alerts)) == ("555", NOW, 1)
    assert digest.payload["alerts"][0]["days_left"] == 20


def test_channel__names_what_there_is(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match="mail, signal, webhook"):
        channels.channel("fax")
    settings.CYBS_JWT = {**settings.CYBS_JWT, "ALERT_CHANNELS": {"fax": "no.such.Fax"}}
    with pytest.raises(ConfigurationError, match="fax"):
        channels.channel("fax")


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("mail", "nobody"),
        ("mail", "a@example.com\nBcc: b@example.com"),
        ("mail", ""),
        ("mail", "a" * 600 + "@example.com"),
        ("signal", "key_ends_soon"),
        ("fax", "555"),
    ],
)
def test_add__refuses_what_cannot_be_told(channel: str, address: str) -> None:
    with pytest.raises(ConfigurationError):
        recipients.add(channel, address, actor="tests")

    assert not AlertRecipient.objects.exists()


def test_add__changes_one_that_is_known_and_is_audited() -> None:
    mall = estate.organization("mall", kind="portfolio")
    first = recipients.add("mail", "a@example.com", actor="ann")
    recipients.remove(first, actor="bob")
    second = recipients.add("mail", "a@example.com", actor="ann", escalation=True)
    other = recipients.add("mail", "a@example.com", actor="ann", organization=mall)

    assert (first.pk, second.escalation, second.active) == (second.pk, True, True)
    assert other.pk != first.pk
    assert list(recipients.listing()) == sorted([second, other], key=lambda row: row.pk.hex)
    actions = KeyEvent.objects.order_by("seq").values_list("action", "actor")
    assert list(actions)[:2] == [("add-recipient", "ann"), ("remove-recipient", "bob")]
