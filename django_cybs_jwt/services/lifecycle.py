"""The life of a key: everything that changes `Credential.state` is in this file.

docs/lifecycle.md draws it; a test holds table, drawing and enum together.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from django.db import IntegrityError, transaction

from django_cybs_jwt.exceptions import InvalidTransition
from django_cybs_jwt.models import Credential, GatewayCertificate, KeySlot, State, words
from django_cybs_jwt.services import audit, epoch


class Action(StrEnum):
    """What can be done to a key; each is also the action of its audit row."""

    VERIFY = "verify"
    ACTIVATE = "activate"
    SUPERSEDE = "supersede"
    ROLL_BACK = "roll-back"
    RETIRE = "retire"
    SUSPEND = "suspend"
    RESUME = "resume"
    COMPROMISE = "compromise"
    DESTROY = "destroy"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Transition:
    """From which states an action leads where; None leads back to where it was suspended from.

    *raises_exposure* marks what takes two people when FOUR_EYES is on.
    """

    sources: frozenset[State]
    target: State | None
    raises_exposure: bool = False


LIVE: Final = frozenset({State.STAGED, State.VERIFIED, State.ACTIVE, State.RETIRING, State.RETIRED})

TABLE: Final[dict[Action, Transition]] = {
    Action.VERIFY: Transition(frozenset({State.STAGED}), State.VERIFIED),
    Action.ACTIVATE: Transition(
        # RETIRING: a key that was rolled back may be tried again.
        frozenset({State.STAGED, State.VERIFIED, State.RETIRING}),
        State.ACTIVE,
        raises_exposure=True,
    ),
    Action.SUPERSEDE: Transition(frozenset({State.ACTIVE}), State.RETIRING),
    Action.ROLL_BACK: Transition(frozenset({State.RETIRING}), State.ACTIVE),
    Action.RETIRE: Transition(
        frozenset({State.STAGED, State.VERIFIED, State.ACTIVE, State.RETIRING, State.SUSPENDED}),
        State.RETIRED,
    ),
    Action.SUSPEND: Transition(LIVE, State.SUSPENDED),
    Action.RESUME: Transition(frozenset({State.SUSPENDED}), None, raises_exposure=True),
    Action.COMPROMISE: Transition(LIVE | {State.SUSPENDED}, State.COMPROMISED),
    Action.DESTROY: Transition(
        frozenset(
            {State.STAGED, State.VERIFIED, State.RETIRED, State.SUSPENDED, State.COMPROMISED}
        ),
        State.DESTROYED,
        raises_exposure=True,
    ),
    # Nothing depends on a key that was never used: whoever uploaded it takes it back alone.
    Action.DISCARD: Transition(frozenset({State.STAGED, State.VERIFIED}), State.DESTROYED),
}

_STAMPS: Final = {
    State.VERIFIED: "verified_at",
    State.ACTIVE: "activated_at",
    State.RETIRING: "retiring_at",
    State.RETIRED: "retired_at",
    State.SUSPENDED: "suspended_at",
    State.COMPROMISED: "compromised_at",
    State.DESTROYED: "destroyed_at",
}


def target(action: Action, credential: Credential) -> State:
    """Where *action* leads from the key's state, or InvalidTransition."""
    transition = TABLE[action]
    if action == Action.DESTROY and credential.state in (State.ACTIVE, State.RETIRING):
        raise InvalidTransition(
            "{key_id} is {state}: it may be in use. Retire it first.",
            key_id=credential.key_id,
            state=credential.state,
        )
    if credential.state not in transition.sources:
        allowed = ", ".join(sorted(transition.sources))
        raise InvalidTransition(
            "{key_id} is {state}; {action!r} is possible from {allowed}.",
            key_id=credential.key_id,
            state=credential.state,
            action=words.action(action),
            allowed=allowed,
        )
    return transition.target or State(credential.suspended_from)


def locked(credential_id: uuid.UUID) -> Credential:
    """The row, with its slot locked first: everything in one slot waits in one line."""
    slot_id = Credential.objects.values_list("slot", flat=True).get(pk=credential_id)
    KeySlot.objects.select_for_update().get(pk=slot_id)
    return Credential.objects.select_for_update().get(pk=credential_id)


def move(
    credential: Credential,
    action: Action,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
    since: datetime | None = None,
) -> None:
    """Take a locked row to the state *action* leads to, with audit row and epoch.

    *since* is when it came to that, where it is written down later than it happened.
    The caller holds the transaction. Raises InvalidTransition.
    """
    before, after = State(credential.state), target(action, credential)
    credential.suspended_from = before if after == State.SUSPENDED else ""
    credential.state = after
    credential.active_slot = credential.slot if after == State.ACTIVE else None
    _forget_plans(credential, action, before)
    if after in _STAMPS and action != Action.RESUME:
        setattr(credential, _STAMPS[after], since or now)
    if after == State.DESTROYED:
        _shred(credential)
    save(credential)
    _carry(credential, after)
    entry = audit.Entry(
        action=action,
        actor=actor,
        organization=str(credential.organization),
        credential=credential,
        from_state=before,
        to_state=after,
        reason=reason,
    )
    audit.record(entry, now=now)
    epoch.bump()


def _carry(credential: Credential, after: State) -> None:
    """The gateway's certificate in a key's file comes into use with the key.

    It is public, and true whatever becomes of the key, unless the file cannot be trusted.
    """
    carried = GatewayCertificate.stored.filter(credential=credential)
    if after == State.ACTIVE:
        carried.update(in_use=True)
    elif after == State.COMPROMISED:
        carried.update(in_use=False)


def _forget_plans(credential: Credential, action: Action, before: State) -> None:
    """End schedule and overlap, unless the action leaves the key where its plans still hold."""
    if action == Action.VERIFY:
        return
    planned = credential.activate_at is not None
    credential.activate_at = None
    in_overlap = {credential.state, before} <= {State.RETIRING, State.SUSPENDED}
    if planned or (credential.state != State.RETIRING and not in_overlap):
        credential.overlap_until = None


def save(credential: Credential) -> None:
    """Write a locked row and count the change; approvals are bound to the count."""
    credential.lock_version += 1
    try:
        with transaction.atomic():
            credential.save()
    except IntegrityError:
        raise InvalidTransition(
            "Slot {slot!r} has another active key. Suspend or retire it first.",
            slot=credential.slot.named,
        ) from None


def _shred(credential: Credential) -> None:
    """Overwrite what is sealed; without the data key inside it nothing can be opened."""
    credential.sealed_secret = None
    credential.sealed_p12 = None
    credential.live_key_id = None
