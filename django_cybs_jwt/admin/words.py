"""What the services' own names are called on a page."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_cybs_jwt.admin.badges import Tone, badge
from django_cybs_jwt.models import Approval, ExpiryAlert, KeyEvent, words
from django_cybs_jwt.services.alerts.schedule import Severity

SEVERITIES: Final = {
    Severity.CRITICAL: _("Critical"),
    Severity.WARNING: _("Warning"),
    Severity.INFO: _("Info"),
}
_TONES: Final[dict[Severity, Tone]] = {
    Severity.CRITICAL: "bad",
    Severity.WARNING: "warn",
    Severity.INFO: "plain",
}


def action(row: Approval | KeyEvent) -> str:
    """What is done or asked for, in words; the row has a code for it."""
    return str(words.action(row.action))


def what_ends(alert: ExpiryAlert) -> str:
    """The artefact in words."""
    return str(words.ARTEFACTS[alert.artefact])


def severity_badge(alert: ExpiryAlert) -> SafeString:
    """How loud it is."""
    severity = Severity(alert.severity)
    return badge(_TONES[severity], SEVERITIES[severity])


def days_left(ends: datetime) -> str:
    """Whole days, of what has ended since then: neither is rounded up."""
    left = ends - timezone.now()
    if left > timedelta():
        return str(left.days)
    ago = (-left).days
    text = ngettext("ended %(days)d day ago", "ended %(days)d days ago", ago)
    return text % {"days": ago} if ago else now_("ended within the last day")


def until(moment: datetime) -> str:
    """A day and a time in the reader's zone."""
    return date_format(timezone.localtime(moment), "DATETIME_FORMAT")


def standing(alert: ExpiryAlert) -> str:
    """What was done about an alert."""
    if alert.resolved_at is not None:
        return now_("resolved")
    if alert.snoozed_until is not None and alert.snoozed_until > timezone.now():
        until = date_format(timezone.localtime(alert.snoozed_until), "SHORT_DATE_FORMAT")
        return now_("put off until %(until)s") % {"until": until}
    if alert.acknowledged_at is not None:
        return now_("acknowledged by %(who)s") % {"who": alert.acknowledged_by}
    return now_("escalated") if alert.escalated_at is not None else now_("to acknowledge")
