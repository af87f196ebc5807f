"""Of whom nobody is told any more once a recipient is gone."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db.models import Q, QuerySet

from django_cybs_jwt.models import AlertRecipient, Organization
from django_cybs_jwt.services.alerts import recipients
from django_cybs_jwt.signals import key_ends_soon


def watched(recipient: AlertRecipient) -> QuerySet[Organization]:
    """The merchants that *recipient* is for; of a disabled one nothing ends that matters."""
    merchants = Organization.objects.filter(kind=Organization.Kind.MERCHANT, active=True)
    return merchants.filter(_under([recipient.organization_id])).order_by("org_id", "host")


def silenced(recipient: AlertRecipient) -> QuerySet[Organization]:
    """Those of them that no other recipient of its kind, escalation or not, is for."""
    owners = list(_others(recipient).values_list("organization", flat=True))
    told = watched(recipient)
    return told.exclude(_under(owners)) if owners else told


def silences_shared(recipient: AlertRecipient) -> bool:
    """True where nobody else of its kind is told of what belongs to no organization."""
    whole = _others(recipient).filter(organization=None)
    return recipient.organization_id is None and not whole.exists()


def _others(recipient: AlertRecipient) -> QuerySet[AlertRecipient]:
    others = recipients.listing().filter(escalation=recipient.escalation).exclude(pk=recipient.pk)
    if key_ends_soon.has_listeners():
        return others
    return others.exclude(channel=AlertRecipient.Channel.SIGNAL)


def _under(owners: Sequence[uuid.UUID | None]) -> Q:
    """These organizations and all under them; None stands for everything."""
    if None in owners:
        return ~Q(pk=None)
    return Q(pk__in=owners) | Q(parent__in=owners) | Q(parent__parent__in=owners)
