"""The overlap of a rotation: so long the key before it can be switched back to; then it retires.

Time decides that, ticked or not: a RETIRING key whose overlap is over counts as RETIRED.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from django_cybs_jwt.models import Credential, State

OVERLAPS: Final = {
    "now": timedelta(0),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
DEFAULT: Final = OVERLAPS["24h"]
LONGEST: Final = timedelta(days=30)

_RETIRING: Final = Q(state=State.RETIRING, activate_at=None)
"""Of a key that is planned to come back `overlap_until` speaks of the overlap after that."""


def is_open(now: datetime) -> Q:
    """Keys that one step switches back to."""
    return _RETIRING & Q(overlap_until__gt=now)


def is_rolled_back(now: datetime) -> Q:
    """Keys that one step went back from, less than a day ago: they may be switched to again."""
    return _RETIRING & Q(overlap_until=None, retiring_at__gt=now - DEFAULT)


def is_open_of(row: Credential, now: datetime) -> bool:
    """`is_open` of one key."""
    is_retiring = row.state == State.RETIRING and row.activate_at is None
    return is_retiring and row.overlap_until is not None and row.overlap_until > now


def is_over(now: datetime) -> Q:
    """Keys that only wait to be written down as RETIRED; one that was rolled back, after a day."""
    rolled_back = Q(overlap_until=None, retiring_at__lte=now - DEFAULT)
    return _RETIRING & (Q(overlap_until__lte=now) | rolled_back)


def has_ended(row: Credential, now: datetime) -> bool:
    """`is_over` of one key."""
    end = ends(row)
    return end is not None and end <= now


def states(rows: Iterable[Credential], now: datetime) -> dict[uuid.UUID, State]:
    """What each key is at *now*, by its id, ticked or not. *rows* hold whole slots."""
    rows = list(rows)
    due = {row.slot_id: row for row in rows if _is_due(row, now)}
    return {row.pk: _state(row, due.get(row.slot_id), now) for row in rows}


def _state(row: Credential, due: Credential | None, now: datetime) -> State:
    if row == due:
        return State.ACTIVE
    if due is not None and row.state == State.ACTIVE:
        until = due.overlap_until or (due.activate_at or now) + DEFAULT
        return State.RETIRING if until > now else State.RETIRED
    return State.RETIRED if has_ended(row, now) else State(row.state)


def _is_due(row: Credential, now: datetime) -> bool:
    return row.activate_at is not None and row.activate_at <= now


def ends(row: Credential) -> datetime | None:
    """When a key's overlap is over, if it has one; one that was rolled back has a day."""
    if row.state != State.RETIRING or row.activate_at is not None:
        return None
    if row.overlap_until is not None or row.retiring_at is None:
        return row.overlap_until
    return row.retiring_at + DEFAULT
