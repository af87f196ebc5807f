"""Put a key into use, switch from one to the next, switch back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet

from django_cybs_jwt.exceptions import InvalidTransition
from django_cybs_jwt.models import Credential, KeySlot, State, Verdict
from django_cybs_jwt.services import approvals, audit, epoch, lifecycle
from django_cybs_jwt.services.lifecycle import Action

OVERLAPS: Final = {
    "now": timedelta(0),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
DEFAULT_OVERLAP: Final = OVERLAPS["24h"]
LONGEST_OVERLAP: Final = timedelta(days=30)


def activate(
    credential: Credential, *, actor: str, now: datetime, reason: str = "initial import"
) -> Credential:
    """Make a key the first ACTIVE one of its slot; the network is never used.

    Only a slot that never had an active key takes one unverified, else InvalidTransition.
    """
    with (
        audit.denials(Action.ACTIVATE, actor=actor, organization=credential.organization),
        transaction.atomic(),
    ):
        current = lifecycle.locked(credential.pk)
        if current.slot.credentials.exclude(activated_at=None).exists():
            raise InvalidTransition(
                f"Slot {str(current.slot)!r} has had an active key. "
                "Import without --activate, then verify the key and rotate to it."
            )
        _check_not_ended(current, now)
        approvals.require(Action.ACTIVATE, current, now=now)
        lifecycle.move(current, Action.ACTIVATE, actor=actor, now=now, reason=reason)
    return current


def rotate(
    credential: Credential,
    *,
    actor: str,
    now: datetime,
    overlap: timedelta = DEFAULT_OVERLAP,
    at: datetime | None = None,
    force: bool = False,
    reason: str = "",
) -> Credential:
    """Make *credential* the active key of its slot, at once or at the time *at*.

    The key before it retires after *overlap*: until then one step rolls back.
    Refused for a key that is not VERIFIED, and inside an open overlap, unless forced with a reason.
    """
    with (
        audit.denials(Action.ACTIVATE, actor=actor, organization=credential.organization),
        transaction.atomic(),
    ):
        settle(credential.slot, now=now)
        current = lifecycle.locked(credential.pk)
        _check(current, now=now, at=at, overlap=overlap, force=force, reason=reason)
        approvals.require(Action.ACTIVATE, current, now=now)
        if at is not None and at > now:
            _schedule(current, at, overlap, actor=actor, now=now, reason=reason)
        else:
            _switch(current, overlap, actor=actor, now=now, reason=reason)
    return current


def roll_back(slot: KeySlot, *, actor: str, now: datetime, reason: str = "") -> Credential:
    """Make the RETIRING key of an open overlap active again; the newer one retires.

    Replies under either key ID still decrypt. Lowers exposure: one person does it.
    The overlap is closed by it, so that the next rotation is not refused.
    """
    with (
        audit.denials(Action.ROLL_BACK, actor=actor, organization=slot.organization),
        transaction.atomic(),
    ):
        settle(slot, now=now)
        found = _open_overlap(slot, now)
        if found is None:
            raise InvalidTransition(f"Slot {str(slot)!r} has no open overlap to roll back in.")
        older = lifecycle.locked(found.pk)
        lifecycle.target(Action.ROLL_BACK, older)
        _check_not_ended(older, now)
        newer = slot.credentials.filter(state=State.ACTIVE).first()
        if newer is not None:
            newer = lifecycle.locked(newer.pk)
            lifecycle.move(newer, Action.SUPERSEDE, actor=actor, now=now, reason=reason)
        lifecycle.move(older, Action.ROLL_BACK, actor=actor, now=now, reason=reason)
    return older


def unschedule(
    credential: Credential, *, actor: str, now: datetime, reason: str = ""
) -> Credential:
    """Take back a switch that is planned for later."""
    with (
        audit.denials("unschedule", actor=actor, organization=credential.organization),
        transaction.atomic(),
    ):
        settle(credential.slot, now=now)
        current = lifecycle.locked(credential.pk)
        if current.activate_at is None:
            raise InvalidTransition(f"No switch to {current.key_id} is planned.")
        _cancel(current, actor=actor, now=now, reason=reason)
        epoch.bump()
    return current


def settle(slot: KeySlot, *, now: datetime, actor: str = "schedule") -> None:
    """Carry out what time has decided in *slot* already, in the caller's transaction.

    Every change of a slot begins with it, so that it meets the keys that really sign.
    """
    for pk in slot.credentials.filter(activate_at__lte=now).values_list("pk", flat=True):
        _activate_due(lifecycle.locked(pk), actor=actor, now=now)


def carry_out_due(*, now: datetime, actor: str = "schedule") -> list[Credential]:
    """Do the activations whose time has come, and retire the keys whose overlap is over."""
    scheduled = Credential.objects.filter(activate_at__lte=now).order_by("activate_at")
    over = Credential.objects.filter(state=State.RETIRING).filter(_is_over(now))
    return [
        *_each(scheduled, lambda row: _activate_due(row, actor=actor, now=now)),
        *_each(over, lambda row: _retire_due(row, actor=actor, now=now)),
    ]


def _each(rows: QuerySet[Credential], act: Callable[[Credential], bool]) -> Iterator[Credential]:
    for pk in list(rows.values_list("pk", flat=True)):
        with transaction.atomic():
            row = lifecycle.locked(pk)
            if act(row):
                yield row


def _activate_due(row: Credential, *, actor: str, now: datetime) -> bool:
    if row.activate_at is None or row.activate_at > now:
        return False
    _switch(row, _planned(row), actor=actor, now=now, reason="scheduled")
    return True


def _retire_due(row: Credential, *, actor: str, now: datetime) -> bool:
    if row.state != State.RETIRING:
        return False
    lifecycle.move(row, Action.RETIRE, actor=actor, now=now, reason="overlap over")
    return True


def _is_over(now: datetime) -> Q:
    rolled_back = Q(overlap_until=None, retiring_at__lte=now - DEFAULT_OVERLAP)
    return Q(overlap_until__lte=now) | rolled_back


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
        raise InvalidTransition(f"{credential.key_id} is in an open overlap: roll back instead.")
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise InvalidTransition(f"An overlap is between 0 and {LONGEST_OVERLAP.days} days.")
    _check_not_ended(credential, at or now)
    if force and not reason:
        raise InvalidTransition("Forcing takes a reason.")
    refused = credential.verify_outcome == Verdict.REFUSED
    if not force and (credential.verified_at is None or refused):
        raise InvalidTransition(
            f"{credential.key_id} is not verified. Run `manage.py cybs_verify`, "
            "or force it with a reason."
        )
    open_one = _open_overlap(credential.slot, now)
    if not force and open_one is not None:
        until = f"{open_one.overlap_until:%Y-%m-%d %H:%M} UTC"
        raise InvalidTransition(
            f"{open_one.key_id} is in its overlap until {until}. "
            "Roll back, wait, or force it with a reason."
        )


def _check_not_ended(credential: Credential, moment: datetime) -> None:
    ends, begins = credential.expires_at, credential.not_before
    if ends is not None and ends <= moment:
        raise InvalidTransition(f"{credential.key_id} ended on {ends:%Y-%m-%d}.")
    if begins is not None and begins > moment:
        raise InvalidTransition(f"{credential.key_id} begins on {begins:%Y-%m-%d}.")


def _schedule(
    credential: Credential,
    at: datetime,
    overlap: timedelta,
    *,
    actor: str,
    now: datetime,
    reason: str,
) -> None:
    credential.activate_at = at
    credential.overlap_until = at + overlap
    lifecycle.save(credential)
    planned = f"at {at.isoformat()}, overlap {overlap}"
    entry = audit.Entry(
        action="schedule",
        actor=actor,
        organization=str(credential.organization),
        credential=credential,
        from_state=credential.state,
        to_state=State.ACTIVE,
        reason=f"{planned}; {reason}" if reason else planned,
    )
    audit.record(entry, now=now)
    epoch.bump()


def _planned(credential: Credential) -> timedelta:
    if credential.activate_at is None or credential.overlap_until is None:
        return DEFAULT_OVERLAP
    return credential.overlap_until - credential.activate_at


def _switch(
    credential: Credential, overlap: timedelta, *, actor: str, now: datetime, reason: str
) -> None:
    current = credential.slot.credentials.filter(state=State.ACTIVE).first()
    if current is not None:
        _supersede(current, now + overlap, actor=actor, now=now, reason=reason)
    _unschedule(credential, actor=actor, now=now)
    lifecycle.move(credential, Action.ACTIVATE, actor=actor, now=now, reason=reason)


def _unschedule(chosen: Credential, *, actor: str, now: datetime) -> None:
    """A switch made now overrides those planned for later."""
    planned = chosen.slot.credentials.exclude(activate_at=None).exclude(pk=chosen.pk)
    for row in planned:
        _cancel(row, actor=actor, now=now, reason=f"{chosen.key_id} was activated")


def _cancel(row: Credential, *, actor: str, now: datetime, reason: str) -> None:
    row.activate_at = row.overlap_until = None
    lifecycle.save(row)
    entry = audit.Entry(
        action="unschedule",
        actor=actor,
        organization=str(row.organization),
        credential=row,
        from_state=row.state,
        reason=reason,
    )
    audit.record(entry, now=now)


def _supersede(
    credential: Credential, until: datetime, *, actor: str, now: datetime, reason: str
) -> None:
    credential = lifecycle.locked(credential.pk)
    if until <= now:
        lifecycle.move(credential, Action.RETIRE, actor=actor, now=now, reason=reason)
        return
    credential.overlap_until = until
    lifecycle.move(credential, Action.SUPERSEDE, actor=actor, now=now, reason=reason)


def _open_overlap(slot: KeySlot, now: datetime) -> Credential | None:
    found = slot.credentials.filter(state=State.RETIRING, overlap_until__gt=now)
    return found.order_by("-retiring_at").first()
