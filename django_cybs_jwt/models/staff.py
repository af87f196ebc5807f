"""Which of the host project's staff see only a part of the organizations."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.models.organizations import Organization
from django_cybs_jwt.texts import Text


class StaffScope(models.Model):
    """One user who sees these organizations, what stands under them, and nothing else.

    The row limits, not what is in it: with no organization left, nothing is seen.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="cybs_scope",
        verbose_name=_("user"),
    )
    organizations = models.ManyToManyField(
        Organization,
        related_name="staff_scopes",
        blank=True,
        verbose_name=_("organizations"),
        help_text=_("Each with all that stands under it."),
    )

    class Meta:
        verbose_name = _("limited user")
        verbose_name_plural = _("limited users")
        ordering = ["user"]

    def __str__(self) -> str:
        return str(Text("{user} sees a part", user=self.user))
