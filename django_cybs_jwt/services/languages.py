"""The language of what is said to somebody who did not ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.utils import translation

from django_cybs_jwt.texts import on_page


@contextmanager
def house_language() -> Iterator[None]:
    """The project's language, and no page's: who reads a message is not who caused it."""
    with translation.override(settings.LANGUAGE_CODE), on_page(False):
        yield
