"""Which key signs for a merchant, and why. Pure over rows; the order is design, not accident.

1. the merchant's own slot
2. a slot that selects the merchant
3. the nearest ancestor's slot that covers all its descendants

At a level the key that was activated last decides. Where it is suspended, compromised or ended
that is an error: another key never takes over silently. Nor does one because such a key was
destroyed, which is the only way out of COMPROMISED: it stops the search until another is activated
there, or until it is released. A level with no key, or only staged and retired ones, is passed;
what becomes of a retired key afterwards stops nobody.
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
from django_cybs_jwt.texts import Text, listed

logger = logging.getLogger(__name__)

# A slot's newest activated key in one of these states stops the search: unless it was retired
# before, or is RETIRING and its overlap is over. Of those that are DESTROYED, whoever reads rows
# reads only what COUNTS.
STOPS: Final = frozenset({State.SUSPENDED, State.COMPROMISED, State.RETIRING, State.DESTROYED})
OPENS_REPLIES: Final = frozenset({State.ACTIVE, State.RETIRING, State.RETIRED})

STILL_STOPS: Final = Q(
    Q(suspended_at__isnull=False) | Q(compromised_at__isnull=False),
    state=State.DESTROYED,
    activated_at__isnull=False,
    retired_at=None,
)
"""Destroyed while it was suspended or compromised, and not released since."""

COUNTS: Final = ~Q(state=State.DESTROYED) | STILL_STOPS
"""The keys that the search looks at."""

_CURES: Final = {
    State.SUSPENDED: Text(
        "Resume it, activate another key there, or retire this one to let the next level sign."
    ),
    State.RETIRING: Text(
        "Activate another key there, or retire this one to let the next level sign."
    ),
    State.COMPROMISED: Text(
        "Import another key there and activate it. "
        "To let the next level sign, destroy this one and release it."
    ),
    State.DESTROYED: Text(
        "Import another key there and activate it, or let the next level sign: "
        "`manage.py cybs_keys release ID`."
    ),
}

_OWN: Final = Text("{of}'s own key")
_SELECTED: Final = Text("meta keys that select it")
_META: Final = Text("{of}'s meta key")
_RESPONSE: Final = Text("{of}")


@dataclass(frozen=True, slots=True)
class Level:
    """One place that was looked at, and the keys found there."""

    place: Text
    of: object
    credentials: tuple[Credential, ...]
    owner: Organization | None = None

    @property
    def where(self) -> Text:
        """The place in words; made when it is told, as many are looked at."""
        return Text(self.place, of=self.of)


def candidates(merchant: Organization) -> list[Credential]:
    """Every key that could matter for *merchant*, `selects` marking slots that select it.

    One query; sealed P12 files stay in the database.
    """
    selecting = KeySlot.merchants.through.objects.filter(organization=merchant)
    above = Organization.objects.order_by().filter(pk__in=[row.pk for row in merchant.chain()])
    # A union: for an OR PostgreSQL reads every key that is stored.
    owners = above.values("pk").union(selecting.values("keyslot__organization")).order_by()
    return list(
        Credential.objects.order_by()
        .select_related("slot", "organization")
        .defer("sealed_p12", "certificate")
        .filter(COUNTS, organization__in=owners)
        .annotate(selects=Exists(selecting.filter(keyslot=OuterRef("slot"))))
    )


def signing_key(merchant: Organization, rows: Sequence[Credential], *, now: datetime) -> Credential:
    """The key that signs for *merchant*, or NoKey or KeyNotUsable."""
    found = _search(levels(merchant, rows, Purpose.SIGNING), now=now)
    if found is None:
        looked = listed(level.where for level in levels(merchant, rows, Purpose.SIGNING))
        _check_selected(merchant, rows, looked, now=now)
        raise NoKey(
            "No active signing key for {merchant}. Looked at: {looked}. "
            "Import one with `manage.py cybs_import ORG_ID FILE --purpose signing --activate`.",
            page="No active signing key for {merchant}. Looked at: {looked}. "
            "Import one and activate it.",
            merchant=merchant,
            looked=looked,
        )
    return found


def _check_selected(
    merchant: Organization, rows: Sequence[Credential], looked: Text, *, now: datetime
) -> None:
    """NoKey that names the meta key above, where one signs for others and was not told to here."""
    above = merchant.chain()[1:]
    for row in rows:
        selecting = row.slot.coverage == Coverage.SELECTED and row.organization in above
        if _is(row, Purpose.SIGNING) and selecting and in_force(row, now):
            raise NoKey(
                "No active signing key for {merchant}. Looked at: {looked}. The meta key of "
                "{owner} does not select it: `manage.py cybs_meta {owner} add {merchant}{slot}`.",
                page="No active signing key for {merchant}. Looked at: {looked}. The meta key of "
                "{owner} does not select it: choose it there.",
                merchant=merchant,
                looked=looked,
                owner=row.organization,
                slot=f" --slot {row.slot.name}" if row.slot.name else "",
            )


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

    yield Level(_OWN, merchant.org_id, pick(lambda row: row.organization == merchant))
    yield Level(_SELECTED, merchant.org_id, pick(_selects))
    for ancestor in merchant.chain()[1:]:
        yield Level(
            _META,
            ancestor.org_id,
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
        Level(_RESPONSE, f"{owner} for {merchant.org_id}", tuple(covering)),
        Level(_RESPONSE, owner, tuple(plain)),
    ]


def _search(levels: Iterable[Level], *, now: datetime) -> Credential | None:
    found = _deciding(levels, now=now)
    if found is None:
        return None
    level, (row, *others) = found
    if not in_force(row, now):
        cure = _CURES[State(row.state)]
        raise KeyNotUsable(
            "{where}: {key_id} is {state}. {cure}",
            where=level.where,
            key_id=row.key_id,
            state=row.state,
            cure=cure,
        )
    if row.expires_at is not None and row.expires_at <= now:
        raise KeyNotUsable(
            "{where}: {key_id} ended on {ends:%Y-%m-%d}. Import its successor and activate it.",
            where=level.where,
            key_id=row.key_id,
            ends=row.expires_at,
        )
    active = 1 + sum(in_force(other, now) for other in others)
    if active > 1:
        logger.warning("%s: %d active keys, using the newest", level.where.english, active)
    return row


def _deciding(levels: Iterable[Level], *, now: datetime) -> tuple[Level, list[Credential]] | None:
    """The first level that decides, with the keys that do, the newest activation first."""
    for level in levels:
        deciding = [
            row
            for row in _current(level.credentials, now)
            if in_force(row, now) or _stops(row, now)
        ]
        if deciding:
            return level, sorted(deciding, key=lambda row: _activation(row, now), reverse=True)
    return None


def in_slot(rows: Iterable[Credential], now: datetime) -> Credential | None:
    """Of one slot's keys the one in force, ticked or not."""
    return next((row for row in _current(rows, now) if in_force(row, now)), None)


def stops_slot(row: Credential, rows: Iterable[Credential], now: datetime) -> bool:
    """True if *row*, of one slot's *rows*, is why no key of the slot signs, and none above it."""
    is_current = any(one.pk == row.pk for one in _current(rows, now))
    return is_current and not in_force(row, now) and _stops(row, now)


def in_force(row: Credential, now: datetime) -> bool:
    """True for an ACTIVE key, and for one whose scheduled time has come, ticked or not."""
    return row.state == State.ACTIVE or _is_due(row, now)


def _is_due(row: Credential, now: datetime) -> bool:
    return row.activate_at is not None and row.activate_at <= now


def turns_at(row: Credential) -> datetime | None:
    """When time alone changes what a key is here: it comes into force, or its overlap is over."""
    return row.activate_at or overlaps.ends(row)


def _stops(row: Credential, now: datetime) -> bool:
    """A retired key's place was given up before: what befell the key later changes nothing."""
    was_retired = row.retired_at is not None or overlaps.has_ended(row, now)
    return row.state in STOPS and not was_retired


def _current(rows: Iterable[Credential], now: datetime) -> Iterable[Credential]:
    """Per slot the key in force, of which a due one has taken over; else the last that was."""
    current: dict[object, Credential] = {}
    for row in sorted(rows, key=lambda row: (in_force(row, now), _activation(row, now))):
        if in_force(row, now) or row.activated_at is not None:
            current[row.slot_id] = row
    return current.values()


def _activation(row: Credential, now: datetime) -> tuple[float, int]:
    """When it came into force, however far off a time that is only planned.

    Of several at one moment every process takes the same one.
    """
    moment = row.activate_at if _is_due(row, now) else row.activated_at
    return moment.timestamp() if moment else 0.0, row.pk.int


def _is(row: Credential, purpose: Purpose) -> bool:
    return row.slot.purpose == purpose


def _selects(row: Credential) -> bool:
    return bool(row.selects) and row.slot.coverage == Coverage.SELECTED  # type: ignore[attr-defined]


def _covers(row: Credential, merchant: Organization, owner: Organization) -> bool:
    if merchant == owner:
        return True
    return _selects(row) or row.slot.coverage == Coverage.ALL
