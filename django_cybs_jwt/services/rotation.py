"""Put a key into use, switch from one to the next, switch back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from django_cybs_jwt.exceptions import InvalidTransition
from django_cybs_jwt.models import Credential, KeySlot, State, Verdict
from django_cybs_jwt.services import (
    approvals,
    audit,
    lifecycle,
    overlaps,
    plans,
    proven,
    resolution,
)
from django_cybs_jwt.services.lifecycle import Action


def activate(
    credential: Credential, *, actor: str, now: datetime, reason: str = "initial import"
) -> Credential:
    """Make a key the first ACTIVE one of its slot; the network is never used.

    Only a slot that never had an active key takes one unverified, and none takes one that was
    refused, else InvalidTransition.
    """
    with (
        audit.denials_of(credential, Action.ACTIVATE, actor=actor, now=now),
        transaction.atomic(),
    ):
        settle(credential.slot, now=now)
        current = lifecycle.locked(credential.pk)
        if current.slot.credentials.exclude(activated_at=None).exists():
            raise InvalidTransition(
                "Slot {slot!r} has had an active key. "
                "Import without --activate, then verify the key and rotate to it.",
                slot=current.slot.named,
            )
        if current.verify_outcome == Verdict.REFUSED:
            raise InvalidTransition(
                "{key_id} failed its last verification. Verify it again, or rotate to it "
                "by force, with a reason.",
                key_id=current.key_id,
            )
        check_not_ended(current, now)
        approvals.require(Action.ACTIVATE, current, now=now)
        plans.override(current, actor=actor, now=now)
        lifecycle.move(current, Action.ACTIVATE, actor=actor, now=now, reason=reason)
    return current


def rotate(
    credential: Credential,
    *,
    actor: str,
    now: datetime,
    overlap: timedelta = overlaps.DEFAULT,
    at: datetime | None = None,
    force: bool = False,
    reason: str = "",
    replaces: str | None = None,
) -> Credential:
    """Make *credential* the active key of its slot, at once or at the time *at*, which is to come.

    The key before it retires after *overlap*: until then one step rolls back.
    Refused for a key that is not VERIFIED, and inside an open overlap, unless forced with a reason;
    and to be planned where another switch is. One that is made at once overrides it.

    *replaces* is what `active_id` said to whoever decided this, when they looked; by default what
    it says at this moment. Refused if that is another key by now: of many at once, one wins.
    """
    # In UTC: a day added in a zone of its own would have 23 hours in spring.
    now, at = now.astimezone(UTC), in_utc(at) if at else None
    seen = active_id(credential.slot, now=now) if replaces is None else replaces
    with (
        audit.denials_of(credential, Action.ACTIVATE, actor=actor, now=now),
        transaction.atomic(),
    ):
        settle(credential.slot, now=now)
        current = lifecycle.locked(credential.pk)
        _check_replaces(seen, current.slot, now)
        _check(current, now=now, at=at, overlap=overlap, force=force, reason=reason)
        approvals.require(Action.ACTIVATE, current, now=now)
        if at is not None:
            plans.check_none_beside(current)
            plans.make(current, at, overlap, actor=actor, now=now, reason=reason)
        else:
            plans.override(current, actor=actor, now=now)
            _switch(current, overlap, actor=actor, now=now, reason=reason)
    return current


def roll_back(
    slot: KeySlot, *, actor: str, now: datetime, reason: str = "", replaces: str | None = None
) -> Credential:
    """Make the RETIRING key of an open overlap active again; the newer one retires.

    Replies under either key ID still decrypt. Lowers exposure: one person does it.
    Every overlap of the slot is closed by it, so that the next rotation is not refused and a
    second step back leads to no older key: still older ones retire. And what was planned there
    is taken back: it followed upon the key that did not do. *replaces* is as in `rotate`.
    """
    now = now.astimezone(UTC)
    seen = active_id(slot, now=now) if replaces is None else replaces
    with (
        audit.denials(
            Action.ROLL_BACK,
            actor=actor,
            organization=slot.organization,
            credential=_newest(slot),
            now=now,
        ),
        transaction.atomic(),
    ):
        KeySlot.objects.select_for_update().get(pk=slot.pk)
        settle(slot, now=now)
        _check_replaces(seen, slot, now)
        found = _open_overlap(slot, now)
        if found is None:
            raise InvalidTransition(
                "Slot {slot!r} has no open overlap to roll back in.", slot=slot.named
            )
        older = lifecycle.locked(found.pk)
        lifecycle.target(Action.ROLL_BACK, older)
        check_not_ended(older, now)
        plans.override(older, actor=actor, now=now)
        newer = slot.credentials.filter(state=State.ACTIVE).first()
        if newer is not None:
            newer = lifecycle.locked(newer.pk)
            lifecycle.move(newer, Action.SUPERSEDE, actor=actor, now=now, reason=reason)
        lifecycle.move(older, Action.ROLL_BACK, actor=actor, now=now, reason=reason)
        _close_overlaps(older, actor=actor, now=now)
    return older


def active_id(slot: KeySlot, *, now: datetime) -> str:
    """The id of the key that is in force in a slot, ticked or not; empty where none is."""
    rows = slot.credentials.only("slot", "state", "activated_at", "activate_at")
    found = resolution.in_slot(rows, now)
    return str(found.pk) if found else ""


def unschedule(
    credential: Credential, *, actor: str, now: datetime, reason: str = ""
) -> Credential:
    """Take back a switch that is planned for later."""
    with (
        audit.denials_of(credential, "unschedule", actor=actor, now=now),
        transaction.atomic(),
    ):
        settle(credential.slot, now=now)
        current = lifecycle.locked(credential.pk)
        if current.activate_at is None:
            raise InvalidTransition("No switch to {key_id} is planned.", key_id=current.key_id)
        plans.take_back(current, actor=actor, now=now, reason=reason)
    return current


def settle(slot: KeySlot, *, now: datetime, actor: str = "schedule") -> None:
    """Carry out what time has decided in *slot* already, in the caller's transaction.

    Every change of a slot begins with it, so that it meets the keys that really sign.
    """
    list(_carry_out(slot.credentials.all(), actor=actor, now=now.astimezone(UTC)))


def carry_out_due(*, now: datetime, actor: str = "schedule") -> list[Credential]:
    """Do the activations whose time has come, and retire the keys whose overlap is over."""
    return list(_carry_out(Credential.objects.all(), actor=actor, now=now.astimezone(UTC)))


def _carry_out(rows: QuerySet[Credential], *, actor: str, now: datetime) -> Iterator[Credential]:
    scheduled = rows.filter(activate_at__lte=now).order_by("activate_at", "pk")
    yield from _each(scheduled, lambda row: _activate_due(row, actor=actor, now=now))
    over = rows.filter(overlaps.is_over(now))
    yield from _each(over, lambda row: _retire_due(row, actor=actor, now=now))


def _each(rows: QuerySet[Credential], act: Callable[[Credential], bool]) -> Iterator[Credential]:
    for pk in list(rows.values_list("pk", flat=True)):
        with transaction.atomic():
            row = lifecycle.locked(pk)
            if act(row):
                yield row


def _activate_due(row: Credential, *, actor: str, now: datetime) -> bool:
    """As at its time, however late: it came into force then, and its overlap began."""
    if row.activate_at is None or row.activate_at > now:
        return False
    moment, overlap = row.activate_at, plans.overlap_of(row)
    _switch(row, overlap, actor=actor, now=now, since=moment, reason="scheduled")
    return True


def _retire_due(row: Credential, *, actor: str, now: datetime) -> bool:
    if not overlaps.has_ended(row, now):
        return False
    since = overlaps.ends(row)
    lifecycle.move(row, Action.RETIRE, actor=actor, now=now, since=since, reason="overlap over")
    return True


def _check(
    credential: Credential,
    *,
    now: datetime,
    at: datetime | None,
    overlap: timedelta,
    force: bool,
    reason: str,
) -> None:
    lifecycle.target(Action.ACTIVATE, credential)
    in_overlap = credential.overlap_until is not None and credential.overlap_until > now
    if in_overlap and credential.activate_at is None:
        raise InvalidTransition(
            "{key_id} is in an open overlap: roll back instead.", key_id=credential.key_id
        )
    if not timedelta(0) <= overlap <= overlaps.LONGEST:
        raise InvalidTransition(
            "An overlap is between 0 and {most} days.", most=overlaps.LONGEST.days
        )
    if at is not None and at <= now:
        raise InvalidTransition(
            "{at:%Y-%m-%d %H:%M:%S %Z} is past. Give no time to switch now.", at=at
        )
    moment = at or now
    check_not_ended(credential, moment)
    if force and not reason:
        raise InvalidTransition("Forcing takes a reason.")
    if not force and proven.takes_force(credential):
        raise InvalidTransition(
            "{key_id} is not verified. Run `manage.py cybs_verify`, or force it with a reason.",
            page="{key_id} is not verified. Verify it first, or force it with a reason.",
            key_id=credential.key_id,
        )
    open_one = _open_overlap(credential.slot, moment)
    if not force and open_one is not None:
        raise InvalidTransition(
            "{key_id} is in its overlap until {until:%Y-%m-%d %H:%M UTC}. "
            "Roll back, wait, or force it with a reason.",
            key_id=open_one.key_id,
            until=open_one.overlap_until,
        )


def _check_replaces(seen: str, slot: KeySlot, now: datetime) -> None:
    found = active_id(slot, now=now)
    if found != seen:
        kid = slot.credentials.get(pk=found).key_id if found else "none"
        raise InvalidTransition(
            "The active key of slot {slot!r} was another one when this was decided; "
            "now it is {kid}. Look again.",
            slot=slot.named,
            kid=kid,
        )


def in_utc(at: datetime) -> datetime:
    """The same moment, or InvalidTransition where an overlap from then on has no end."""
    try:
        over = at.astimezone(UTC) + overlaps.LONGEST
    except OverflowError:
        raise InvalidTransition("That time is beyond the calendar.") from None
    return over - overlaps.LONGEST


def check_not_ended(credential: Credential, moment: datetime) -> None:
    """InvalidTransition for a key that has ended by then, or has not begun."""
    ends, begins = credential.expires_at, credential.not_before
    if ends is not None and ends <= moment:
        raise InvalidTransition(
            "{key_id} ended on {ends:%Y-%m-%d}.", key_id=credential.key_id, ends=ends
        )
    if begins is not None and begins > moment:
        raise InvalidTransition(
            "{key_id} begins on {begins:%Y-%m-%d}.", key_id=credential.key_id, begins=begins
        )


def _switch(
    credential: Credential,
    overlap: timedelta,
    *,
    actor: str,
    now: datetime,
    reason: str,
    since: datetime | None = None,
) -> None:
    begins = since or now
    current = credential.slot.credentials.filter(state=State.ACTIVE).first()
    if current is not None:
        until = begins + overlap
        _supersede(current, until, actor=actor, now=now, since=begins, reason=reason)
    lifecycle.move(credential, Action.ACTIVATE, actor=actor, now=now, since=begins, reason=reason)


def _supersede(
    credential: Credential,
    until: datetime,
    *,
    actor: str,
    now: datetime,
    since: datetime,
    reason: str,
) -> None:
    credential = lifecycle.locked(credential.pk)
    if until <= now:
        lifecycle.move(credential, Action.RETIRE, actor=actor, now=now, since=until, reason=reason)
        return
    credential.overlap_until = until
    lifecycle.move(credential, Action.SUPERSEDE, actor=actor, now=now, since=since, reason=reason)


def _close_overlaps(chosen: Credential, *, actor: str, now: datetime) -> None:
    """Those that are left end now, that of a suspended key too: it could be resumed."""
    slot, suspended = chosen.slot, Q(state=State.SUSPENDED, suspended_from=State.RETIRING)
    rows = slot.credentials.filter(Q(state=State.RETIRING) | suspended, overlap_until__gt=now)
    for key in list(rows.values_list("pk", flat=True)):
        row = lifecycle.locked(key)
        row.overlap_until = now
        lifecycle.save(row)
        entry = audit.Entry(
            action="close-overlap",
            actor=actor,
            organization=str(row.organization),
            credential=row,
            from_state=row.state,
            to_state=row.state,
            reason=f"{chosen.key_id} was activated",
        )
        audit.record(entry, now=now)
    settle(slot, now=now)


def _newest(slot: KeySlot) -> Credential | None:
    used = slot.credentials.exclude(activated_at=None).defer("sealed_secret", "sealed_p12")
    return used.order_by("-activated_at").first()


def _open_overlap(slot: KeySlot, now: datetime) -> Credential | None:
    return slot.credentials.filter(overlaps.is_open(now)).order_by("-retiring_at").first()
