"""Tags of the admin's templates: each calls one service."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone

from django_cybs_jwt.models import words
from django_cybs_jwt.services import alerts, scope
from django_cybs_jwt.services.overview import dashboard
from django_cybs_jwt.services.permissions import Permission

register = template.Library()

register.filter("action_in_words", words.action)


@register.inclusion_tag("cybs_jwt/banner.html")
def cybs_banner() -> dict[str, Any]:
    """A warning when nobody watches over the ends of keys."""
    last_run = alerts.last_run()
    return {"is_silent": alerts.is_silent(last_run, timezone.now()), "last_run": last_run}


@register.inclusion_tag("cybs_jwt/dashboard.html", takes_context=True)
def cybs_dashboard(context: Any) -> dict[str, Any]:
    """The numbers of the front page, as far as the visitor may see what they count."""
    request = context["request"]
    user = request.user
    numbers = dashboard.of(
        scope.of(user),
        actor=user.get_username(),
        now=timezone.now(),
        may_view=lambda model: bool(user.has_perm(f"cybs_jwt.view_{model}")),
        may_approve=user.has_perm(Permission.APPROVE),
    )
    may_import = user.has_perm(Permission.IMPORT)
    return {"numbers": numbers, "may_import": may_import, "request": request}
