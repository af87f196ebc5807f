"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
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
