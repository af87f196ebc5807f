"""Organizations: portfolios, merchant accounts and transacting merchants."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.exceptions import OrganizationConflict
from django_cybs_jwt.texts import Text

# Portfolio, account, merchant: no chain of parents is longer.
DEEPEST = 3

# What its keys were made for, and are sealed and named with.
FIXED = frozenset({"org_id", "host", "live"})


class Organizations(models.QuerySet["Organization"]):
    """Organizations that stay who and where they are once they have a key."""

    def update(self, **values: Any) -> int:
        """Refuse, with OrganizationConflict, to move one that has a key."""
        self.check_stay({name: value for name, value in values.items() if name in FIXED})
        return super().update(**values)

    def bulk_create(
        self, objs: Iterable[Organization], *arguments: Any, **options: Any
    ) -> list[Organization]:
        """Refuse to move one that is there already, whether it has a key or not."""
        if FIXED.intersection(options.get("update_fields") or ()):
            raise OrganizationConflict(_MOVED)
        return super().bulk_create(objs, *arguments, **options)

    def check_stay(self, values: Mapping[str, Any]) -> None:
        """OrganizationConflict where *values* are others than those of one that has a key."""
        other = [~models.Q(**{name: value}) for name, value in values.items()]
        if other and self.filter(reduce(or_, other), credentials__isnull=False).exists():
            raise OrganizationConflict(_MOVED)


_MOVED = Text(
    "An organization with a key keeps its id, its host and its side, live or test. "
    "Add another organization and import its keys there."
)


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
        "self",
        models.PROTECT,
        related_name="children",
        null=True,
        blank=True,
        verbose_name=_("parent"),
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

    objects = Organizations.as_manager()

    class Meta:
        verbose_name = _("organization")
        verbose_name_plural = _("organizations")
        ordering = ["org_id", "host"]
        constraints = [
            models.UniqueConstraint(fields=["org_id", "host"], name="cybs_org_once_per_host"),
        ]

    def __str__(self) -> str:
        return f"{self.org_id}@{self.host}"

    def save(self, *args: Any, **options: Any) -> None:
        """Refuse, with OrganizationConflict, to move one that has a key."""
        if not self._state.adding:
            written = FIXED - self.get_deferred_fields()
            if options.get("update_fields") is not None:
                written &= set(options["update_fields"])
            stored = type(self).objects.using(options.get("using") or self._state.db)
            stored.filter(pk=self.pk).check_stay({name: getattr(self, name) for name in written})
        super().save(*args, **options)

    def chain(self) -> list[Organization]:
        """This organization, its parent, and so on to the top."""
        chain = [self]
        while (parent := chain[-1].parent) is not None and len(chain) < DEEPEST:
            chain.append(parent)
        return chain
