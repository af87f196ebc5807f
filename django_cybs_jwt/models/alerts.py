"""What ends, who was told, and whether the job that watches is alive."""

from __future__ import annotations

import re
import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.models import words
from django_cybs_jwt.models.organizations import Organization
from django_cybs_jwt.texts import Text


class AlertRecipient(models.Model):
    """Somebody, or something, that is told."""

    class Channel(models.TextChoices):
        """The channels of this package; the setting ALERT_CHANNELS may add others."""

        MAIL = "mail", _("Mail")
        WEBHOOK = "webhook", _("Webhook")
        SIGNAL = "signal", _("Signal")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    channel = models.CharField(_("channel"), max_length=20)
    address = models.CharField(_("address"), max_length=500)
    organization = models.ForeignKey(
        Organization,
        models.PROTECT,
        related_name="alert_recipients",
        null=True,
        blank=True,
        help_text=_("Only this organization and what stands under it; empty: everything."),
        verbose_name=_("organization"),
    )
    escalation = models.BooleanField(
        _("escalation"), default=False, help_text=_("Told only of what nobody acknowledged.")
    )
    active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("alert recipient")
        verbose_name_plural = _("alert recipients")
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "address", "organization"], name="cybs_recipient_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.shown_address}"

    @property
    def shown_address(self) -> str:
        """A webhook's address may be its secret: of it, and of what we do not know, a part."""
        if self.channel in (self.Channel.MAIL, self.Channel.SIGNAL):
            return self.address
        if self.channel == self.Channel.WEBHOOK:
            scheme, _, rest = self.address.partition("://")
            host = re.split(r"[/?#]", rest)[0].rpartition("@")[2]
            return f"{scheme}://{host}/…"
        return f"…{self.address[-4:]}"


class ExpiryAlert(models.Model):
    """One artefact at one threshold, once: however often the job runs."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    artefact = models.CharField(_("artefact"), max_length=30)
    subject = models.UUIDField(_("row of the artefact"))
    organization = models.ForeignKey(
        Organization,
        models.PROTECT,
        related_name="alerts",
        null=True,
        blank=True,
        verbose_name=_("organization"),
    )
    key_id = models.CharField(_("key ID"), max_length=128, blank=True)
    ends = models.DateTimeField(_("ends"))
    threshold = models.IntegerField(_("days before the end"))
    severity = models.CharField(_("severity"), max_length=8)
    stops = models.PositiveIntegerField(_("merchants that stop"), default=0)
    raised_at = models.DateTimeField(_("raised"))
    acknowledged_by = models.CharField(_("acknowledged by"), max_length=150, blank=True)
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True)
    snoozed_until = models.DateTimeField(_("snoozed until"), null=True)
    escalated_at = models.DateTimeField(_("escalated"), null=True)
    resolved_at = models.DateTimeField(_("resolved"), null=True)

    class Meta:
        verbose_name = _("expiry alert")
        verbose_name_plural = _("expiry alerts")
        ordering = ["ends"]
        constraints = [
            # The end is part of it: a typed end that is corrected starts anew.
            models.UniqueConstraint(
                fields=["artefact", "subject", "ends", "threshold"], name="cybs_alert_once"
            ),
        ]
        indexes = [models.Index(fields=["resolved_at", "ends"], name="cybs_alert_open")]

    def __str__(self) -> str:
        told = Text(
            "{artefact} {key_id} until {ends:%Y-%m-%d}",
            artefact=words.ARTEFACTS.get(self.artefact, self.artefact),
            key_id=self.key_id,
            ends=self.ends,
        )
        return str(told)


class AlertDelivery(models.Model):
    """One alert for one recipient: pending until it was handed over, and a record of it then.

    One that became louder since is pending in a row of its own.
    """

    alert = models.ForeignKey(ExpiryAlert, models.CASCADE, related_name="deliveries")
    recipient = models.ForeignKey(AlertRecipient, models.CASCADE, related_name="deliveries")
    told = models.CharField(max_length=8, blank=True)  # how loud it was then
    sent_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["alert", "recipient", "told"], name="cybs_told_once_as_loud"
            ),
        ]
        indexes = [models.Index(fields=["recipient", "sent_at"], name="cybs_delivery_sent")]

    def __str__(self) -> str:
        return f"{self.alert_id} to {self.recipient_id}"


class JobRun(models.Model):
    """When a recurring job last ended well."""

    name = models.CharField(primary_key=True, max_length=40)
    succeeded_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
