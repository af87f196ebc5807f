"""Alerts in the database: raised once, replaced, resolved, acknowledged, put off, escalated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import (
    AlertRecipient,
    Credential,
    ExpiryAlert,
    JobRun,
    KeyEvent,
    State,
)
from django_cybs_jwt.services import alerts, expiry
from django_cybs_jwt.services.alerts import schedule
from tests.unit.services import estate, hands
from tests.unit.services.alert_runs import CHANNEL, Years
from tests.unit.services.estate import DAY, NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

HOUR = timedelta(hours=1)


def recipient(address: str = "ops@example.com", **columns: Any) -> AlertRecipient:
    return AlertRecipient.objects.create(channel="mail", address=address, **columns)


def acme_key(days: float = 20, **columns: Any) -> Credential:
    return estate.key(estate.organization("acme"), days=days, **columns)


def tick(now: datetime) -> None:
    alerts.raise_due(now)
    hands.deliver(now)


def standing() -> ExpiryAlert:
    return alerts.listing().get()


def test_an_alert_says_which_key_when_and_how_many_stop() -> None:
    row = acme_key(days=20)

    assert alerts.raise_due(NOW) == 1

    found = standing()
    assert (found.artefact, found.subject, found.key_id) == (
        "signing-certificate",
        row.pk,
        row.key_id,
    )
    assert (found.organization, found.ends) == (row.organization, row.expires_at)
    assert (found.threshold, found.severity, found.stops) == (30, "warning", 1)
    assert found.raised_at == NOW


def test_however_often_it_runs_there_is_one_alert() -> None:
    acme_key(days=20)

    raised = [alerts.raise_due(NOW + n * HOUR) for n in range(24)]

    assert sum(raised) == 1
    assert ExpiryAlert.objects.count() == 1


def test_the_next_threshold_replaces_the_one_before() -> None:
    acme_key(days=20)
    alerts.raise_due(NOW)

    alerts.raise_due(NOW + 7 * DAY)

    assert standing().threshold == 14
    assert set(ExpiryAlert.objects.values_list("threshold", flat=True)) == {30, 14}


def test_thresholds_missed_in_a_downtime_collapse_to_the_smallest() -> None:
    acme_key(days=65)
    alerts.raise_due(NOW)

    alerts.raise_due(NOW + 63 * DAY)

    assert set(ExpiryAlert.objects.values_list("threshold", flat=True)) == {90, 2}


def test_an_ended_key_in_use_is_told_of_daily() -> None:
    acme_key(days=0)

    for hours in range(0, 73, 6):
        alerts.raise_due(NOW + hours * HOUR)

    assert set(ExpiryAlert.objects.values_list("threshold", flat=True)) == {0, -1, -2, -3}
    assert standing().severity == "critical"


def test_an_ended_test_key_is_told_of_weekly_and_never_louder_than_a_warning() -> None:
    estate.key(estate.organization("acme", host=estate.HOST), days=31)

    for day in range(50):
        alerts.raise_due(NOW + day * DAY)

    told = ExpiryAlert.objects.order_by("-threshold").values_list("threshold", flat=True)
    assert list(told) == [30, 7, 1, 0, -7, -14]
    assert set(ExpiryAlert.objects.values_list("severity", flat=True)) == {"warning"}


def test_a_verified_successor_lowers_the_alert_that_stands() -> None:
    row = acme_key(days=20)
    alerts.raise_due(NOW)
    estate.successor(row)

    alerts.raise_due(NOW + HOUR)

    assert (standing().threshold, standing().severity) == (30, "info")


def test_a_replaced_key_is_quiet_and_its_alert_resolved() -> None:
    row = acme_key(days=20)
    alerts.raise_due(NOW)
    Credential.objects.filter(pk=row.pk).update(state=State.RETIRING, active_slot=None)
    estate.key(row.organization, slot=row.slot, days=900)

    for day in range(30):
        alerts.raise_due(NOW + day * DAY)

    alert = ExpiryAlert.objects.get()
    assert alert.resolved_at == NOW


def test_a_key_that_is_rolled_back_to_has_its_alert_again_and_no_second_row() -> None:
    row = acme_key(days=20)
    alerts.raise_due(NOW)
    Credential.objects.filter(pk=row.pk).update(state=State.RETIRING, active_slot=None)
    alerts.raise_due(NOW + HOUR)

    Credential.objects.filter(pk=row.pk).update(state=State.ACTIVE, active_slot=row.slot)
    alerts.raise_due(NOW + 2 * HOUR)

    assert standing().threshold == 30
    assert ExpiryAlert.objects.count() == 1


def test_a_corrected_end_starts_anew() -> None:
    row = acme_key(days=20, kind="shared_secret")
    alerts.raise_due(NOW)

    Credential.objects.filter(pk=row.pk).update(expires_at=NOW + 25 * DAY)
    alerts.raise_due(NOW + HOUR)

    assert standing().ends == NOW + 25 * DAY
    assert ExpiryAlert.objects.count() == 2


@pytest.mark.parametrize("jump", [365 * DAY, -365 * DAY])
def test_a_clock_a_year_off_and_back_leaves_the_right_alert_standing(jump: timedelta) -> None:
    acme_key(days=20)
    recipient()
    tick(NOW)
    tick(NOW + jump)
    tick(NOW + jump + HOUR)

    tick(NOW + 2 * HOUR)
    tick(NOW + 7 * DAY)

    assert standing().threshold == 14
    assert "14" not in mail.outbox[0].subject
    assert mail.outbox[-1].subject.startswith("CRITICAL: 1 merchant stops on 2026-12-12")


def test_two_processes_that_raise_at_once_leave_one_row() -> None:
    """The second has planned before it sees the first one's row."""
    acme_key(days=20)
    endings = list(expiry.scan(NOW))
    due = schedule.plan(endings, [], NOW).raised

    alerts._raise(due, NOW)
    alerts._raise(due, NOW)

    assert ExpiryAlert.objects.count() == 1


def test_acknowledging_is_audited_and_keeps_the_first_name() -> None:
    acme_key(days=10)
    alerts.raise_due(NOW)

    alerts.acknowledge(standing().pk, actor="ann", now=NOW + HOUR)
    again = alerts.acknowledge(standing().pk, actor="bob", now=NOW + 2 * HOUR)

    assert (again.acknowledged_by, again.acknowledged_at) == ("ann", NOW + HOUR)
    event = KeyEvent.objects.filter(action="ack-alert").latest("seq")
    assert (event.actor, event.organization) == ("bob", f"acme@{estate.LIVE_HOST}")


def test_an_acknowledged_alert_is_armed_again_at_the_next_threshold() -> None:
    acme_key(days=20)
    recipient()
    alerts.raise_due(NOW)
    alerts.acknowledge(standing().pk, actor="ann", now=NOW)

    hands.deliver(NOW)
    silent = len(mail.outbox)
    tick(NOW + 7 * DAY)

    assert (silent, len(mail.outbox)) == (0, 1)
    assert standing().acknowledged_at is None


def test_acknowledging_does_not_keep_a_critical_alert_back() -> None:
    acme_key(days=2)
    recipient()
    alerts.raise_due(NOW)
    alerts.acknowledge(standing().pk, actor="ann", now=NOW)

    hands.deliver(NOW)

    assert len(mail.outbox) == 1


def test_putting_off_holds_later_thresholds_back_until_then() -> None:
    acme_key(days=35)
    recipient()
    tick(NOW)
    alerts.snooze(standing().pk, until=NOW + 10 * DAY, actor="ann", now=NOW)

    tick(NOW + 7 * DAY)
    held_back = len(mail.outbox)
    tick(NOW + 10 * DAY)

    assert (held_back, len(mail.outbox)) == (1, 2)
    assert standing().threshold == 30
    assert KeyEvent.objects.filter(action="snooze-alert", actor="ann").exists()


def test_putting_off_holds_no_louder_threshold_back() -> None:
    acme_key(days=20)
    recipient()
    tick(NOW)
    alerts.snooze(standing().pk, until=NOW + 10 * DAY, actor="ann", now=NOW)

    tick(NOW + 7 * DAY)

    assert (standing().severity, standing().snoozed_until) == ("critical", None)
    assert len(mail.outbox) == 2


@pytest.mark.parametrize("answer", ["none", "ack", "snooze"])
def test_an_alert_that_becomes_louder_is_told_once_more_whatever_the_answer_was(
    answer: str,
) -> None:
    row = acme_key(days=10)
    planned = estate.successor(row, activate_at=NOW + 5 * DAY)
    recipient()
    tick(NOW)
    assert standing().severity == "info"
    if answer == "ack":
        alerts.acknowledge(standing().pk, actor="ann", now=NOW)
    if answer == "snooze":
        alerts.snooze(standing().pk, until=NOW + 7 * DAY, actor="ann", now=NOW)

    planned.delete()
    for hours in range(1, 9):
        tick(NOW + hours * HOUR)

    assert [told.subject.split(":")[0] for told in mail.outbox] == ["INFO", "CRITICAL"]
    found = standing()
    assert (found.acknowledged_by, found.acknowledged_at, found.snoozed_until) == ("", None, None)
    told = KeyEvent.objects.filter(action="reopen-alert").values_list("actor", "reason")
    what = f"signing-certificate {row.key_id} at 14 days louder; was"
    answers = {"ack": "acknowledged by ann", "snooze": "put off until 2026-11-29T12:00:00+00:00"}
    assert list(told) == [("schedule", f"{what} {said}") for said in [answers.get(answer)] if said]


def test_an_alert_that_is_louder_and_calmer_by_turns_is_told_once_as_loud() -> None:
    row = acme_key(days=10)
    calming = estate.successor(row)
    recipient()

    for hours in range(24):
        verdict = "refused" if hours % 2 else "accepted"
        Credential.objects.filter(pk=calming.pk).update(verify_outcome=verdict)
        tick(NOW + hours * HOUR)

    assert [told.subject.split(":")[0] for told in mail.outbox] == ["INFO", "CRITICAL"]


def test_who_did_not_hear_how_loud_it_was_hears_it_when_it_is_so_again() -> None:
    row = acme_key(days=10)
    alerts.raise_due(NOW)
    calming = estate.successor(row)
    recipient()
    tick(NOW + HOUR)
    calming.delete()

    tick(NOW + 2 * HOUR)

    assert [told.subject.split(":")[0] for told in mail.outbox] == ["INFO", "CRITICAL"]


def test_two_processes_that_find_an_alert_louder_at_once_tell_it_once() -> None:
    row = acme_key(days=10)
    calmed = estate.successor(row)
    recipient()
    tick(NOW)
    calmed.delete()
    stood = standing()
    (due,) = [due for _, due in schedule.plan(expiry.scan(NOW), [stood], NOW).changed]

    for hours in range(2):
        alerts._change(stood, due, NOW + hours * HOUR)
        hands.deliver(NOW + hours * HOUR)

    assert [told.subject.split(":")[0] for told in mail.outbox] == ["INFO", "CRITICAL"]


def test_an_alert_is_escalated_once_a_day_after_it_first_becomes_critical() -> None:
    row = acme_key(days=10)
    calming = estate.successor(row)
    recipient()
    recipient("boss@example.com", escalation=True)
    tick(NOW)

    heard = []
    for hours in range(10, 60):
        verdict = "accepted" if hours % 2 else "refused"
        Credential.objects.filter(pk=calming.pk).update(verify_outcome=verdict)
        tick(NOW + hours * HOUR)
        heard.append(sum(told.to == ["boss@example.com"] for told in mail.outbox))

    assert (heard[23], heard[24], heard[-1]) == (0, 1, 1)


def test_an_alert_that_stood_before_and_comes_back_louder_is_told() -> None:
    row = acme_key(days=10)
    waiting = estate.successor(row)
    recipient()
    tick(NOW)
    Credential.objects.filter(pk=row.pk).update(state=State.RETIRING, active_slot=None)
    tick(NOW + HOUR)
    waiting.delete()

    Credential.objects.filter(pk=row.pk).update(state=State.ACTIVE, active_slot=row.slot)
    tick(NOW + 2 * HOUR)

    assert [told.subject.split(":")[0] for told in mail.outbox] == ["INFO", "CRITICAL"]
    assert ExpiryAlert.objects.count() == 1


@pytest.mark.parametrize(
    ("days_left", "put_off"), [(20, 17.1), (20, 0), (20, -1), (3, 1), (2, 1), (0, 1), (-5, 1)]
)
def test_nothing_is_put_off_into_the_last_three_days(days_left: float, put_off: float) -> None:
    acme_key(days=days_left)
    alerts.raise_due(NOW)

    with pytest.raises(CybsError):
        alerts.snooze(standing().pk, until=NOW + put_off * DAY, actor="ann", now=NOW)

    assert standing().snoozed_until is None


@pytest.mark.parametrize("answer", ["acknowledge", "snooze"])
def test_an_alert_that_was_replaced_cannot_be_answered(answer: str) -> None:
    acme_key(days=20)
    alerts.raise_due(NOW)
    old = standing()
    alerts.raise_due(NOW + 7 * DAY)
    until = {"until": NOW + 8 * DAY} if answer == "snooze" else {}

    with pytest.raises(CybsError, match="stand"):
        getattr(alerts, answer)(old.pk, actor="ann", now=NOW + 7 * DAY, **until)


def test_a_critical_alert_nobody_acknowledged_for_a_day_is_escalated_once() -> None:
    acme_key(days=10)
    boss = recipient("boss@example.com", escalation=True)
    tick(NOW)

    tick(NOW + 23 * HOUR)
    before = len(mail.outbox)
    tick(NOW + 24 * HOUR)
    tick(NOW + 48 * HOUR)

    assert (before, len(mail.outbox)) == (0, 1)
    assert mail.outbox[0].to == [boss.address]


def test_daily_alerts_do_not_start_the_day_of_grace_anew() -> None:
    """Below three days each alert stands for one day only; the boss must hear all the same."""
    acme_key(days=3)
    recipient("boss@example.com", escalation=True)

    for hours in range(0, 49, 8):
        tick(NOW + hours * HOUR)

    assert len(mail.outbox) == 2


@pytest.mark.parametrize("answer", ["ack", "snooze", "successor", "warning"])
def test_escalation_spares_what_somebody_takes_care_of(answer: str) -> None:
    row = acme_key(days=20 if answer == "warning" else 10)
    recipient("boss@example.com", escalation=True)
    tick(NOW)
    if answer == "ack":
        alerts.acknowledge(standing().pk, actor="ann", now=NOW)
    if answer == "snooze":
        alerts.snooze(standing().pk, until=NOW + 7 * DAY, actor="ann", now=NOW)
    if answer == "successor":
        estate.successor(row)

    tick(NOW + 25 * HOUR)

    assert mail.outbox == []


def test_the_job_is_silent_when_it_has_not_run_for_26_hours() -> None:
    assert alerts.job_is_silent(NOW)

    JobRun.objects.create(name="tick", succeeded_at=NOW)

    assert not alerts.job_is_silent(NOW + 26 * HOUR)
    assert alerts.job_is_silent(NOW + 26 * HOUR + timedelta(seconds=1))
    assert alerts.job_is_silent(NOW - 365 * DAY)
    assert alerts.last_run() == NOW


def test_runs_that_are_killed_late_and_refused_lose_nothing_and_repeat_nothing(
    settings: Any,
) -> None:
    """Over a leap day and a change of the clocks; `python -m benchmarks.alert_runs` does 10,000."""
    settings.CYBS_JWT = {
        **settings.CYBS_JWT,
        "ALERT_CHANNELS": CHANNEL,
        "ALERT_DAILY_LIMIT": 1000,
    }
    years = Years(seed=2028, keys=12, days=90, begin=datetime(2028, 1, 15, tzinfo=UTC))

    found = years.run(200)

    assert (found.duplicates, found.losses, found.untimely) == (0, set(), [])
    assert set(found.raised) == found.must_be_raised
    assert len(found.must_be_told) > 100
    assert found.repeated.total() > 0


@pytest.mark.parametrize(("days", "threshold"), [(85, 90), (20, 30), (2, 2)])
def test_a_typed_end_is_told_of_at_the_usual_thresholds_however_late_it_was_typed(
    days: int, threshold: int
) -> None:
    owner = estate.organization("acme")
    estate.key(owner, days=days, kind="shared_secret", not_before=None, staged_at=NOW)

    assert alerts.raise_due(NOW) == 1
    assert alerts.listing().get().threshold == threshold


def test_what_lives_for_two_days_is_told_of_a_day_before_it_ends() -> None:
    row = estate.key(estate.organization("acme"), days=2, not_before=NOW)

    assert alerts.raise_due(NOW) == 0
    assert alerts.raise_due(row.expires_at - DAY) == 1
    assert alerts.listing().get().severity == "critical"
