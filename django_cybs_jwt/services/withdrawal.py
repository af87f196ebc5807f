"""Take a key out of use: suspend and resume, compromise, retire, destroy, discard."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from django_cybs_jwt.exceptions import InvalidTransition
from django_cybs_jwt.models import Credential
from django_cybs_jwt.services import approvals, audit, lifecycle, rotation
from django_cybs_jwt.services.lifecycle import TABLE, Action


def suspend(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Stop a key for now; nothing signs in its place. Every process obeys within five seconds."""
    return _withdraw(credential, Action.SUSPEND, actor=actor, now=now, reason=reason)


def resume(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Bring a suspended key back to where it was, if its place is still free."""
    return _withdraw(credential, Action.RESUME, actor=actor, now=now, reason=reason)


def compromise(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Mark a key as known to others; there is no way back. Delete it at the gateway too."""
    return _withdraw(credential, Action.COMPROMISE, actor=actor, now=now, reason=reason)


def retire(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Take a key out of use for good: it signs no more and still opens replies under its kid."""
    return _withdraw(credential, Action.RETIRE, actor=actor, now=now, reason=reason)


def destroy(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Overwrite the sealed columns; fingerprint and history stay."""
    return _withdraw(credential, Action.DESTROY, actor=actor, now=now, reason=reason)


def discard(credential: Credential, *, actor: str, now: datetime, reason: str) -> Credential:
    """Destroy one's own upload that was never in use; takes one person."""
    if credential.uploaded_by != actor or credential.activated_at is not None:
        by = credential.uploaded_by or "somebody else"
        with audit.denials(Action.DISCARD, actor=actor, organization=credential.organization):
            raise InvalidTransition(
                f"{credential.key_id} was uploaded by {by}, or was in use: destroy it instead."
            )
    return _withdraw(credential, Action.DISCARD, actor=actor, now=now, reason=reason)


def _withdraw(
    credential: Credential, action: Action, *, actor: str, now: datetime, reason: str
) -> Credential:
    organization = credential.organization
    with audit.denials(action, actor=actor, organization=organization), transaction.atomic():
        if not reason:
            raise InvalidTransition(f"{action} takes a reason.")
        rotation.settle(credential.slot, now=now)
        current = lifecycle.locked(credential.pk)
        lifecycle.target(action, current)
        if TABLE[action].raises_exposure:
            approvals.require(action, current, now=now)
        lifecycle.move(current, action, actor=actor, now=now, reason=reason)
    return current
