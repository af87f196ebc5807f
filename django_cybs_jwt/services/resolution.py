"""Which key signs for a merchant, and why. Pure over rows; the order is design, not accident.

1. the merchant's own slot
2. a slot that selects the merchant
3. the nearest ancestor's slot that covers all its descendants

A level whose current key is suspended, compromised or ended is an error: another key never
takes over silently. A level with no key, or only staged and retired ones, is passed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Exists, OuterRef, Q

from django_cybs_jwt.exceptions import KeyNotUsable, NoKey
from django_cybs_jwt.models import Coverage, Credential, KeySlot, Organization, Purpose, State
from django_cybs_jwt.services import overlaps

logger = logging.getLogger(__name__)

# A slot's newest activated key in one of these states stops the search, RETIRING in its overlap.
STOPS: Final = frozenset({State.SUSPENDED, State.COMPROMISED, State.RETIRING})
OPENS_REPLIES: Final = frozenset({State.ACTIVE, State.RETIRING, State.RETIRED})


@dataclass(frozen=True, slots=True)
class Level:
    """One place that was looked at, and the keys found there."""

    where: str
    credentials: tuple[Credential, ...]
    owner: Organization | None = None


def candidates(merchant: Organization) -> list[Credential]:
    """Every key that could matter for *merchant*, `selects` marking slots that select it.

    One query; sealed P12 files stay in the database.
    """
    selecting = KeySlot.objects.filter(merchants=merchant)
    return list(
        Credential.objects.order_by()
        .select_related("slot", "organization")
        .defer("sealed_p12", "certificate")
        .exclude(state=State.DESTROYED)
        .filter(
            Q(organization__in=[row.pk for row in merchant.chain()])
            | Q(organization__in=selecting.values("organization"))
        )
        .annotate(selects=Exists(selecting.filter(pk=OuterRef("slot"))))
    )


def signing_key(merchant: Organization, rows: Sequence[Credential], *, now: datetime) -> Credential:
    """The key that signs for *merchant*, or NoKey or KeyNotUsable."""
    found = _search(levels(merchant, rows, Purpose.SIGNING), now=now)
    if found is None:
        looked = ", ".join(level.where for level in levels(merchant, rows, Purpose.SIGNING))
        raise NoKey(
            f"No active signing key for {merchant}. Looked at: {looked}. "
            "Import one with `manage.py cybs_import ORG_ID FILE --purpose signing --activate`."
        )
    return found


def response_key(
    merchant: Organization,
    owner: Organization,
    rows: Sequence[Credential],
    *,
    now: datetime,
) -> Credential | None:
    """The Response MLE key to announce: always one of the signing key's owner.

    Under a meta key a slot that covers the merchant goes before the owner's plain one.
    """
    return _search(_response_levels(merchant, owner, rows, now=now), now=now)


def deciding_signing_key(
    merchant: Organization, rows: Sequence[Credential], *, now: datetime
) -> Credential | None:
    """The key that decides about *merchant*: it signs or, where it may not, none does."""
    found = _deciding(levels(merchant, rows, Purpose.SIGNING), now=now)
    return found[1][0] if found else None


def deciding_response_key(
    merchant: Organization, owner: Organization, rows: Sequence[Credential], *, now: datetime
) -> Credential | None:
    """The Response MLE key that decides, in the sense of `deciding_signing_key`."""
    found = _deciding(_response_levels(merchant, owner, rows, now=now), now=now)
    return found[1][0] if found else None


def levels(merchant: Organization, rows: Sequence[Credential], purpose: Purpose) -> Iterator[Level]:
    """The places that are looked at for *merchant*, in their order."""
    mine = [row for row in rows if _is(row, purpose)]

    def pick(test: Callable[[Credential], bool]) -> tuple[Credential, ...]:
        return tuple(row for row in mine if test(row))

    yield Level(f"{merchant.org_id}'s own key", pick(lambda row: row.organization == merchant))
    yield Level("meta keys that select it", pick(_selects))
    for ancestor in merchant.chain()[1:]:
        yield Level(
            f"{ancestor.org_id}'s meta key",
            pick(
                lambda row, ancestor=ancestor: (
                    row.organization == ancestor  # type: ignore[misc]
                    and row.slot.coverage == Coverage.ALL
                )
            ),
            ancestor,
        )


def _response_levels(
    merchant: Organization, owner: Organization, rows: Sequence[Credential], *, now: datetime
) -> list[Level]:
    own = [row for row in rows if _is(row, Purpose.RESPONSE_MLE) and row.organization == owner]
    if not any(in_force(row, now) for row in own):
        return []
    covering = [row for row in own if _covers(row, merchant, owner)]
    plain = [row for row in own if row.slot.coverage == Coverage.OWN]
    return [
        Level(f"{owner} for {merchant.org_id}", tuple(covering)),
        Level(str(owner), tuple(plain)),
    ]


def _search(levels: Iterable[Level], *, now: datetime) -> Credential | None:
    found = _deciding(levels, now=now)
    if found is None:
        return None
    level, (row, *others) = found
    if others:
        logger.warning("%s: %d active keys, using the newest", level.where, len(others) + 1)
    if not in_force(row, now):
        raise KeyNotUsable(
            f"{level.where}: {row.key_id} is {row.state}. "
            "Activate another key there, or retire this one to let the next level sign."
        )
    if row.expires_at is not None and row.expires_at <= now:
        raise KeyNotUsable(
            f"{level.where}: {row.key_id} ended on {row.expires_at:%Y-%m-%d}. "
            "Import its successor and activate it."
        )
    return row


def _deciding(levels: Iterable[Level], *, now: datetime) -> tuple[Level, list[Credential]] | None:
    """The first level that decides, with its keys in force, newest first, or the one that stops."""
    for level in levels:
        active = _active(level.credentials, now)
        if active:
            return level, sorted(active, key=_activation, reverse=True)
        stopping = [row for row in _current(level.credentials) if _stops(row, now)]
        if stopping:
            return level, stopping[:1]
    return None


def in_force(row: Credential, now: datetime) -> bool:
    """True for an ACTIVE key, and for one whose scheduled time has come, ticked or not."""
    return row.state == State.ACTIVE or _is_due(row, now)


def _stops(row: Credential, now: datetime) -> bool:
    return row.state in STOPS and not overlaps.has_ended(row, now)


def _is_due(row: Credential, now: datetime) -> bool:
    return row.activate_at is not None and row.activate_at <= now


def _active(rows: Iterable[Credential], now: datetime) -> list[Credential]:
    """Per slot the key in force: a due one has taken over from the ACTIVE one."""
    chosen: dict[object, Credential] = {}
    for row in rows:
        if in_force(row, now):
            before = chosen.get(row.slot_id)
            if before is None or _activation(row) > _activation(before):
                chosen[row.slot_id] = row
    return list(chosen.values())


def _current(rows: Iterable[Credential]) -> list[Credential]:
    """Per slot, the key that was activated last; a time that is only planned does not count."""
    newest: dict[object, Credential] = {}
    for _, _, row in sorted(
        (row.activated_at, row.pk, row) for row in rows if row.activated_at is not None
    ):
        newest[row.slot_id] = row
    return list(newest.values())


def _activation(row: Credential) -> tuple[bool, float, int]:
    """When it came into force; of several at one moment every process takes the same one."""
    moment = row.activate_at or row.activated_at
    return moment is not None, moment.timestamp() if moment else 0.0, row.pk.int


def _is(row: Credential, purpose: Purpose) -> bool:
    return row.slot.purpose == purpose


def _selects(row: Credential) -> bool:
    return bool(row.selects) and row.slot.coverage == Coverage.SELECTED  # type: ignore[attr-defined]


def _covers(row: Credential, merchant: Organization, owner: Organization) -> bool:
    if merchant == owner:
        return True
    return _selects(row) or row.slot.coverage == Coverage.ALL
