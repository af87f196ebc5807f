"""Handing alerts over: digests, limits, failing channels, several processes."""

from __future__ import annotations

import logging
import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import mail

from django_cybs_jwt.models import AlertDelivery, AlertRecipient, ExpiryAlert
from django_cybs_jwt.services import alerts
from django_cybs_jwt.services.alerts import delivery
from django_cybs_jwt.services.alerts.delivery import backoff, next_message_at
from django_cybs_jwt.services.alerts.digest import Digest
from tests import mail as outgoing
from tests.unit.services import estate, hands
from tests.unit.services.estate import DAY, NOW
from tests.unit.services.hands import Hands

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Broken:
    """A channel whose other side is down."""

    def check(self, address: str) -> None:
        pass

    def send(self, recipient: AlertRecipient, digest: Digest) -> None:
        raise TimeoutError("nobody answers")


class Slow:
    """A channel whose first message takes six minutes; another runner comes by meanwhile."""

    sent: list[datetime] = []
    clock: Hands

    def check(self, address: str) -> None:
        pass

    def send(self, recipient: AlertRecipient, digest: Digest) -> None:
        self.sent.append(digest.at)
        if len(self.sent) == 1:
            self.clock.moment += 6 * MINUTE
        else:
            hands.deliver(self.clock())


@pytest.fixture
def broken(settings: Any) -> AlertRecipient:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "ALERT_CHANNELS": {"broken": f"{__name__}.Broken"}}
    return AlertRecipient.objects.create(channel="broken", address="a")


def recipient(address: str = "ops@example.com", **columns: Any) -> AlertRecipient:
    return AlertRecipient.objects.create(channel="mail", address=address, **columns)


def tick(now: datetime = NOW) -> int:
    alerts.raise_due(now)
    return hands.deliver(now)


def test_one_message_tells_of_all_that_is_due_the_loudest_first() -> None:
    for days in (80, 5, 20):
        estate.key(estate.organization(f"mid{days}"), days=days)
    recipient()

    assert tick() == 1

    (message,) = mail.outbox
    assert message.subject == "CRITICAL: 1 merchant stops on 2026-11-27, and 2 more"
    lines = message.body.splitlines()[:3]
    assert [line.split()[0] for line in lines] == ["CRITICAL", "WARNING", "INFO"]
    assert all(
        name in line for name, line in zip(("mid5@", "mid20@", "mid80@"), lines, strict=True)
    )


def test_what_was_told_is_not_told_again() -> None:
    estate.key(estate.organization("acme"), days=5)
    recipient()

    assert [tick(NOW + n * HOUR) for n in range(12)] == [1, *[0] * 11]


def test_each_recipient_gets_a_message_of_its_own() -> None:
    estate.key(estate.organization("acme"), days=5)
    recipient("ann@example.com")
    recipient("bob@example.com")

    tick()

    assert [message.to for message in mail.outbox] == [["ann@example.com"], ["bob@example.com"]]


def test_a_recipient_of_an_organization_hears_of_it_and_what_is_under_it() -> None:
    mall = estate.organization("mall", kind="portfolio")
    account = estate.organization("account", kind="account", parent=mall)
    shop = estate.organization("shop", parent=account)
    for owner in (mall, shop, estate.organization("stranger")):
        estate.key(owner, days=5)
    estate.certificate(None, days=4)
    by_address = {
        "mall@example.com": recipient("mall@example.com", organization=mall),
        "shop@example.com": recipient("shop@example.com", organization=shop),
        "all@example.com": recipient("all@example.com"),
    }

    tick()

    heard = {
        address: set(row.deliveries.values_list("alert__organization__org_id", flat=True))
        for address, row in by_address.items()
    }
    assert heard == {
        "mall@example.com": {"mall", "shop"},
        "shop@example.com": {"shop"},
        "all@example.com": {"mall", "shop", "stranger", None},
    }


def test_a_recipient_added_later_hears_of_what_stands() -> None:
    estate.key(estate.organization("acme"), days=5)
    tick()

    recipient()
    tick(NOW + HOUR)

    assert len(mail.outbox) == 1


def test_one_that_was_removed_hears_nothing() -> None:
    estate.key(estate.organization("acme"), days=5)
    recipient(active=False)

    assert tick() == 0
    assert AlertDelivery.objects.count() == 0


def test_a_broken_channel_keeps_nobody_waiting_and_is_logged(
    broken: AlertRecipient, caplog: pytest.LogCaptureFixture
) -> None:
    estate.key(estate.organization("acme"), days=5)
    recipient()

    with caplog.at_level(logging.ERROR):
        assert tick() == 1

    assert len(mail.outbox) == 1
    assert str(broken) in caplog.text
    assert broken.deliveries.get().sent_at is None


def test_a_broken_channel_is_tried_again_more_and_more_rarely(broken: AlertRecipient) -> None:
    estate.key(estate.organization("acme"), days=5.4)
    tick()
    tries = [0]

    for minutes in range(5, 60 * 24, 5):
        hands.deliver(NOW + minutes * MINUTE)
        if AlertDelivery.objects.get().attempts > len(tries):
            tries.append(minutes)

    assert tries == [0, 5, 15, 35, 75, 155, 315, 635, 995, 1355]


def test_a_newer_alert_does_not_hurry_a_broken_channel(broken: AlertRecipient) -> None:
    estate.key(estate.organization("acme"), days=5)
    tick()
    estate.key(estate.organization("shop"), days=5)

    tick(NOW + MINUTE)

    assert set(broken.deliveries.values_list("attempts", flat=True)) == {1, 0}


def test_a_channel_that_works_again_hands_over_what_still_stands(settings: Any) -> None:
    row = estate.key(estate.organization("acme"), days=30)
    ops = recipient()
    outgoing.use(settings, "no.such.backend.Backend")
    for day in (0, 17):
        tick(NOW + day * DAY)

    outgoing.use(settings, outgoing.LOCMEM)
    tick(NOW + 17 * DAY + 6 * HOUR)

    (message,) = mail.outbox
    assert row.key_id in message.body
    assert ops.deliveries.exclude(sent_at=None).get().alert.threshold == 14


def test_a_crash_after_the_claim_repeats_the_message_and_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estate.key(estate.organization("acme"), days=5)
    recipient()
    marking = delivery._update

    def killed(rows: Any, **columns: Any) -> None:
        if "sent_at" in columns:
            raise KeyboardInterrupt
        marking(rows, **columns)

    monkeypatch.setattr(delivery, "_update", killed)
    with pytest.raises(KeyboardInterrupt):
        tick()
    monkeypatch.undo()

    sent = [tick(NOW + minutes * MINUTE) for minutes in (1, 4, 5, 10)]

    assert sent == [0, 0, 1, 0]
    assert len(mail.outbox) == 2


def test_while_one_process_hands_over_another_finds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estate.key(estate.organization("acme"), days=5)
    recipient()
    seen = []

    def send(*_: object) -> None:
        seen.append(hands.deliver(NOW + timedelta(seconds=1)))

    monkeypatch.setattr("django_cybs_jwt.services.alerts.channels.MailChannel.send", send)

    assert tick() == 1
    assert seen == [0]


def test_a_claim_of_a_clock_that_was_ahead_does_not_block_for_long(broken: AlertRecipient) -> None:
    estate.key(estate.organization("acme"), days=5.9)
    tick(NOW + 12 * HOUR)

    tick(NOW)

    assert broken.deliveries.get().attempts == 2


def test_a_message_of_a_clock_that_was_ahead_does_not_use_up_the_limit(settings: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "ALERT_DAILY_LIMIT": 1}
    estate.key(estate.organization("acme"), days=400)
    recipient()

    assert [tick(NOW + 365 * DAY), tick(NOW + 320 * DAY)] == [1, 1]


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [(1, 5 * MINUTE), (2, 10 * MINUTE), (7, 320 * MINUTE), (8, 6 * HOUR), (10**6, 6 * HOUR)],
)
def test_backoff__grows_from_minutes_to_hours(attempts: int, expected: timedelta) -> None:
    assert backoff(attempts) == expected


@pytest.mark.parametrize(
    ("sent", "limit", "expected"),
    [
        ([], 24, None),
        ([-HOUR] * 11, 24, None),
        ([-HOUR] * 12, 24, HOUR),
        ([], 1, None),
        ([-HOUR], 1, 23 * HOUR),
        ([-HOUR], 2, 23 * HOUR),
    ],
)
def test_next_message_at__half_goes_at_once_and_half_is_spread(
    sent: list[timedelta], limit: int, expected: timedelta | None
) -> None:
    times = [NOW + ago for ago in sent]

    assert next_message_at(times, limit) == (None if expected is None else NOW + expected)


@pytest.mark.parametrize("limit", [1, 2, 3, 24])
def test_next_message_at__keeps_the_limit_in_every_24_hours(limit: int) -> None:
    draw = random.Random(limit)
    sent: list[datetime] = []
    now = NOW
    for _ in range(3000):
        now += timedelta(minutes=draw.choice([1, 1, 10, draw.uniform(0, 300)]))
        recent = [at for at in sent if now - DAY < at]
        again = next_message_at(recent, limit)
        if again is None or again <= now:
            sent.append(now)

    most = max(sum(1 for at in sent if moment - DAY < at <= moment) for moment in sent)
    assert most <= limit
    assert len(sent) > limit


def test_ten_thousand_keys_that_end_on_one_day_make_one_message_for_each_threshold() -> None:
    estate.many_merchants(10_000, days=30)
    recipient()

    sent = [tick(NOW + hours * HOUR) for hours in (0, 1)]
    later = tick(NOW + 16 * DAY)

    assert (sent, later) == ([1, 0], 1)
    assert ExpiryAlert.objects.count() == 20_000
    assert AlertDelivery.objects.exclude(sent_at=None).count() == 20_000
    first = mail.outbox[0]
    assert first.subject == "WARNING: 1 merchant stops on 2026-12-22, and 9999 more"
    assert "... and 9900 more." in first.body
    assert len(first.body) < 20_000


def test_ends_spread_over_a_day_stay_within_the_daily_limit_and_all_arrive(settings: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "ALERT_DAILY_LIMIT": 6}
    for n in range(48):
        estate.key(estate.organization(f"mid{n}"), days=30 + n / 48)
    recipient()

    for half_hour in range(48 * 2):
        tick(NOW + half_hour * 30 * MINUTE)

    first_day = AlertDelivery.objects.filter(sent_at__lt=NOW + DAY)
    assert first_day.values("sent_at").distinct().count() <= 6
    assert AlertDelivery.objects.filter(sent_at=None).count() == 0
    assert AlertDelivery.objects.filter(alert__threshold=30).count() == 48


def test_alerts_that_become_louder_stay_within_the_daily_limit(settings: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "ALERT_DAILY_LIMIT": 4}
    recipient()

    sent = []
    for hours in range(0, 24, 2):
        calming = estate.successor(estate.key(estate.organization(f"mid{hours}"), days=10))
        sent.append(tick(NOW + hours * HOUR))
        calming.delete()
        sent.append(tick(NOW + (hours + 1) * HOUR))

    assert sum(sent) <= 4


def test_an_alert_that_becomes_louder_does_not_hurry_a_broken_channel(
    broken: AlertRecipient,
) -> None:
    row = estate.key(estate.organization("acme"), days=10)
    calming = estate.successor(row)
    for minutes in (0, 5, 15):
        tick(NOW + minutes * MINUTE)

    calming.delete()
    tick(NOW + 16 * MINUTE)

    pending = AlertDelivery.objects.get()
    assert (pending.attempts, pending.next_at) == (3, NOW + 35 * MINUTE)


def test_a_claim_begins_when_its_turn_comes_not_with_the_run(settings: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "ALERT_CHANNELS": {"slow": f"{__name__}.Slow"}}
    estate.key(estate.organization("acme"), days=5)
    for name in ("a", "b"):
        AlertRecipient.objects.create(channel="slow", address=name)
    alerts.raise_due(NOW)
    Slow.sent, Slow.clock = [], Hands(NOW)

    assert delivery.deliver(NOW, clock=Slow.clock) == 2

    assert Slow.sent == [NOW, NOW + 6 * MINUTE]
