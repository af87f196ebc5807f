"""Where a key stands on its way from upload to the end of its rotation: read from the row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.models import Credential, State, Verdict
from django_cybs_jwt.services.overview.watching import Watch


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
    """Upload, inspect, verify, activate, watch, finish; *watched* is the rotation, if any."""
    verified, activated = _verified(credential), _activated(credential)
    is_new = watched is not None and watched.new.credential.pk == credential.pk
    return [
        Stage(name="upload", label=_("Upload"), standing=Standing.DONE, at=credential.staged_at),
        Stage(name="inspect", label=_("Inspect"), standing=_inspected(credential)),
        Stage(
            name="verify",
            label=_("Verify"),
            standing=verified,
            at=credential.verify_checked_at or credential.verified_at,
        ),
        Stage(
            name="activate",
            label=_("Activate"),
            standing=activated,
            at=credential.activate_at or credential.activated_at,
        ),
        *([_watch(watched), _finish(watched)] if is_new and watched is not None else _to_come()),
    ]


def _inspected(credential: Credential) -> Standing:
    """Inspected is what somebody has gone on from."""
    untouched = credential.state == State.STAGED and not credential.verify_outcome
    return Standing.CURRENT if untouched else Standing.DONE


def _verified(credential: Credential) -> Standing:
    if credential.verify_outcome == Verdict.REFUSED:
        return Standing.FAILED
    if credential.verify_outcome == Verdict.ACCEPTED or credential.verified_at is not None:
        return Standing.DONE
    if credential.activated_at is not None:
        return Standing.WAITING
    return Standing.CURRENT


def _activated(credential: Credential) -> Standing:
    if credential.activated_at is not None:
        return Standing.DONE
    if credential.activate_at is not None or credential.state == State.VERIFIED:
        return Standing.CURRENT
    return Standing.WAITING


def _watch(watched: Watch) -> Stage:
    standing = Standing.CURRENT if watched.can_roll_back else Standing.DONE
    return Stage(name="watch", label=_("Watch"), standing=standing, at=watched.overlap_until)


def _finish(watched: Watch) -> Stage:
    if watched.can_roll_back:
        standing = Standing.WAITING
    elif watched.old.credential.state == State.DESTROYED:
        standing = Standing.DONE
    else:
        standing = Standing.CURRENT
    return Stage(name="finish", label=_("Finish"), standing=standing)


def _to_come() -> list[Stage]:
    return [
        Stage(name="watch", label=_("Watch"), standing=Standing.WAITING),
        Stage(name="finish", label=_("Finish"), standing=Standing.WAITING),
    ]
