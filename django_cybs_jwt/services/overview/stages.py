"""Where a key stands on its way from upload to the end of its rotation: read from the row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.models import Credential, State, Verdict
from django_cybs_jwt.services.overview.watching import Watch

LABELS: Final = {
    "upload": _("Upload"),
    "inspect": _("Inspect"),
    "verify": _("Verify"),
    "activate": _("Activate"),
    "watch": _("Watch"),
    "finish": _("Finish"),
}


class Standing(StrEnum):
    """How far one stage is."""

    DONE = "done"
    CURRENT = "current"
    FAILED = "failed"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: *at* is when it was done, or when it will be."""

    name: str
    label: str | Promise
    standing: Standing
    at: datetime | None = None


def stages(credential: Credential, watched: Watch | None) -> list[Stage]:
    """Upload, inspect, verify, activate, watch, finish; *watched* is the rotation, if any.

    At most one is current: what somebody should do next.
    """
    rotation = _own_rotation(credential, watched)
    current, done = _current(credential, rotation), _done(credential, rotation)
    return [
        Stage(
            name=name,
            label=label,
            standing=_standing(name, credential, current, done),
            at=_moment(name, credential, rotation),
        )
        for name, label in LABELS.items()
    ]


def _own_rotation(credential: Credential, watched: Watch | None) -> Watch | None:
    """The one that brought this key into use, not the one that replaced it."""
    is_new = watched is not None and watched.new.credential.pk == credential.pk
    return watched if is_new else None


def _current(credential: Credential, rotation: Watch | None) -> str:
    """What is to do; empty where nothing is, or where the key is out of use."""
    if credential.activate_at is not None:
        return "activate"
    if credential.activated_at is None:
        return _before_use(credential)
    if rotation is None:
        return ""
    if rotation.can_roll_back:
        return "watch"
    return "" if rotation.old.credential.state == State.DESTROYED else "finish"


def _before_use(credential: Credential) -> str:
    if credential.state not in (State.STAGED, State.VERIFIED):
        return ""
    if not _is_looked_at(credential):
        return "inspect"
    return "activate" if _is_accepted(credential) else "verify"


def _done(credential: Credential, rotation: Watch | None) -> set[str]:
    done = {
        "upload": True,
        "inspect": _is_looked_at(credential),
        "verify": _is_accepted(credential),
        "activate": credential.activated_at is not None,
        "watch": rotation is not None and not rotation.can_roll_back,
        "finish": rotation is not None and rotation.old.credential.state == State.DESTROYED,
    }
    return {name for name, is_done in done.items() if is_done}


def _standing(name: str, credential: Credential, current: str, done: set[str]) -> Standing:
    if name == "verify" and credential.verify_outcome == Verdict.REFUSED:
        return Standing.FAILED
    if name == current:
        return Standing.CURRENT
    return Standing.DONE if name in done else Standing.WAITING


def _moment(name: str, credential: Credential, rotation: Watch | None) -> datetime | None:
    moments = {
        "upload": credential.staged_at,
        "verify": credential.verify_checked_at or credential.verified_at,
        "activate": credential.activate_at or credential.activated_at,
        "watch": rotation.overlap_until if rotation is not None else None,
    }
    return moments.get(name)


def _is_looked_at(credential: Credential) -> bool:
    """Whoever had it verified or put it into use has gone on from the preview."""
    moments = (
        credential.verify_requested_at,
        credential.verified_at,
        credential.activate_at,
        credential.activated_at,
    )
    return bool(credential.verify_outcome) or any(moment is not None for moment in moments)


def _is_accepted(credential: Credential) -> bool:
    """As a rotation asks it: an answer that says nothing takes nothing back."""
    if credential.verify_outcome == Verdict.REFUSED:
        return False
    return credential.verify_outcome == Verdict.ACCEPTED or credential.verified_at is not None
