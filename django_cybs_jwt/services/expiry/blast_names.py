"""The merchants that single alerts speak of, by name: only what their owners serve is read."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db.models import Q, QuerySet

from django_cybs_jwt.models import ExpiryAlert, KeySlot, Organization
from django_cybs_jwt.services.expiry.blast_radius import BlastRadius
from django_cybs_jwt.services.expiry.endings import Artefact
from django_cybs_jwt.services.scope import EVERYTHING, Scope


def stopping(
    alerts: Iterable[ExpiryAlert], *, now: datetime, scope: Scope = EVERYTHING
) -> dict[uuid.UUID, Sequence[str]]:
    """By alert that *scope* sees, the merchants that it sees and that stop then, as `MID@HOST`.

    Of a certificate that serves a whole host they are not listed: whoever has no other one stops.
    """
    some = [alert for alert in alerts if alert.stops and alert.organization is not None]
    shared = [alert for alert in some if not _is_own(alert)]
    servable = _servable({alert.organization_id for alert in shared})
    radius = BlastRadius(now, scope.visible(servable))
    return {alert.pk: _names(alert, radius) for alert in some}


def _names(alert: ExpiryAlert, radius: BlastRadius) -> Sequence[str]:
    owner = alert.organization
    assert owner is not None  # noqa: S101  # `stopping` asks for no other
    if _is_own(alert):
        return [str(owner)]
    end = max(alert.ends, radius.now)
    if alert.artefact == Artefact.REQUEST_MLE_CERTIFICATE:
        return radius.of_owner(owner.pk, at=end)
    return radius.of_key(owner.pk, alert.subject, at=end)


def _is_own(alert: ExpiryAlert) -> bool:
    """A merchant's own key covers nobody else."""
    return alert.organization is not None and alert.organization.kind == Organization.Kind.MERCHANT


def _servable(owners: Iterable[uuid.UUID | None]) -> QuerySet[Organization]:
    """Whom these owners could serve: all that stands under them, and all that they select."""
    wanted = [owner for owner in owners if owner is not None]
    links = KeySlot.merchants.through.objects.filter(keyslot__organization__in=wanted)
    under = Q(parent__in=wanted) | Q(parent__parent__in=wanted)
    return Organization.objects.filter(under | Q(pk__in=links.values("organization")))
