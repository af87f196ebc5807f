"""Alerts about ends: acknowledge and put off, one or many; the dashboard stands beside the list."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_cybs_jwt.admin import ends, words
from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.bulk import BulkAction, BulkForm
from django_cybs_jwt.admin.choices import ChoiceFilter
from django_cybs_jwt.admin.expiry import ExpiryScreen
from django_cybs_jwt.admin.requests import actor
from django_cybs_jwt.admin.screens import Consequences, FormScreen, ReasonForm
from django_cybs_jwt.admin.words import (
    SEVERITIES,
    days_left,
    severity_badge,
    standing,
    what_ends,
)
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import ExpiryAlert
from django_cybs_jwt.models.words import ARTEFACTS
from django_cybs_jwt.services import alerts
from django_cybs_jwt.services.alerts import bulk as alert_bulk
from django_cybs_jwt.services.expiry import blast_names
from django_cybs_jwt.services.overview import dashboard
from django_cybs_jwt.services.permissions import Permission

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

LONGEST_SNOOZE: Final = 365  # days
_MOST_NAMED: Final = 20


class DaysField(forms.IntegerField):
    """For how long; the service holds the three days before an end free."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            label=_("Days"),
            min_value=1,
            max_value=LONGEST_SNOOZE,
            help_text=_("From now on. The last three days before an end cannot be put off."),
            **options,
        )


class SnoozeForm(ReasonForm):
    """For how long, and why."""

    days = DaysField()
    field_order = ["days", "reason"]


class AcknowledgeScreen(FormScreen):
    """Somebody knows."""

    name = "acknowledge"
    title = _("Acknowledge")
    button = _("Acknowledge")
    permission = Permission.ACKNOWLEDGE
    form_class = ReasonForm
    of_row = True

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """While it stands and nobody did."""
        stands = row.resolved_at is None and row.acknowledged_at is None
        return super().is_offered(admin, request, row) and stands

    def consequences(self) -> Consequences:
        """What it stops, and what it does not."""
        return _concerning([self.row], _about(self.row), _ACKNOWLEDGED)

    def act(self, form: Any) -> Text:
        """Note who knows."""
        alerts.acknowledge(
            self.row.pk,
            actor=actor(self.request),
            now=timezone.now(),
            reason=form.cleaned_data["reason"],
        )
        return now_("Acknowledged.")


class SnoozeScreen(FormScreen):
    """Tell nobody for some days."""

    name = "snooze"
    title = _("Put off")
    button = _("Put off")
    permission = Permission.ACKNOWLEDGE
    form_class = SnoozeForm
    of_row = True

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """While it can be put off."""
        possible = _can_be_put_off(row)
        return super().is_offered(admin, request, row) and possible

    def consequences(self) -> Consequences:
        """Until when at the latest."""
        until = now_("It can be put off until %(latest)s at the latest.") % _latest(self.row)
        return _concerning([self.row], _about(self.row), _SNOOZED, until)

    def act(self, form: Any) -> Text:
        """Put it off."""
        now = timezone.now()
        alerts.snooze(
            self.row.pk,
            until=now + timedelta(days=form.cleaned_data["days"]),
            actor=actor(self.request),
            now=now,
            reason=form.cleaned_data["reason"],
        )
        return now_("Put off.")


class ReasonedBulkForm(BulkForm):
    """Why, for the audit trail."""

    reason = forms.CharField(label=_("Reason"), max_length=500, required=False)


class SnoozeManyForm(ReasonedBulkForm):
    """For how long, and why."""

    days = DaysField()
    field_order = ["days", "reason", "count"]


class AcknowledgeMany(BulkAction):
    """Somebody knows of all of them."""

    name = "acknowledge_many"
    label = _("Acknowledge")
    permission = Permission.ACKNOWLEDGE
    form_class = ReasonedBulkForm

    def consequences(self, rows: QuerySet[Any]) -> Consequences:
        """Which, and who stops."""
        return _concerning(rows, _counted(rows), _ACKNOWLEDGED)

    def act(self, request: HttpRequest, rows: QuerySet[Any], form: Any) -> Text:
        """Acknowledge each."""
        ids = rows.values_list("pk", flat=True)
        reason = form.cleaned_data["reason"]
        return _told(
            alert_bulk.acknowledge(ids, actor=actor(request), now=timezone.now(), reason=reason)
        )


class SnoozeMany(BulkAction):
    """Tell nobody of any of them for some days."""

    name = "snooze_many"
    label = _("Put off")
    permission = Permission.ACKNOWLEDGE
    form_class = SnoozeManyForm

    def consequences(self, rows: QuerySet[Any]) -> Consequences:
        """Which, and those that stay as they are; whom the others stop."""
        some = list(rows.order_by("ends", "pk")[: alert_bulk.MOST])
        can = [row for row in some if _can_be_put_off(row)]
        cannot = [row for row in some if not _can_be_put_off(row)]
        said: list[Text] = [_counted(rows)]
        if cannot:
            said.append(_left_as_they_are(cannot))
        if can:
            said += [_until(can), _SNOOZED]
        return _concerning(can, *said)

    def act(self, request: HttpRequest, rows: QuerySet[Any], form: Any) -> Text:
        """Put each off; those too near to their ends stay as they are."""
        return _told(
            alert_bulk.snooze(
                rows.values_list("pk", flat=True),
                days=form.cleaned_data["days"],
                actor=actor(request),
                now=timezone.now(),
                reason=form.cleaned_data["reason"],
            )
        )


class ArtefactFilter(ChoiceFilter):
    """What ends."""

    title = _("artefact")
    parameter_name = "artefact"
    choices_offered = tuple((str(key), name) for key, name in ARTEFACTS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Of that kind."""
        return queryset.filter(artefact=self.value()) if self.value() in ARTEFACTS else queryset


class SeverityFilter(ChoiceFilter):
    """How loud."""

    title = _("severity")
    parameter_name = "severity"
    choices_offered = tuple((str(key), name) for key, name in SEVERITIES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """As loud as that."""
        return queryset.filter(severity=self.value()) if self.value() in SEVERITIES else queryset


class StateFilter(ChoiceFilter):
    """What was done about it; without a choice, whatever stands."""

    title = _("state")
    parameter_name = "state"
    choices_offered = (
        ("open", _("To acknowledge")),
        ("acknowledged", _("Acknowledged")),
        ("snoozed", _("Put off")),
        ("escalated", _("Escalated")),
        ("resolved", _("Resolved")),
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """In that state."""
        if self.value() == "resolved":
            return queryset.exclude(resolved_at=None)
        rows, now = queryset.filter(resolved_at=None), timezone.now()
        if self.value() == "open":
            return queryset.filter(dashboard.to_acknowledge(now))
        if self.value() == "acknowledged":
            return rows.exclude(acknowledged_at=None)
        if self.value() == "snoozed":
            return rows.filter(snoozed_until__gt=now)
        return rows.exclude(escalated_at=None) if self.value() == "escalated" else rows


@admin.register(ExpiryAlert)
class ExpiryAlertAdmin(CybsAdmin):
    """What ends and is worth telling, the earliest end first."""

    list_display = ["ends", "days_left", "loud", "standing", "stops", "what", "organization"]
    list_filter = [StateFilter, SeverityFilter, ArtefactFilter]
    list_select_related = ["organization"]
    search_fields = ["organization__org_id__istartswith", "key_id__istartswith"]
    search_help_text = _("The beginning of an organization ID or key ID.")
    show_full_result_count = False
    fields = [
        *("what", "organization", "ends", "days_left", "stops", "loud", "standing"),
        *("raised_for", "raised_at", "acknowledged_by", "acknowledged_at"),
        *("snoozed_until", "escalated_at", "resolved_at"),
    ]
    readonly_fields = ["what", "days_left", "loud", "standing", "raised_for"]
    screens = [ExpiryScreen, AcknowledgeScreen, SnoozeScreen]
    bulk = [AcknowledgeMany(), SnoozeMany()]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """With the way to a successor, for who may upload one."""
        may = ends.may_replace(request)
        return [*super().get_list_display(request), *(["replacement"] if may else [])]

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """The merchants that stop, by name; the page of what ends, and of its successor."""
        may_replace = ends.may_replace(request)
        return {
            "consequences": _concerning([row]).shown(request),
            "key_url": ends.page_of(self, request, row),
            "replace_url": ends.replacement_of(self, row) if may_replace else "",
        }

    def audited(self, row: ExpiryAlert) -> dict[str, str]:
        """By the key ID, with what happened to the key itself."""
        return {"about": row.key_id}

    @admin.display(description=_("days left"), ordering="ends")
    def days_left(self, row: ExpiryAlert) -> str:
        """Whole days."""
        return days_left(row.ends)

    @admin.display(description=_("threshold"))
    def raised_for(self, row: ExpiryAlert) -> str:
        """The threshold it passed, which is not what is left."""
        text = ngettext(
            "%(days)d day before the end", "%(days)d days before the end", row.threshold
        )
        return text % {"days": row.threshold}

    @admin.display(description=_("successor"))
    def replacement(self, row: ExpiryAlert) -> str:
        """To its upload."""
        return ends.link(ends.replacement_of(self, row), _("Replace"))

    @admin.display(description=_("what ends"))
    def what(self, row: ExpiryAlert) -> str:
        """The artefact and its key."""
        return f"{what_ends(row)} {row.key_id}"

    @admin.display(description=_("severity"), ordering="severity")
    def loud(self, row: ExpiryAlert) -> str:
        """A badge."""
        return severity_badge(row)

    @admin.display(description=_("state"))
    def standing(self, row: ExpiryAlert) -> str:
        """What was done about it."""
        return standing(row)


_ACKNOWLEDGED: Final = _(
    "Nothing of it is escalated, and below critical nobody is told again, until the next threshold."
)
_SNOOZED: Final = _("Nobody is told of it before then, at no threshold.")
_UNNAMED: Final = _("The merchants that a certificate serves as one of a whole host are not named.")


def _about(row: ExpiryAlert) -> str:
    stops = ngettext(
        "%(what)s ends on %(day)s; %(count)d merchant stops then.",
        "%(what)s ends on %(day)s; %(count)d merchants stop then.",
        row.stops,
    )
    day = date_format(timezone.localtime(row.ends), "DATE_FORMAT")
    return stops % {"what": f"{what_ends(row)} {row.key_id}", "day": day, "count": row.stops}


def _concerning(rows: Iterable[ExpiryAlert], *sentences: Text) -> Consequences:
    """With the merchants that stop, by name; of more alerts than go at once, of the first."""
    some = list(islice(rows, alert_bulk.MOST))
    found = blast_names.stopping(some, now=timezone.now())
    names = sorted({name for names in found.values() for name in names})
    unnamed = any(row.stops and row.organization is None for row in some)
    return Consequences(sentences=[*sentences, *([_UNNAMED] if unnamed else [])], merchants=names)


def _can_be_put_off(row: ExpiryAlert) -> bool:
    return row.resolved_at is None and timezone.now() < row.ends - alerts.NO_SNOOZE


def _latest(row: ExpiryAlert) -> dict[str, str]:
    return {"latest": words.until(row.ends - alerts.NO_SNOOZE)}


def _until(rows: list[ExpiryAlert]) -> str:
    """*rows* are ordered by their ends."""
    if len(rows) == 1:
        return now_("It can be put off until %(latest)s at the latest.") % _latest(rows[0])
    text = now_(
        "All of these can be put off until %(latest)s at the latest; for longer, only those that "
        "end later."
    )
    return text % _latest(rows[0])


def _left_as_they_are(rows: list[ExpiryAlert]) -> str:
    """They are named, as far as a page has room."""
    text = ngettext(
        "%(count)d stays as it is, as it has ended, ends within three days or is resolved: "
        "%(names)s",
        "%(count)d stay as they are, as they have ended, end within three days or are resolved: "
        "%(names)s",
        len(rows),
    )
    named = [f"{what_ends(row)} {row.key_id}" for row in rows[:_MOST_NAMED]]
    more = ["…"] if len(rows) > _MOST_NAMED else []
    return text % {"count": len(rows), "names": ", ".join([*named, *more])}


def _counted(rows: QuerySet[Any]) -> str:
    count = rows.count()
    return ngettext("%(count)d alert.", "%(count)d alerts.", count) % {"count": count}


def _told(outcome: alert_bulk.Outcome) -> str:
    done = ngettext("%(count)d alert is done.", "%(count)d alerts are done.", outcome.done)
    text = done % {"count": outcome.done}
    if not outcome.refused:
        return text
    refused = " ".join(f"{count}x: {reason}" for reason, count in outcome.refused.items())
    if not outcome.done:
        raise CybsError(refused)
    return f"{text} {now_('Not done:')} {refused}"
