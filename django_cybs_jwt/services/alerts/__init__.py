"""Alerts about ends: raise what is due, acknowledge, put off, escalate.

An alert is one artefact's end at one threshold, and there is never a second row for it.
The next threshold replaces it: only the newest stands open.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import ExpiryAlert, JobRun
from django_cybs_jwt.services import audit, expiry
from django_cybs_jwt.services.alerts import schedule
from django_cybs_jwt.services.alerts.schedule import HORIZON, Due, Severity
from django_cybs_jwt.services.batches import in_batches
from django_cybs_jwt.services.expiry.endings import Artefact

JOB: Final = "tick"
RAISING: Final = "alerts"
SILENT_AFTER: Final = timedelta(hours=26)
ESCALATE_AFTER: Final = timedelta(hours=24)
NO_SNOOZE: Final = timedelta(days=3)

_UNANSWERED: Final = {
    "acknowledged_by": "",
    "acknowledged_at": None,
    "snoozed_until": None,
}


def listing(*, resolved: bool = False) -> QuerySet[ExpiryAlert]:
    """The alerts that stand, the earliest end first; with *resolved* the others too."""
    rows = ExpiryAlert.objects.select_related("organization")
    return rows if resolved else rows.filter(resolved_at=None)


def raise_due(now: datetime) -> int:
    """Raise the alerts that are due, resolve those that are not any more; returns how many are new.

    May run at any time, any number of times, in several processes at once. That what became
    louder is not answered any more is audited.
    """
    now = now.astimezone(UTC)  # a day has 24 hours, whatever zone the caller counts in
    endings = expiry.scan(now, until=now + HORIZON)
    opened = ExpiryAlert.objects.filter(resolved_at=None).only(*schedule.COMPARED).order_by()
    found = schedule.plan(endings, opened.iterator(), now)
    with _one_at_a_time(now):
        _update(found.over, resolved_at=now)
        again = [_change(alert, due, now) for alert, due in found.changed]
        for some in in_batches(found.raised):
            again += _raise(some, now)
        # At the end: who answers locks an alert first, and the audit chain after it.
        for alert in filter(None, again):
            _record("reopen-alert", alert, actor="schedule", now=now, reason=_answer(alert))
    return len(found.raised)


def acknowledge(alert_id: uuid.UUID, *, actor: str, now: datetime, reason: str = "") -> ExpiryAlert:
    """Somebody knows: no escalation, and no mail about it below critical, until the next threshold.

    A louder one is told all the same.
    Audited. Raises CybsError for an alert that does not stand any more.
    """
    with transaction.atomic():
        alert = _locked(alert_id)
        same_end = ExpiryAlert.objects.filter(
            artefact=alert.artefact, subject=alert.subject, ends=alert.ends
        )
        same_end.filter(acknowledged_at=None).update(acknowledged_by=actor, acknowledged_at=now)
        _record("ack-alert", alert, actor=actor, now=now, reason=reason)
    alert.refresh_from_db()
    return alert


def snooze(
    alert_id: uuid.UUID, *, until: datetime, actor: str, now: datetime, reason: str = ""
) -> ExpiryAlert:
    """Tell nobody of this end before *until*; later thresholds wait too and are told then.

    Not what becomes louder: the reason for putting it off may be gone.
    Audited. Raises CybsError when that is within three days of the end or beyond it.
    """
    with transaction.atomic():
        alert = _locked(alert_id)
        latest = alert.ends - NO_SNOOZE
        if now >= latest:
            raise CybsError("Three days before an end, or past it, nothing can be put off.")
        if not now < until <= latest:
            raise CybsError(
                "Put it off to {latest:%Y-%m-%d %H:%M UTC} at the latest.", latest=latest
            )
        alert.snoozed_until = until
        alert.save(update_fields=["snoozed_until"])
        told = f"until {until.isoformat()} {reason}"
        _record("snooze-alert", alert, actor=actor, now=now, reason=told)
    return alert


def escalate(now: datetime) -> int:
    """Mark critical alerts that nobody acknowledged for a day; returns how many."""
    now = now.astimezone(UTC)
    unheard = ExpiryAlert.objects.filter(
        artefact=OuterRef("artefact"),
        subject=OuterRef("subject"),
        ends=OuterRef("ends"),
        severity=Severity.CRITICAL,
        acknowledged_at=None,
        raised_at__lte=now - ESCALATE_AFTER,
    )
    waiting = listing().filter(severity=Severity.CRITICAL, acknowledged_at=None, escalated_at=None)
    rows = list(waiting.exclude(snoozed_until__gt=now).filter(Exists(unheard)))
    if not rows:
        return 0
    with _one_at_a_time(now):
        return _update(rows, escalated_at=now)


def last_run() -> datetime | None:
    """When the job that raises alerts last ended well."""
    run = JobRun.objects.filter(name=JOB).first()
    return run.succeeded_at if run else None


def job_is_silent(now: datetime) -> bool:
    """True when that is more than 26 hours away, in either direction, or never was."""
    return is_silent(last_run(), now)


def is_silent(at: datetime | None, now: datetime) -> bool:
    """The same of a `last_run` that is known."""
    return at is None or abs(now - at) > SILENT_AFTER


def _raise(some: Sequence[Due], now: datetime) -> list[ExpiryAlert | None]:
    """Insert rows, or open again those of a threshold that stood before; of these see `_change`."""
    known = {
        (row.artefact, row.subject, row.ends, row.threshold): row
        for row in ExpiryAlert.objects.filter(
            artefact__in=list(Artefact), subject__in=[due.ending.subject for due in some]
        )
    }
    new, again = [], []
    for due in some:
        ending = due.ending
        before = known.get((ending.artefact, ending.subject, ending.ends, due.threshold))
        if before is None:
            new.append(_row(due, now))
        else:
            again.append(_change(before, due, now, resolved_at=None))
    # Another process may have raised the same; the unique constraint lets one in.
    ExpiryAlert.objects.bulk_create(new, ignore_conflicts=True)
    return again


def _row(due: Due, now: datetime) -> ExpiryAlert:
    ending, before = due.ending, due.before
    put_off = before if before and not due.severity.is_above(before.severity) else None
    return ExpiryAlert(
        artefact=ending.artefact,
        subject=ending.subject,
        organization_id=ending.organization_id,
        key_id=ending.key_id,
        ends=ending.ends,
        threshold=due.threshold,
        severity=due.severity,
        stops=len(ending.stops),
        raised_at=now,
        snoozed_until=put_off.snoozed_until if put_off else None,
    )


def _change(alert: ExpiryAlert, due: Due, now: datetime, **columns: object) -> ExpiryAlert | None:
    """Make it as loud as is due; returns it as it was where that takes somebody's answer back.

    One that grew louder is told as if it were new, to whom it was not told as loud before.
    """
    before = None
    if due.severity.is_above(alert.severity):
        # Another process may have planned the same and told it meanwhile.
        as_planned = ExpiryAlert.objects.filter(pk=alert.pk, severity=alert.severity)
        before = as_planned.select_for_update().first()
    if before is not None:
        columns |= _UNANSWERED
        if not before.deliveries.filter(told=due.severity).exists():
            columns |= {"raised_at": now, "escalated_at": None}
    _update([alert], severity=due.severity, stops=len(due.ending.stops), **columns)
    return before if before is not None and _answer(before) else None


def _answer(alert: ExpiryAlert) -> str:
    """What somebody had answered, for the audit row; empty where nobody had."""
    answers = []
    if alert.acknowledged_at is not None:
        answers.append(f"acknowledged by {alert.acknowledged_by}")
    if alert.snoozed_until is not None:
        answers.append(f"put off until {alert.snoozed_until.isoformat()}")
    return f"louder; was {' and '.join(answers)}" if answers else ""


def _update(rows: Sequence[ExpiryAlert], **columns: object) -> int:
    ids = [row.pk for row in rows]
    return sum(
        ExpiryAlert.objects.filter(pk__in=some).update(**columns) for some in in_batches(ids)
    )


@contextmanager
def _one_at_a_time(now: datetime) -> Iterator[None]:
    """Runs at once wait for each other here; in the rows they would meet crosswise."""
    with transaction.atomic():
        JobRun.objects.update_or_create(name=RAISING, defaults={"succeeded_at": now})
        yield


def _locked(alert_id: uuid.UUID) -> ExpiryAlert:
    alert = ExpiryAlert.objects.select_for_update().get(pk=alert_id)
    if alert.resolved_at is not None:
        raise CybsError(
            "The alert does not stand any more. `cybs_alerts list` shows those that do."
        )
    return alert


def _record(
    action: str, alert: ExpiryAlert, *, actor: str, now: datetime, reason: str = ""
) -> None:
    what = f"{alert.artefact} {alert.key_id} at {alert.threshold} days"
    entry = audit.Entry(
        action=action,
        actor=actor,
        organization=str(alert.organization or ""),
        reason=f"{what} {reason}".rstrip(),
    )
    audit.record(entry, now=now)
