"""The alerts that stand, week by week: what a dashboard counts, in three queries at any size.

It reads what `alerts.raise_due` wrote, so it is as old as the last run of that job and looks as
far ahead as that does: 90 days for live hosts, 30 for test hosts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Final

from django.db.models import Case, Count, IntegerField, Max, Q, QuerySet, Value, When
from django.utils import timezone

from django_cybs_jwt.models import ExpiryAlert, GatewayCertificate, Organization
from django_cybs_jwt.services import alerts
from django_cybs_jwt.services.scope import Scope

WEEKS: Final = 14
"""Of this week and those that the 90 days of the alerts reach into."""
ENDED: Final = "ended"
_WEEK: Final = timedelta(weeks=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """*artefacts* that end from *start* until before *end*, and the *merchants* that stop then.

    *start* is a Monday, or now; None in the first one, which holds what has ended. A merchant
    that two keys of one owner stop is counted once; one that keys of two owners stop, twice.
    """

    start: datetime | None
    end: datetime
    artefacts: int = 0
    merchants: int = 0

    @property
    def name(self) -> str:
        """As an address names it: its Monday."""
        return ENDED if self.start is None else _monday(self.start).isoformat()


def standing(
    scope: Scope, *, host: str = "", portfolio: Organization | None = None
) -> QuerySet[ExpiryAlert]:
    """The alerts that stand and *scope* sees: of one *host*, of *portfolio* and all under it."""
    rows = scope.visible(alerts.listing())
    if host:
        shared = GatewayCertificate.objects.filter(organization=None, host=host)
        rows = rows.filter(Q(organization__host=host) | Q(subject__in=shared.values("pk")))
    if portfolio is not None:
        top = portfolio.pk
        family = Q(organization__parent=top) | Q(organization__parent__parent=top)
        rows = rows.filter(Q(organization=top) | family)
    return rows


def weeks(rows: QuerySet[ExpiryAlert], *, now: datetime) -> list[Week]:
    """What has ended, then week by week: two queries."""
    empty = _calendar(now)
    numbered = rows.order_by().annotate(week=_number(empty))
    one = Count("organization", filter=Q(stops=1), distinct=True)
    counted = {
        number: (artefacts, merchants)
        for number, artefacts, merchants in numbered.values("week")
        .annotate(artefacts=Count("pk"), merchants=one)
        .values_list("week", "artefacts", "merchants")
    }
    many = dict.fromkeys(range(len(empty)), 0)
    # Signing and response key of one owner stop the same merchants.
    owners = numbered.filter(stops__gt=1).values("week", "organization").annotate(most=Max("stops"))
    for number, most in owners.values_list("week", "most"):
        many[number] += most
    return [
        Week(
            start=week.start,
            end=week.end,
            artefacts=counted.get(number, (0, 0))[0],
            merchants=counted.get(number, (0, 0))[1] + many[number],
        )
        for number, week in enumerate(empty)
    ]


def within(rows: QuerySet[ExpiryAlert], week: Week) -> QuerySet[ExpiryAlert]:
    """Those that end in *week*."""
    later = rows if week.start is None else rows.filter(ends__gte=week.start)
    return later.filter(ends__lt=week.end)


def _calendar(now: datetime) -> list[Week]:
    monday = _monday(now)
    begins = [_begin(monday + n * _WEEK) for n in range(1, WEEKS + 1)]
    first = [Week(start=None, end=now), Week(start=now, end=begins[0])]
    return [*first, *(Week(start=start, end=end) for start, end in pairwise(begins))]


def _number(calendar: Sequence[Week]) -> Case:
    """The place in *calendar*; what ends behind it counts to the last."""
    cases = [When(ends__lt=week.end, then=Value(n)) for n, week in enumerate(calendar)]
    return Case(*cases, default=Value(len(calendar) - 1), output_field=IntegerField())


def _monday(moment: datetime) -> date:
    day = timezone.localdate(moment)
    return day - timedelta(days=day.weekday())


def _begin(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time()))
