"""Watch a rotation: how often the new key and the one before it were used, hour by hour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django_cybs_jwt.models import Credential, KeyUse, State
from django_cybs_jwt.services import keys, usage

MOST_HOURS: Final = 48
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One of the two keys, and its uses of those that were counted by the hour.

    *around* are those of the hour of the switch, before it and after; *uses* those of later hours.
    *idle_since* is None for one that is still in use.
    """

    credential: Credential
    around: int
    uses: int
    idle_since: datetime | None
    safe_to_delete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """What both keys did in the hour that begins at *begins*."""

    begins: datetime
    old: int
    new: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A rotation at *switched_at*, with an overlap until *overlap_until* or without one.

    *hours* are the last 48 at most, oldest first; the first of them may be that of the switch.
    """

    new: Watched
    old: Watched
    switched_at: datetime
    overlap_until: datetime | None
    hours: Sequence[Hour]

    @property
    def can_roll_back(self) -> bool:
        """True inside the overlap."""
        return self.overlap_until is not None


def watch(credential: Credential, *, now: datetime) -> Watch | None:
    """The rotation that *credential* took part in last, as the new or the old key, or None."""
    pair = _pair(credential)
    if pair is None:
        return None
    old, new = pair
    switched_at = new.activated_at
    if switched_at is None:
        return None
    uses, twins = _uses([old, new], since=switched_at), usage.twins([old, new])
    is_open = (
        old.state == State.RETIRING
        and new.state != State.RETIRING
        and old.overlap_until is not None
        and old.overlap_until > now
    )
    return Watch(
        new=_watched(new, uses[new.pk], twins, switched_at, now),
        old=_watched(old, uses[old.pk], twins, switched_at, now),
        switched_at=switched_at,
        overlap_until=old.overlap_until if is_open else None,
        hours=_hours(uses[old.pk], uses[new.pk], since=switched_at, now=now),
    )


def _pair(credential: Credential) -> tuple[Credential, Credential] | None:
    """The key before and the key after the last switch: the two that were activated last."""
    used = keys.listing().filter(slot=credential.slot_id, activated_at__isnull=False)
    newest = list(used.order_by("-activated_at", "pk")[:2])
    if len(newest) < 2 or credential.pk not in {row.pk for row in newest}:
        return None
    return newest[1], newest[0]


def _watched(
    row: Credential,
    uses: Mapping[datetime, int],
    twins: usage.Twins,
    switched_at: datetime,
    now: datetime,
) -> Watched:
    around = uses.get(_hour(switched_at), 0)
    return Watched(
        credential=row,
        around=around,
        uses=sum(uses.values()) - around,
        idle_since=usage.idle_since(row, twins),
        safe_to_delete=usage.is_safe_to_delete(row, now=now, others=twins),
    )


def _uses(rows: Sequence[Credential], *, since: datetime) -> Mapping[UUID, Mapping[datetime, int]]:
    found: dict[UUID, dict[datetime, int]] = defaultdict(dict)
    counted = KeyUse.objects.filter(credential__in=rows, hour__gte=_hour(since))
    for row in counted:
        found[row.credential_id][row.hour] = row.signed + row.opened
    return found


def _hours(
    old: Mapping[datetime, int], new: Mapping[datetime, int], *, since: datetime, now: datetime
) -> list[Hour]:
    last = _hour(now)
    first = max(_hour(since), last - (MOST_HOURS - 1) * _HOUR)
    count = max(0, (last - first) // _HOUR + 1)
    begins = [first + step * _HOUR for step in range(count)]
    return [Hour(begins=hour, old=old.get(hour, 0), new=new.get(hour, 0)) for hour in begins]


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
