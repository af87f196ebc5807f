"""Four eyes: a request that somebody else must grant."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.models import words
from django_cybs_jwt.models.keys import Credential
from django_cybs_jwt.texts import Text


class Approval(models.Model):
    """One request for one action on one version of one key."""

    class Status(models.TextChoices):
        REQUESTED = "REQUESTED", _("Requested")
        GRANTED = "GRANTED", _("Granted")
        REJECTED = "REJECTED", _("Rejected")
        USED = "USED", _("Used")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    credential = models.ForeignKey(
        Credential, models.PROTECT, related_name="approvals", verbose_name=_("credential")
    )
    action = models.CharField(_("action"), max_length=12)
    detail = models.TextField(_("what exactly"), blank=True)
    fingerprint = models.CharField(_("fingerprint"), max_length=64)
    lock_version = models.PositiveIntegerField()
    status = models.CharField(
        _("status"), max_length=9, choices=Status.choices, default=Status.REQUESTED
    )
    requested_by = models.CharField(_("requested by"), max_length=150)
    requested_at = models.DateTimeField(_("requested"))
    decided_by = models.CharField(_("decided by"), max_length=150, blank=True)
    decided_at = models.DateTimeField(_("decided"), null=True)
    # The people behind the names, as `services.people` tells them: the database compares these.
    requester = models.CharField(max_length=150, blank=True, editable=False)
    decider = models.CharField(max_length=150, blank=True, editable=False)
    expires_at = models.DateTimeField(_("valid until"))
    break_glass = models.BooleanField(_("break glass"), default=False)
    reason = models.TextField(_("reason"), blank=True)

    class Meta:
        verbose_name = _("approval")
        verbose_name_plural = _("approvals")
        ordering = ["-requested_at"]
        permissions = [("approve_approval", "Can approve what others ask for")]
        constraints = [
            models.CheckConstraint(
                name="cybs_nobody_approves_himself",
                condition=models.Q(break_glass=True)
                | models.Q(status__in=["REQUESTED", "REJECTED"])
                | ~models.Q(decider="") & ~models.Q(decider=models.F("requester")),
            ),
        ]

    def __str__(self) -> str:
        asked = Text("{action}: {key}", action=words.action(self.action), key=self.credential)
        return str(asked)
