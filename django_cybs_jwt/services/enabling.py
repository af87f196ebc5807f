"""Let a disabled organization sign again."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from django_cybs_jwt.models import Organization, State
from django_cybs_jwt.services import approvals, audit, organizations, resolution


def enable(name: str, *, actor: str, now: datetime, reason: str = "") -> Organization:
    """Take back `disable`: its keys sign again, those that were destroyed since do not.

    A key speaks for one merchant more then, so it takes two people as `coverage.add` does.
    Raises ApprovalRequired while FOUR_EYES is on and nobody else has approved it.
    """
    organization = organizations.find(name)
    with (
        audit.denials("enable", actor=actor, organization=organization, now=now),
        transaction.atomic(),
    ):
        # Of one that was destroyed nothing is left to approve: what signs after its release counts.
        candidates = [
            row for row in resolution.candidates(organization) if row.state != State.DESTROYED
        ]
        key = resolution.deciding_signing_key(organization, candidates, now=now)
        if key is not None:
            detail = f"enables {organization.org_id}"
            approvals.require(approvals.COVER, key, now=now, detail=detail)
        return organizations.set_active(organization, True, actor=actor, reason=reason)
