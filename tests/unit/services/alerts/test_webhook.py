"""The webhook on real sockets: signed, never redirected, to https or this machine only."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from contextlib import suppress

import pytest

from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.models import AlertRecipient, Credential
from django_cybs_jwt.services import alerts
from django_cybs_jwt.services.alerts import delivery, recipients, webhook
from tests.unit.services import estate, hands
from tests.unit.services.estate import DAY, NOW
from tests.unit.services.receiver import Receiver

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


def told(url: str) -> AlertRecipient:
    estate.key(estate.organization("acme"), days=20)
    recipient = recipients.add("webhook", url, actor="tests")
    alerts.raise_due(NOW)
    hands.deliver(NOW)
    return recipient


def test_the_receiver_can_check_the_signature_with_nothing_but_the_key(receiver: Receiver) -> None:
    recipient = told(receiver.url)

    ((path, headers, body),) = receiver.got
    key = webhook.signing_key(recipient)
    signed = headers["Cybs-Timestamp"].encode() + b"." + body
    assert headers["Cybs-Signature"] == "v1=" + hmac.new(key, signed, hashlib.sha256).hexdigest()
    assert headers["Cybs-Timestamp"] == str(int(NOW.timestamp()))
    assert (path, headers["Content-Type"]) == ("/hook", "application/json")
    assert recipient.deliveries.get().sent_at == NOW


def test_the_body_names_the_key_its_end_and_how_many_stop(receiver: Receiver) -> None:
    told(receiver.url)

    sent = json.loads(receiver.got[0][2])
    alert = alerts.listing().get()
    assert sent["type"] == "cybs.key_ends_soon"
    assert sent["alerts"] == [
        {
            "id": str(alert.pk),
            "severity": "warning",
            "artefact": "signing-certificate",
            "organization": "acme",
            "host": estate.LIVE_HOST,
            "key_id": alert.key_id,
            "ends": "2026-12-12T12:00:00+00:00",
            "days_left": 20,
            "threshold": 30,
            "stops": 1,
        }
    ]


def test_a_louder_alert_comes_under_its_id_with_another_severity(receiver: Receiver) -> None:
    calming = estate.successor(estate.key(estate.organization("acme"), days=10))
    recipients.add("webhook", receiver.url, actor="tests")
    for moment in (NOW, NOW + DAY):
        alerts.raise_due(moment)
        hands.deliver(moment)
        Credential.objects.filter(pk=calming.pk).delete()

    first, louder = (json.loads(body)["alerts"][0] for _, _, body in receiver.got)
    assert first["id"] == louder["id"]
    assert (first["severity"], louder["severity"]) == ("info", "critical")


def test_each_recipient_has_a_key_of_its_own() -> None:
    keys = {
        webhook.signing_key(
            AlertRecipient.objects.create(channel="webhook", address=f"https://x.example/{n}")
        )
        for n in range(3)
    }

    assert len(keys) == 3
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 403, 500, 503])
def test_any_answer_but_2xx_is_tried_again_and_no_redirect_followed(
    receiver: Receiver, status: int
) -> None:
    receiver.status = status

    recipient = told(receiver.url)

    assert [path for path, _, _ in receiver.got] == ["/hook"]
    assert recipient.deliveries.get().sent_at is None
    receiver.status = 200
    assert hands.deliver(NOW + delivery.FIRST_BACKOFF) == 1


def test_a_proxy_in_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    told(receiver.url)

    assert len(receiver.got) == 1


def test_a_receiver_that_never_answers_does_not_hold_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        recipient = told(f"http://127.0.0.1:{silent.getsockname()[1]}/")

    assert recipient.deliveries.get().attempts == 1


def test_a_receiver_that_drips_its_answer_is_cut_off_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "DEADLINE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=(server,))
        dripping.start()
        began = time.monotonic()

        recipient = told(f"http://127.0.0.1:{server.getsockname()[1]}/")

        assert time.monotonic() - began < 5
        dripping.join(timeout=5)
        assert not dripping.is_alive(), "the connection was left open"
    assert recipient.deliveries.get().sent_at is None


def drip(server: socket.socket) -> None:
    """A byte of the status line a tenth of a second, until the other side is gone."""
    connection, _ = server.accept()
    with connection, suppress(OSError):
        connection.recv(65536)
        while True:
            connection.sendall(b"H")
            time.sleep(0.1)


@pytest.mark.parametrize("address", ["https://127.0.0.1:9/t0ken", "https://127.0.0.1:9/a t0ken"])
def test_the_path_of_a_webhook_is_a_secret_that_no_log_holds(
    caplog: pytest.LogCaptureFixture, address: str
) -> None:
    estate.key(estate.organization("acme"), days=20)
    AlertRecipient.objects.create(channel="webhook", address=address)
    alerts.raise_due(NOW)

    assert hands.deliver(NOW) == 0

    assert "Alerts were not handed over to webhook https://127.0.0.1:9/…" in caplog.text
    assert "t0ken" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/x?y=1",
        "http://127.0.0.1:8000/",
        "http://[::1]/",
        "http://localhost/",
    ],
)
def test_check__takes_https_and_this_machine(url: str) -> None:
    webhook.WebhookChannel().check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "http://127.0.0.1.example.com/",
        "http://10.0.0.1/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://user:secret@example.com/",
        "https://",
        "hooks.example.com",
        "https://example.com/\r\nX-Injected: 1",
        "https://[half",
        "https://example.com/a token",
        "https://example.com/t\u00f6ken",
        "https://ex\u00e4mple.com/",
        "https://example.com/\x7f",
        "https://example.com/#token",
        "https://example..com/",
        f"https://{'a' * 64}.com/",
        "https://example.com:99999/",
        "",
    ],
)
def test_check__refuses_everything_else(url: str) -> None:
    with pytest.raises(ConfigurationError):
        webhook.WebhookChannel().check(url)


@pytest.mark.parametrize("address", ["http://0.0.0.0:{port}/hook", "file:///etc/hostname"])
def test_an_address_that_was_changed_behind_our_back_is_not_called(
    receiver: Receiver, address: str
) -> None:
    """Rows can be edited in the database; the rule holds at sending too."""
    recipient = told(receiver.url)
    receiver.got.clear()
    changed = address.format(port=receiver.server_port)
    AlertRecipient.objects.filter(pk=recipient.pk).update(address=changed)
    recipient.deliveries.update(sent_at=None, next_at=None)

    assert hands.deliver(NOW) == 0
    assert receiver.got == []
