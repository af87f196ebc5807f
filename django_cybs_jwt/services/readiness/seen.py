"""The readiness report as one person sees it: his merchants, page by page, and as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Final

from django.db.models import Q, QuerySet

from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import readiness
from django_cybs_jwt.services.readiness import Readiness, candidates
from django_cybs_jwt.services.scope import Scope
from django_cybs_jwt.texts import Text

PER_PAGE: Final = 100
MOST_PORTIONS: Final = 2
"""Portions of `candidates.AT_ONCE` merchants that one page looks through for those not ready."""
_ELSEWHERE: Final = Text("An organization that you do not see keeps it from being ready.")
_NOTHING_SIGNS: Final = Text("No active signing key, own or meta.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows; *after* names the merchant to go on behind, empty at the end."""

    rows: Sequence[Readiness]
    after: str = ""


def merchants(
    scope: Scope, *, host: str = "", portfolio: Organization | None = None
) -> QuerySet[Organization]:
    """Those that are seen and not disabled: of one *host*, under one *portfolio*."""
    wanted = Organization.objects.filter(kind=Organization.Kind.MERCHANT, active=True)
    if host:
        wanted = wanted.filter(host=host)
    if portfolio is not None:
        top = portfolio.pk
        wanted = wanted.filter(Q(pk=top) | Q(parent=top) | Q(parent__parent=top))
    return scope.visible(wanted)


def page(
    wanted: QuerySet[Organization],
    *,
    scope: Scope,
    now: datetime,
    after: str = "",
    only_open: bool = False,
) -> Page:
    """A hundred of *wanted* behind *after*; with *only_open* those that are not ready.

    Looks through four thousand merchants at most: then a page may hold fewer, and *after* goes on.
    """
    further = _behind(wanted, after)
    if not only_open:
        found = list(further.order_by("org_id", "host")[:PER_PAGE])
        rows = list(_seen(found, scope, now))
        return Page(rows=rows, after=str(found[-1]) if len(found) == PER_PAGE else "")
    rows, last = [], ""
    for portion in islice(candidates.portions(further), MOST_PORTIONS):
        for merchant, row in zip(portion, _seen(portion, scope, now), strict=True):
            if not row.ready:
                rows.append(row)
            if len(rows) == PER_PAGE:
                return Page(rows=rows, after=str(merchant))
        last = str(portion[-1]) if len(portion) == candidates.AT_ONCE else ""
    return Page(rows=rows, after=last)


def stream(
    wanted: QuerySet[Organization], *, scope: Scope, now: datetime, only_open: bool = False
) -> Iterator[Readiness]:
    """All of them, two thousand in memory at a time."""
    for portion in candidates.portions(wanted):
        for row in _seen(portion, scope, now):
            if not (only_open and row.ready):
                yield row


def _behind(wanted: QuerySet[Organization], after: str) -> QuerySet[Organization]:
    if not after or not after.isprintable():
        return wanted
    org_id, _, host = after.partition("@")
    return wanted.filter(Q(org_id__gt=org_id) | Q(org_id=org_id, host__gt=host))


def _seen(portion: Sequence[Organization], scope: Scope, now: datetime) -> Iterator[Readiness]:
    """Without what tells of organizations that are not seen."""
    judged = list(readiness.of(portion, now=now))
    if not scope.is_limited:
        yield from judged
        return
    owners = {f"{row.owner}@{row.host}" for row in judged if row.owner}
    known = set(scope.names(sorted(owners))[0])
    for row in judged:
        yield row if f"{row.owner}@{row.host}" in known else _masked(row)


def _masked(row: Readiness) -> Readiness:
    said = (text if text == _NOTHING_SIGNS else _ELSEWHERE for text in row.missing)
    return replace(row, owner="", key_id="", missing=tuple(dict.fromkeys(said)))
