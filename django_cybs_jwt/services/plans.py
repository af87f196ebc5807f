"""A switch that is planned for later: make the plan, take it back; `rotation` carries it out."""

from __future__ import annotations

from datetime import datetime, timedelta

from django_cybs_jwt.exceptions import InvalidTransition
from django_cybs_jwt.models import Credential, State
from django_cybs_jwt.services import audit, epoch, lifecycle, overlaps


def check_none_beside(credential: Credential) -> None:
    """Two plans would depend on each other: the second on an overlap that has not begun yet."""
    slot = credential.slot
    planned = slot.credentials.exclude(activate_at=None).exclude(pk=credential.pk).first()
    if planned is not None:
        raise InvalidTransition(
            "A switch to {key_id} is planned for {at:%Y-%m-%d %H:%M UTC}. "
            "Take it back first: manage.py cybs_rotate {organization} "
            "--purpose {purpose} --unschedule.",
            page="A switch to {key_id} is planned for {at:%Y-%m-%d %H:%M UTC}. "
            "Take it back first, on the page of that key.",
            key_id=planned.key_id,
            at=planned.activate_at,
            organization=slot.organization,
            purpose=slot.purpose,
        )


def make(
    credential: Credential,
    at: datetime,
    overlap: timedelta,
    *,
    actor: str,
    now: datetime,
    reason: str,
) -> None:
    """Plan a switch to a locked row, with audit row and epoch, in the caller's transaction."""
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


def overlap_of(credential: Credential) -> timedelta:
    """The overlap that a planned switch begins."""
    if credential.activate_at is None or credential.overlap_until is None:
        return overlaps.DEFAULT
    return credential.overlap_until - credential.activate_at


def override(chosen: Credential, *, actor: str, now: datetime) -> None:
    """A switch made now overrides one planned for later."""
    planned = chosen.slot.credentials.exclude(activate_at=None).exclude(pk=chosen.pk)
    # Locked one by one: a re-wrap writes to rows without their slot's lock.
    for key in list(planned.values_list("pk", flat=True)):
        row = lifecycle.locked(key)
        take_back(row, actor=actor, now=now, reason=f"{chosen.key_id} was activated")


def take_back(row: Credential, *, actor: str, now: datetime, reason: str) -> None:
    """Take the plan of a locked row back, with audit row and epoch, in the caller's transaction."""
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
    epoch.bump()
