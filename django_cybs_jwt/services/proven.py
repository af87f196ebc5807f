"""Which keys can be relied on to take over: only those that the gateway has accepted.

A switch that is planned to any other key may be the outage itself. So no alert is calmed by it,
and no days that are left count on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from datetime import datetime
from typing import Final

from django.db.models import Q

from django_cybs_jwt.models import Credential, Verdict

ACCEPTED: Final = Q(verify_outcome=Verdict.ACCEPTED)


def is_accepted(row: Credential) -> bool:
    """`ACCEPTED` of one key."""
    return row.verify_outcome == Verdict.ACCEPTED


def takes_force(row: Credential) -> bool:
    """True for a key that nobody may put into use without force: never accepted, or refused."""
    return row.verified_at is None or row.verify_outcome == Verdict.REFUSED


def futures(rows: Sequence[Credential], now: datetime) -> Iterator[Sequence[Credential]]:
    """What may come: that all plans are carried out, or only those for keys that are accepted."""
    yield rows
    if any(_is_in_doubt(row, now) for row in rows):
        yield [_without_plan(row) if _is_in_doubt(row, now) else row for row in rows]


def _is_in_doubt(row: Credential, now: datetime) -> bool:
    return row.activate_at is not None and row.activate_at > now and not is_accepted(row)


def _without_plan(row: Credential) -> Credential:
    other = copy(row)
    other.activate_at = other.overlap_until = None
    return other
