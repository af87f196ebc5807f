"""Which backend Django's mail goes through: MAILERS from Django 6.1 on, EMAIL_BACKEND before."""

from __future__ import annotations

from typing import Any

import django

LOCMEM = "django.core.mail.backends.locmem.EmailBackend"


def through(backend: str) -> dict[str, Any]:
    """The settings that send mail through *backend*, a dotted path."""
    if django.VERSION >= (6, 1):
        return {"MAILERS": {"default": {"BACKEND": backend}}}
    return {"EMAIL_BACKEND": backend}


def use(settings: Any, backend: str) -> None:
    """Send through *backend* until the test ends; *settings* is pytest-django's fixture."""
    for name, value in through(backend).items():
        setattr(settings, name, value)
