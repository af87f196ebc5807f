"""Who is told: add, list and remove recipients of alerts."""

from __future__ import annotations

import uuid
from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet

from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.models import AlertRecipient, Organization
from django_cybs_jwt.services import audit
from django_cybs_jwt.services.alerts import channels
from django_cybs_jwt.signals import key_ends_soon

SIGNAL_ADDRESS: Final = "key_ends_soon"
NAMESPACE: Final = uuid.UUID("5b6c2d0e-8f67-4c55-9a0a-3f1d8a4be7c2")
"""A recipient's id is made of what it is, so that two processes cannot add it twice.

To a unique constraint two rows without an organization would differ.
"""
LONGEST_ADDRESS: Final = 500


def add(
    channel: str,
    address: str,
    *,
    actor: str,
    organization: Organization | None = None,
    escalation: bool = False,
) -> AlertRecipient:
    """Tell *address* of all alerts, or of those about *organization* and what is under it.

    With *escalation* only of what nobody acknowledged. One that is known already is changed.
    Raises ConfigurationError for a channel or an address that cannot be.
    """
    channels.channel(channel).check(address)
    if len(address) > LONGEST_ADDRESS:
        raise ConfigurationError("An address has at most {most} characters.", most=LONGEST_ADDRESS)
    with transaction.atomic():
        facts = {"channel": channel, "address": address, "organization": organization}
        recipient, _ = AlertRecipient.objects.update_or_create(
            pk=_identity(channel, address, organization),
            defaults={**facts, "escalation": escalation, "active": True},
        )
        _record("add-recipient", recipient, actor=actor)
    return recipient


def remove(recipient: AlertRecipient, *, actor: str) -> AlertRecipient:
    """Tell it nothing any more; what it was told stays on record."""
    with transaction.atomic():
        recipient.active = False
        recipient.save(update_fields=["active"])
        _record("remove-recipient", recipient, actor=actor)
    return recipient


def listing() -> QuerySet[AlertRecipient]:
    """Every recipient that is told."""
    return (
        AlertRecipient.objects.filter(active=True)
        .select_related("organization")
        .order_by("channel", "address", "pk")
    )


def reachable() -> list[AlertRecipient]:
    """Whom alerts can be handed to from this process.

    The signal is a recipient as soon as somebody listens, and none where nobody does.
    """
    if key_ends_soon.has_listeners():
        AlertRecipient.objects.get_or_create(
            pk=_identity(AlertRecipient.Channel.SIGNAL, SIGNAL_ADDRESS),
            defaults={"channel": AlertRecipient.Channel.SIGNAL, "address": SIGNAL_ADDRESS},
        )
    return within_reach()


def within_reach() -> list[AlertRecipient]:
    """The same of those that are known; for whoever only looks."""
    rows = listing()
    if not key_ends_soon.has_listeners():
        rows = rows.exclude(channel=AlertRecipient.Channel.SIGNAL)
    return list(rows)


def scope(recipient: AlertRecipient) -> Q:
    """The alerts that *recipient* is told of, whoever acknowledged them."""
    owner = recipient.organization_id
    watched = Q()
    if owner is not None:
        watched = (
            Q(organization=owner)
            | Q(organization__parent=owner)
            | Q(organization__parent__parent=owner)
        )
    return watched & Q(escalated_at__isnull=False) if recipient.escalation else watched


def _identity(channel: str, address: str, organization: Organization | None = None) -> uuid.UUID:
    owner = organization.pk if organization else ""
    return uuid.uuid5(NAMESPACE, f"{channel} {owner} {address}")


def _record(action: str, recipient: AlertRecipient, *, actor: str) -> None:
    entry = audit.Entry(
        action=action,
        actor=actor,
        organization=str(recipient.organization or ""),
        reason=f"{recipient} {recipient.pk}",
    )
    audit.record(entry)
