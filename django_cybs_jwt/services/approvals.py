"""Four eyes: what raises exposure or destroys takes two people when FOUR_EYES is on.

An approval is bound to the key's fingerprint, the action and the row's lock_version, so it dies
with any change of the row, and it is used once. Nobody approves his own request or upload; there
is no user model here, so superusers have no bypass either.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import F, QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ApprovalDenied, ApprovalRequired, InvalidTransition
from django_cybs_jwt.models import Approval, Credential, KeyEvent, State
from django_cybs_jwt.services import audit, lifecycle
from django_cybs_jwt.services.alerts import paging
from django_cybs_jwt.services.lifecycle import TABLE, Action
from django_cybs_jwt.services.people import person
from django_cybs_jwt.texts import Text

LIFETIME: Final = timedelta(hours=24)
BREAK_GLASS_LIFETIME: Final = timedelta(hours=1)
MOST_REFUSALS: Final = 5
LOCKED_OUT_FOR: Final = timedelta(minutes=15)

EXPORT: Final = "export"
COVER: Final = "cover"
"""To let a key in force speak for more merchants; an approval's *detail* says for which."""

ACTIONS: Final = (
    *sorted(action for action in Action if TABLE[action].raises_exposure),
    EXPORT,
    COVER,
)
"""What takes two people."""

_OPEN: Final = (Approval.Status.REQUESTED, Approval.Status.GRANTED)


def require(action: str, credential: Credential, *, now: datetime, detail: str = "") -> None:
    """Use up a granted approval in the caller's transaction, or raise ApprovalRequired.

    It was asked for in the very words of *detail*.
    The request itself is stored by `request`, outside the transaction that this rolls back.
    """
    require_all(action, [credential], now=now, detail=detail)


def require_all(
    action: str, credentials: Sequence[Credential], *, now: datetime, detail: str = ""
) -> None:
    """The same for several keys: all are approved, or none of the approvals is used up."""
    if not conf.current().FOUR_EYES:
        return
    missing = [row for row in credentials if not _use_up(action, row, detail, now=now)]
    if missing:
        names = ", ".join(row.key_id for row in missing)
        raise ApprovalRequired(
            "FOUR_EYES is on: {action} of {names} takes a second person. "
            "{last}"
            "Ask with `manage.py cybs_approvals request`, then repeat this.",
            names=names,
            last=_last_word(action, missing[0], detail, now),
            action=str(action),
            credentials=[str(row.pk) for row in missing],
            detail=detail,
        )


def is_granted(action: str, credential: Credential, *, now: datetime) -> bool:
    """True when `require` would let it pass at *now*."""
    return not conf.current().FOUR_EYES or _granted(action, credential, "", now).exists()


def request(
    action: str,
    credential: Credential,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
    detail: str = "",
) -> Approval:
    """Ask for an approval, or return the open one for the same version, action and *detail*.

    Raises InvalidTransition for what takes one person only, or is impossible in the key's state.
    """
    with (
        audit.denials_of(credential, "request-approval", actor=actor, now=now),
        transaction.atomic(),
    ):
        _check_named(actor)
        current = lifecycle.locked(credential.pk)
        _check_possible(action, current, detail)
        open_one = (
            _bound(current, action, detail).filter(status__in=_OPEN, expires_at__gt=now).first()
        )
        if open_one is not None:
            return open_one
        approval = Approval.objects.create(
            credential=current,
            action=str(action),
            detail=detail,
            fingerprint=current.fingerprint,
            lock_version=current.lock_version,
            requested_by=actor,
            requester=person(actor),
            requested_at=now,
            expires_at=now.astimezone(UTC) + LIFETIME,
            reason=reason,
        )
        _record("request-approval", approval, actor=actor, now=now, reason=reason)
    return approval


def request_missing(
    refused: ApprovalRequired, *, actor: str, now: datetime, reason: str = ""
) -> list[Approval]:
    """Ask for what *refused* says is missing; empty when its keys were rolled back with it."""
    wanted = Credential.objects.select_related("organization").filter(
        pk__in=refused.facts["credentials"]
    )
    action, detail = refused.facts["action"], refused.facts["detail"]
    return [
        request(action, row, actor=actor, now=now, reason=reason, detail=detail) for row in wanted
    ]


def approve(approval_id: uuid.UUID, *, actor: str, now: datetime, reason: str = "") -> Approval:
    """Grant a request of somebody else, or raise ApprovalDenied; *reason* goes to the audit."""
    with _deciding("approve", approval_id, actor=actor, now=now) as approval:
        _check_not_locked_out(actor, now)
        _check_undecided(approval, (Approval.Status.REQUESTED,), now=now)
        _check_unchanged(approval)
        _check_second_person(approval, actor)
        _decide(approval, Approval.Status.GRANTED, actor=actor, now=now)
        _record("approve", approval, actor=actor, now=now, reason=reason)
    return approval


def reject(approval_id: uuid.UUID, *, actor: str, now: datetime, reason: str = "") -> Approval:
    """Turn a request down, or take an unused approval back; the one who asked may do it too."""
    with _deciding("reject", approval_id, actor=actor, now=now) as approval:
        _check_undecided(approval, _OPEN, now=now)
        _decide(approval, Approval.Status.REJECTED, actor=actor, now=now)
        _record("reject", approval, actor=actor, now=now, reason=reason)
    return approval


def break_glass(approval_id: uuid.UUID, *, actor: str, now: datetime, reason: str) -> Approval:
    """Grant a request alone, for one hour at most, and page everyone.

    Only the command line calls this: it takes access to the machine.
    """
    with _deciding("break-glass", approval_id, actor=actor, now=now) as approval:
        if not reason:
            raise ApprovalDenied("Breaking the glass takes a reason.")
        _check_undecided(approval, (Approval.Status.REQUESTED,), now=now)
        _check_unchanged(approval)
        approval.break_glass = True
        approval.expires_at = min(approval.expires_at, now.astimezone(UTC) + BREAK_GLASS_LIFETIME)
        _decide(approval, Approval.Status.GRANTED, actor=actor, now=now)
        heard = "" if paging.finds_somebody() else " (nobody is paged: there is no recipient)"
        _record("break-glass", approval, actor=actor, now=now, reason=f"{reason}{heard}")
        transaction.on_commit(
            lambda: paging.page(approval, actor=actor, now=now, reason=reason), robust=True
        )
    return approval


def listing() -> QuerySet[Approval]:
    """Every request, newest first, with its key and organization."""
    return (
        Approval.objects.select_related("credential__organization", "credential__slot")
        .defer("credential__sealed_secret", "credential__sealed_p12")
        .order_by("-requested_at")
    )


def waiting(*, now: datetime) -> QuerySet[Approval]:
    """Requests that somebody must decide."""
    return usable(now=now).filter(status=Approval.Status.REQUESTED)


def granted(*, now: datetime) -> QuerySet[Approval]:
    """What can be carried out, once."""
    return usable(now=now).filter(status=Approval.Status.GRANTED)


def usable(*, now: datetime) -> QuerySet[Approval]:
    """What waits for a decision or for its use: not over, and of keys that did not change."""
    return listing().filter(
        status__in=_OPEN,
        expires_at__gt=now,
        lock_version=F("credential__lock_version"),
        fingerprint=F("credential__fingerprint"),
    )


def _bound(credential: Credential, action: str, detail: str) -> QuerySet[Approval]:
    return Approval.objects.filter(
        credential=credential,
        action=str(action),
        detail=detail,
        fingerprint=credential.fingerprint,
        lock_version=credential.lock_version,
    )


def _granted(action: str, credential: Credential, detail: str, now: datetime) -> QuerySet[Approval]:
    bound = _bound(credential, action, detail)
    return bound.filter(status=Approval.Status.GRANTED, expires_at__gt=now)


def _use_up(action: str, credential: Credential, detail: str, *, now: datetime) -> bool:
    """Compare and set: of many at once, one sees the row change."""
    granted = _granted(action, credential, detail, now)
    return any(
        granted.filter(pk=pk).update(status=Approval.Status.USED)
        for pk in list(granted.values_list("pk", flat=True))
    )


def _last_word(action: str, credential: Credential, detail: str, now: datetime) -> str:
    """Why the newest request does not count, as a sentence and a space."""
    asked = Approval.objects.filter(credential=credential, action=str(action), detail=detail)
    last = asked.first()
    if last is None:
        return ""
    if last.status == Approval.Status.USED:
        return Text("Approval {request} was used. ", request=last.pk)
    if last.status == Approval.Status.REJECTED:
        return Text("Request {request} was rejected. ", request=last.pk)
    if not _is_of(last, credential):
        return Text(
            "{key_id} has changed since {request} was asked for. ",
            key_id=credential.key_id,
            request=last.pk,
        )
    if last.expires_at <= now:
        return Text(
            "{request} ended at {expires_at:%Y-%m-%d %H:%M UTC}. ",
            request=last.pk,
            expires_at=last.expires_at,
        )
    return Text("Request {request} waits for somebody else. ", request=last.pk)


@contextmanager
def _deciding(
    action: str, approval_id: uuid.UUID, *, actor: str, now: datetime
) -> Iterator[Approval]:
    """The locked row in a transaction of its own, whose refusals are audited."""
    credential = listing().get(pk=approval_id).credential
    with audit.denials_of(credential, action, actor=actor, now=now), transaction.atomic():
        _check_named(actor)
        # No join: it would lock the key's row after this one, where `require` does the reverse.
        yield Approval.objects.select_for_update().get(pk=approval_id)


def _is_of(approval: Approval, credential: Credential) -> bool:
    bound = (approval.lock_version, approval.fingerprint)
    return bound == (credential.lock_version, credential.fingerprint)


def _check_possible(action: str, credential: Credential, detail: str) -> None:
    if action not in ACTIONS:
        raise InvalidTransition(
            "{action!r} takes one person. Two take: {known}.",
            action=action,
            known=", ".join(ACTIONS),
        )
    if action == COVER and not detail:
        raise InvalidTransition("Which merchants? `cybs_meta add`, once it is refused, asks.")
    if credential.state == State.DESTROYED:
        raise InvalidTransition(
            "{key_id} is {state}; nothing is left.",
            key_id=credential.key_id,
            state=credential.state,
        )
    if action in (Action.ACTIVATE, Action.RESUME):
        # Not `destroy`: offboarding retires an active key first, under the same approval.
        lifecycle.target(Action(action), credential)


def _check_named(actor: str) -> None:
    if not person(actor):
        raise ApprovalDenied("Two people must have two names. Give yours with --user.")


def _check_undecided(approval: Approval, statuses: Sequence[str], *, now: datetime) -> None:
    if approval.status not in statuses:
        raise ApprovalDenied(
            "Request {request} is {status}. Ask again.", request=approval.pk, status=approval.status
        )
    if approval.expires_at <= now:
        raise ApprovalDenied(
            "Request {request} ended at {ended:%Y-%m-%d %H:%M UTC}. Ask again.",
            request=approval.pk,
            ended=approval.expires_at,
        )


def _check_unchanged(approval: Approval) -> None:
    if not _is_of(approval, approval.credential):
        raise ApprovalDenied(
            "{key_id} has changed since {request} was asked for. Ask again.",
            key_id=approval.credential.key_id,
            request=approval.pk,
        )


def _check_second_person(approval: Approval, actor: str) -> None:
    first = {approval.requester, person(approval.credential.uploaded_by)}
    if person(actor) in first:
        raise ApprovalDenied(
            "Request {request}: whoever asked for it or uploaded the key cannot approve it.",
            request=approval.pk,
        )


def _check_not_locked_out(actor: str, now: datetime) -> None:
    refused = KeyEvent.objects.filter(
        action="approve",
        outcome=KeyEvent.Outcome.DENIED,
        at__gt=now.astimezone(UTC) - LOCKED_OUT_FOR,
    )
    names = refused.values_list("actor", flat=True)
    if sum(person(name) == person(actor) for name in names.iterator()) >= MOST_REFUSALS:
        minutes = LOCKED_OUT_FOR // timedelta(minutes=1)
        raise ApprovalDenied(
            "{most} refused approvals within {minutes} minutes. Wait, or ask another.",
            most=MOST_REFUSALS,
            minutes=minutes,
        )


def _decide(approval: Approval, status: str, *, actor: str, now: datetime) -> None:
    approval.status = status
    approval.decided_by = actor
    approval.decider = person(actor)
    approval.decided_at = now
    approval.save()


def _record(
    action: str, approval: Approval, *, actor: str, now: datetime, reason: str = ""
) -> None:
    credential = approval.credential
    entry = audit.Entry(
        action=action,
        actor=actor,
        organization=str(credential.organization),
        credential=credential,
        reason=" ".join(filter(None, (approval.action, str(approval.pk), approval.detail, reason))),
    )
    audit.record(entry, now=now)
