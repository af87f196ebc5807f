"""The language of what is said to somebody who did not ask."""

from __future__ import annotations

from django.conf import settings
from django.utils import translation


def house_language() -> translation.override:
    """The project's language: who reads a message is not who caused it."""
    return translation.override(settings.LANGUAGE_CODE)
