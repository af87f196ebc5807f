"""Hand alerts over: one message for each recipient and run, and none that gets lost.

A row for each alert and recipient is written first, then claimed, handed over, marked as sent.
A crash between the last two steps repeats the message once, after the claim has run out.
What was sent stays written: the daily limit counts it, and nobody hears the same as loud again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.models import AlertDelivery, AlertRecipient
from django_cybs_jwt.services import alerts, clocks
from django_cybs_jwt.services.alerts import channels
from django_cybs_jwt.services.alerts import digest as alert_digest
from django_cybs_jwt.services.alerts import recipients as alert_recipients
from django_cybs_jwt.services.alerts.failures import describe
from django_cybs_jwt.services.alerts.schedule import Severity
from django_cybs_jwt.services.batches import in_batches
from django_cybs_jwt.services.clocks import Clock

logger = logging.getLogger(__name__)

FIRST_BACKOFF: Final = timedelta(minutes=5)
LONGEST_BACKOFF: Final = timedelta(hours=6)
DAY: Final = timedelta(days=1)

_TOLD_AS_LOUD: Final = Q(sent_at__isnull=False) & (
    Q(told=F("alert__severity")) | Q(told=Severity.CRITICAL) | Q(alert__severity=Severity.INFO)
)
"""As loud as the alert is now, or louder."""


def deliver(now: datetime, *, clock: Clock | None = None) -> int:
    """Escalate, then hand over what is due; returns how many messages were handed over.

    A channel that fails is logged, tried again later, and keeps no other recipient waiting.
    Each recipient's claim begins when his turn comes, by *clock*, which goes on from *now*.
    """
    clock = clock or clocks.since(now)
    alerts.escalate(clock())
    recipients = alert_recipients.reachable()
    for recipient in recipients:
        _enrol(recipient)
    return sum(_tell(recipient, clock()) for recipient in recipients)


def pending(now: datetime) -> QuerySet[AlertDelivery]:
    """What was not handed over yet and should be.

    Replaced, put off and silenced alerts are not, nor one that was told as loud before.
    """
    told = AlertDelivery.objects.filter(
        _TOLD_AS_LOUD, alert=OuterRef("alert"), recipient=OuterRef("recipient")
    )
    silenced = Q(alert__acknowledged_at__isnull=False) & ~Q(alert__severity=Severity.CRITICAL)
    return (
        AlertDelivery.objects.filter(sent_at=None, alert__resolved_at=None, recipient__active=True)
        .exclude(silenced)
        .exclude(alert__snoozed_until__gt=now)
        .filter(~Exists(told))
    )


def backoff(attempts: int) -> timedelta:
    """How long a claim, the *attempts*-th, holds before the next try: 5 minutes to 6 hours."""
    doublings = min(attempts - 1, 10)
    return min(FIRST_BACKOFF * (1 << doublings), LONGEST_BACKOFF)


def next_message_at(sent: Sequence[datetime], limit: int) -> datetime | None:
    """When a recipient may hear again; None for at once. *sent*: the last day's messages.

    Half of the daily limit goes at once; the other half is spread, so that whatever happens
    a message waits for a few hours at most and never for the next day.
    """
    at_once = max(limit // 2, 1)
    if len(sent) < at_once:
        return None
    return max(sent) + DAY / max(limit - at_once, 1)


def _enrol(recipient: AlertRecipient) -> None:
    """Write the row of each open alert that *recipient* was not told of as loud as it is."""
    known = AlertDelivery.objects.filter(
        Q(sent_at=None) | _TOLD_AS_LOUD, recipient=recipient, alert__resolved_at=None
    )
    missing = (
        alerts.listing()
        .filter(alert_recipients.scope(recipient))
        .exclude(pk__in=known.values("alert"))
    )
    rows = [
        AlertDelivery(alert_id=pk, recipient=recipient)
        for pk in missing.values_list("pk", flat=True)
    ]
    # Another process may be at it too; the unique constraint lets one row in.
    AlertDelivery.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)


def _tell(recipient: AlertRecipient, now: datetime) -> int:
    claimed = _claim(recipient, now)
    if not claimed:
        return 0
    try:
        digest = alert_digest.compose([row.alert for row in claimed], now=now)
        channels.channel(recipient.channel).send(recipient, digest)
    except Exception as error:  # noqa: BLE001  # whatever a channel raises, the others must be told
        logger.error("Alerts were not handed over to %s: %s", recipient, describe(error))
        return 0
    _mark(claimed, now)
    return 1


def _mark(claimed: Sequence[AlertDelivery], now: datetime) -> None:
    """As loud as it was told; it may be louder by now."""
    for severity in Severity:
        _update(
            [row for row in claimed if row.alert.severity == severity], told=severity, sent_at=now
        )


def _claim(recipient: AlertRecipient, now: datetime) -> list[AlertDelivery]:
    """Take all that is pending for *recipient*, or nothing while it has to wait."""
    with transaction.atomic():
        AlertRecipient.objects.select_for_update().get(pk=recipient.pk)
        rows = list(pending(now).filter(recipient=recipient).select_related("alert__organization"))
        if not rows or _waits(rows, now) or not _may_hear(recipient, now):
            return []
        attempt = 1 + max(row.attempts for row in rows)
        _update(rows, attempts=attempt, next_at=now + backoff(attempt))
    return rows


def _waits(rows: Sequence[AlertDelivery], now: datetime) -> bool:
    # A time farther off than any backoff was written by a clock that has been set back.
    return any(
        row.next_at is not None and now < row.next_at <= now + LONGEST_BACKOFF for row in rows
    )


def _may_hear(recipient: AlertRecipient, now: datetime) -> bool:
    sent = recipient.deliveries.filter(sent_at__gt=now - DAY, sent_at__lte=now)
    moments = sent.order_by().values_list("sent_at", flat=True).distinct()
    times = [moment for moment in moments if moment is not None]
    again = next_message_at(times, conf.current().ALERT_DAILY_LIMIT)
    return again is None or again <= now


def _update(rows: Sequence[AlertDelivery], **columns: object) -> None:
    for some in in_batches([row.pk for row in rows]):
        # What another run has handed over meanwhile keeps its moment and how loud it was.
        AlertDelivery.objects.filter(pk__in=some, sent_at=None).update(**columns)
