"""What happened: the audit chain, and the epoch that tells processes to look again."""

from __future__ import annotations

import uuid
from typing import Any, NoReturn

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import words
from django_cybs_jwt.texts import Text


def _refuse(*_args: object, **_options: object) -> NoReturn:
    raise CybsError("The audit trail is append-only: its rows are not changed and not deleted.")


class AppendOnly(models.QuerySet["KeyEvent"]):
    """Rows go in and never change. SQL can do it all the same; `cybs_audit verify` finds that."""

    update = _refuse
    delete = _refuse
    bulk_create = _refuse  # it can overwrite, and nobody needs it


class KeyEvent(models.Model):
    """One append-only audit row.

    No foreign keys: it outlives what it speaks of. `digest` chains it to the row before.
    """

    class Outcome(models.TextChoices):
        DONE = "done", _("Done")
        DENIED = "denied", _("Denied")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    seq = models.PositiveBigIntegerField(_("number"), unique=True)
    at = models.DateTimeField(_("time"), db_index=True)
    actor = models.CharField(_("actor"), max_length=150)
    action = models.CharField(_("action"), max_length=40)
    outcome = models.CharField(_("outcome"), max_length=6, choices=Outcome.choices)
    organization = models.CharField(_("organization"), max_length=320, db_index=True)
    credential = models.UUIDField(_("key"), null=True, db_index=True)
    key_id = models.CharField(_("key ID"), max_length=128, blank=True)
    fingerprint = models.CharField(_("fingerprint"), max_length=64, blank=True)
    from_state = models.CharField(_("from"), max_length=11, blank=True)
    to_state = models.CharField(_("to"), max_length=11, blank=True)
    reason = models.TextField(_("reason"), blank=True)
    digest = models.CharField(max_length=64, editable=False)

    objects = AppendOnly.as_manager()

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        ordering = ["-seq"]
        permissions = [("audit_keyevent", "Can verify and export the audit trail")]

    def __str__(self) -> str:
        told = Text(
            "{seq}: {action} {organization}",
            seq=self.seq,
            action=words.action(self.action),
            organization=self.organization,
        )
        return str(told)

    def save(self, *args: Any, **options: Any) -> None:
        """Insert a new row; refuse to change one."""
        if not self._state.adding:
            _refuse()
        super().save(*args, **{**options, "force_insert": True})

    def delete(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse."""
        _refuse(*args, **options)


class AuditHead(models.Model):
    """The one row every audit write locks first: the chain's length and newest digest."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    seq = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return f"audit chain of {self.seq}"


class Epoch(models.Model):
    """The one row that is bumped by every change that signing must see."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    value = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"epoch {self.value}"
