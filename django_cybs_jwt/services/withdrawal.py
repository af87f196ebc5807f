"""Take a key out of use: suspend and resume, compromise, retire, destroy, discard, release."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from django_cybs_jwt.exceptions import InvalidTransition
from django_cybs_jwt.models import Credential, KeySlot, State
from django_cybs_jwt.services import approvals, audit, epoch, lifecycle, resolution, rotation
from django_cybs_jwt.services.lifecycle import TABLE, Action
from django_cybs_jwt.services.people import person
from django_cybs_jwt.texts import Text


def suspend(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Stop a key for now; nothing signs in its place. Every process obeys within five seconds."""
    return _withdraw(credential, Action.SUSPEND, actor=actor, now=now, reason=reason)


def resume(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Bring a suspended key back to where it was, unless its place is taken or it has ended."""
    return _withdraw(credential, Action.RESUME, actor=actor, now=now, reason=reason)


def compromise(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Mark a key as known to others, on every host; there is no way back.

    Whoever knows it knows it everywhere: `elsewhere` are moved with it, each with its audit row.
    Delete it at the gateway too.
    """
    same = Credential.objects.filter(fingerprint=credential.fingerprint).order_by("pk")
    slots = set(same.values_list("slot", flat=True))
    with (
        audit.denials_of(credential, Action.COMPROMISE, actor=actor, now=now),
        transaction.atomic(),
    ):
        rows = _locked_in_turn(same, slots)
        current = _withdraw(credential, Action.COMPROMISE, actor=actor, now=now, reason=reason)
        for twin in rows:
            if twin != credential and twin.state in TABLE[Action.COMPROMISE].sources:
                _withdraw(twin, Action.COMPROMISE, actor=actor, now=now, reason=reason)
    return current


def elsewhere(credential: Credential) -> QuerySet[Credential]:
    """The same key where one id uses it on other hosts: what `compromise` moves with it."""
    rows = Credential.objects.select_related("organization", "slot").order_by("pk")
    may_move = TABLE[Action.COMPROMISE].sources
    return rows.filter(fingerprint=credential.fingerprint, state__in=may_move).exclude(
        pk=credential.pk
    )


def retire(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Take a key out of use for good: it signs no more and still opens replies under its kid."""
    return _withdraw(credential, Action.RETIRE, actor=actor, now=now, reason=reason)


def destroy(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Overwrite the sealed columns; fingerprint and history stay."""
    return _withdraw(credential, Action.DESTROY, actor=actor, now=now, reason=reason)


def discard(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Destroy one's own upload that was never in use; takes one person."""
    mine = person(credential.uploaded_by) == person(actor)
    if not mine or credential.activated_at is not None:
        by = credential.uploaded_by or Text("somebody else")
        with audit.denials_of(credential, Action.DISCARD, actor=actor, now=now):
            raise InvalidTransition(
                "{key_id} was uploaded by {by}, or was in use: destroy it instead.",
                key_id=credential.key_id,
                by=by,
            )
    return _withdraw(credential, Action.DISCARD, actor=actor, now=now, reason=reason)


def release(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Let the next level sign where a destroyed key still stops it; takes one person, as retiring.

    A key that was destroyed while suspended or compromised hands nothing over by that.
    """
    with audit.denials_of(credential, "release", actor=actor, now=now), transaction.atomic():
        if not reason:
            raise InvalidTransition("release takes a reason.")
        current = lifecycle.locked(credential.pk)
        if not Credential.objects.filter(resolution.STILL_STOPS, pk=current.pk).exists():
            raise InvalidTransition(
                "{key_id} is {state}; what is released was destroyed while it was "
                "suspended or compromised. Others are retired.",
                key_id=current.key_id,
                state=current.state,
            )
        current.retired_at = now
        lifecycle.save(current)
        entry = audit.Entry(
            action="release",
            actor=actor,
            organization=str(current.organization),
            credential=current,
            from_state=current.state,
            to_state=current.state,
            reason=reason,
        )
        audit.record(entry, now=now)
        epoch.bump()
    return current


def _locked_in_turn(same: QuerySet[Credential], slots: Collection[UUID]) -> list[Credential]:
    """The rows once no import adds another: slots first, as everywhere, then the audit chain.

    Locked before anything is read: MySQL shows a transaction what was there at its first read.
    """
    list(KeySlot.objects.select_for_update().filter(pk__in=slots).order_by("pk"))
    audit.take_turn()
    return list(same.select_for_update())


def _withdraw(
    credential: Credential, action: Action, *, actor: str, now: datetime, reason: str
) -> Credential:
    with audit.denials_of(credential, action, actor=actor, now=now), transaction.atomic():
        if not reason:
            raise InvalidTransition("{action} takes a reason.", action=action)
        rotation.settle(credential.slot, now=now)
        current = lifecycle.locked(credential.pk)
        leads_to = lifecycle.target(action, current)
        if action == Action.RESUME and leads_to in (State.ACTIVE, State.RETIRING):
            rotation.check_not_ended(current, now)
        if TABLE[action].raises_exposure:
            approvals.require(action, current, now=now)
        lifecycle.move(current, action, actor=actor, now=now, reason=reason)
    return current
