"""Which backend Django's mail goes through: MAILERS from Django 6.1 on, EMAIL_BACKEND before."""

from __future__ import annotations

from typing import Any

import django

LOCMEM = "django.core.mail.backends.locmem.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"


def through(backend: str, timeout: float | None = None) -> dict[str, Any]:
    """The settings that send mail through *backend*, a dotted path."""
    if django.VERSION >= (6, 1):
        options = {} if timeout is None else {"timeout": timeout}
        return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
    return {"EMAIL_BACKEND": backend, "EMAIL_TIMEOUT": timeout}


def use(settings: Any, backend: str, timeout: float | None = None) -> None:
    """Send through *backend* until the test ends; *settings* is pytest-django's fixture."""
    for name, value in through(backend, timeout).items():
        setattr(settings, name, value)
