"""Organizations: portfolios, merchant accounts and transacting merchants."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

# Portfolio, account, merchant: no chain of parents is longer.
DEEPEST = 3


class Organization(models.Model):
    """One organization id on one gateway host."""

    class Kind(models.TextChoices):
        PORTFOLIO = "portfolio", _("Portfolio")
        ACCOUNT = "account", _("Merchant account")
        MERCHANT = "merchant", _("Transacting merchant")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    org_id = models.CharField(_("organization ID"), max_length=60)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    parent = models.ForeignKey(
        "self", models.PROTECT, related_name="children", null=True, blank=True
    )
    name = models.CharField(_("name"), max_length=200, blank=True)
    host = models.CharField(_("host"), max_length=253)
    live = models.BooleanField(_("live"), default=False)
    active = models.BooleanField(_("active"), default=True)
    response_mle = models.CharField(
        _("response MLE"),
        max_length=8,
        blank=True,
        choices=[("required", _("Required")), ("ask", _("Ask")), ("never", _("Never"))],
        help_text=_("Empty: as the project's settings say."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("organization")
        verbose_name_plural = _("organizations")
        ordering = ["org_id", "host"]
        constraints = [
            models.UniqueConstraint(fields=["org_id", "host"], name="cybs_org_once_per_host"),
        ]

    def __str__(self) -> str:
        return f"{self.org_id}@{self.host}"

    def chain(self) -> list[Organization]:
        """This organization, its parent, and so on to the top."""
        chain = [self]
        while (parent := chain[-1].parent) is not None and len(chain) < DEEPEST:
            chain.append(parent)
        return chain
