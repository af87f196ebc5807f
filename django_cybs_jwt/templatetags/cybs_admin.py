"""Tags of the admin's templates: each calls one service."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone

from django_cybs_jwt.services import alerts

register = template.Library()


@register.inclusion_tag("cybs_jwt/banner.html")
def cybs_banner() -> dict[str, Any]:
    """A warning when nobody watches over the ends of keys."""
    return {"is_silent": alerts.job_is_silent(timezone.now()), "last_run": alerts.last_run()}
