"""The expiry dashboard: a timeline by week, and what breaks in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_cybs_jwt.admin import ends
from django_cybs_jwt.admin.badges import breakable
from django_cybs_jwt.admin.narrowing import NarrowForm
from django_cybs_jwt.admin.requests import scope_of
from django_cybs_jwt.admin.screens import Screen
from django_cybs_jwt.admin.words import days_left, severity_badge, standing, what_ends
from django_cybs_jwt.models import ExpiryAlert
from django_cybs_jwt.services.alerts import weeks as alert_weeks
from django_cybs_jwt.services.alerts.weeks import Week
from django_cybs_jwt.services.expiry import blast_names
from django_cybs_jwt.services.permissions import Permission

PER_PAGE: Final = 50
MOST_MERCHANTS: Final = 50
"""Names of stopping merchants under one artefact."""
COLUMN: Final = 64
TALLEST: Final = 160
ABOVE: Final = 24
BELOW: Final = 44
"""Units of the drawing: a week's width, the tallest bar, and the room over and under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A week as it is drawn, in whole units from the top left."""

    week: Week
    link: str
    label: str
    text: str
    is_chosen: bool
    x: int
    middle: int
    y: int
    height: int


class ExpiryScreen(Screen):
    """What ends when, whom it stops, and what was done about it."""

    name = "dashboard"
    title = _("Expiry dashboard")
    template = "cybs_jwt/expiry.html"
    permission = "cybs_jwt.view_expiryalert"

    def get(self) -> HttpResponseBase:
        """The weeks, and a page of what ends in the chosen one."""
        form = NarrowForm(self.request.GET, scope=scope_of(self.request))
        if not form.is_valid():
            return self.render(form=form, status=400)
        rows = alert_weeks.standing(scope_of(self.request), **form.chosen())
        weeks = alert_weeks.weeks(rows, now=timezone.now())
        chosen = next((week for week in weeks if week.name == self._week), None)
        if chosen is not None:
            rows = alert_weeks.within(rows, chosen)
        return self.render(
            form=form,
            chosen=_text(chosen) if chosen else "",
            everything=self._link(week=""),
            **self._chart(weeks),
            **self._list(rows, chosen.artefacts if chosen else sum(w.artefacts for w in weeks)),
        )

    def _chart(self, weeks: Sequence[Week]) -> dict[str, Any]:
        return {
            "bars": list(self._bars(weeks)),
            "column": COLUMN,
            "width": COLUMN * len(weeks),
            "base": ABOVE + TALLEST,
            "height": ABOVE + TALLEST + BELOW,
        }

    def _bars(self, weeks: Sequence[Week]) -> Iterator[Bar]:
        most = max([1, *(week.merchants for week in weeks)])
        for number, week in enumerate(weeks):
            # Rounded up: one merchant among thousands still shows.
            height = -(-week.merchants * TALLEST // most)
            yield Bar(
                week=week,
                link=self._link(week=week.name),
                label=_label(number, week),
                text=_text(week),
                is_chosen=self._week == week.name,
                x=number * COLUMN,
                middle=number * COLUMN + COLUMN // 2,
                y=ABOVE + TALLEST - height,
                height=height,
            )

    def _list(self, rows: QuerySet[ExpiryAlert], count: int) -> dict[str, Any]:
        paginator = Paginator(rows.order_by("ends", "pk"), PER_PAGE)
        paginator.count = count  # the weeks have counted them already
        page = paginator.get_page(self.request.GET.get("p"))
        return {
            "page": page,
            "rows": list(self._rows(page)),
            "earlier": self._link(p=str(page.number - 1)) if page.has_previous() else "",
            "later": self._link(p=str(page.number + 1)) if page.has_next() else "",
            "may_replace": ends.may_replace(self.request),
            "may_acknowledge": self.request.user.has_perm(Permission.ACKNOWLEDGE),
        }

    def _rows(self, page: Page[ExpiryAlert]) -> Iterator[dict[str, Any]]:
        now, may_replace = timezone.now(), ends.may_replace(self.request)
        alerts = list(page)
        stopping = blast_names.stopping(alerts, now=now, scope=scope_of(self.request))
        for alert in alerts:
            stops = stopping.get(alert.pk, ())
            yield {
                "alert": alert,
                "what": what_ends(alert),
                "of": breakable(alert.organization or ""),
                "left": days_left(alert.ends),
                "has_ended": alert.ends <= now,
                "badge": severity_badge(alert),
                "standing": standing(alert),
                "link": ends.page_of(self.admin, self.request, alert),
                "replacement": ends.replacement_of(self.admin, alert) if may_replace else "",
                "url": self.admin.url("change", alert.pk),
                "stops": stops[:MOST_MERCHANTS],
                "more": max(alert.stops - len(stops[:MOST_MERCHANTS]), 0),
            }

    @property
    def _week(self) -> str:
        return self.request.GET.get("week", "")

    def _link(self, **changed: str) -> str:
        """This page with other parameters; another week begins at its first page."""
        names = ("host", "portfolio", "week")
        kept = {name: self.request.GET.get(name, "") for name in names}
        given = {name: text for name, text in {**kept, **changed}.items() if text}
        return f"{self.request.path}?{urlencode(given)}"


def _label(number: int, week: Week) -> str:
    """Under a bar: few letters."""
    if week.start is None:
        return now_("ended")
    if number == 1:
        return now_("this week")
    return date_format(timezone.localdate(week.start), "d M")


def _text(week: Week) -> str:
    """The week in words: what a bar says to who cannot see it."""
    numbers = {"artefacts": week.artefacts, "merchants": week.merchants}
    stops = ngettext("%(merchants)d merchant stops", "%(merchants)d merchants stop", week.merchants)
    ends = ngettext("%(artefacts)d artefact ends", "%(artefacts)d artefacts end", week.artefacts)
    when = now_("Ended before now")
    if week.start is not None:
        last = timezone.localdate(week.end) - timedelta(days=1)
        days = {"first": date_format(timezone.localdate(week.start)), "last": date_format(last)}
        when = now_("%(first)s to %(last)s") % days
    return f"{when}: {stops % numbers}, {ends % numbers}"
