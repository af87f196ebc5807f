"""The Django app."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from django.apps import AppConfig
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.texts import LANGUAGE


class CybsJwtConfig(AppConfig):
    """Registers the system checks; starts nothing, opens nothing."""

    name = "django_cybs_jwt"
    label = "cybs_jwt"
    verbose_name = _("Cybersource keys")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Wire the checks and the language."""
        from django_cybs_jwt import checks  # registers on import, once apps are loaded

        checks.register()
        LANGUAGE.gettext, LANGUAGE.ngettext = gettext, ngettext
        LANGUAGE.day = partial(_written, "DATE_FORMAT")
        LANGUAGE.moment = partial(_written, "DATETIME_FORMAT")


def _written(kind: str, at: datetime) -> str:
    return date_format(timezone.localtime(at), kind)
