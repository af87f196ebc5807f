"""Badges: a word and a colour that says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from django.utils.html import format_html
from django.utils.safestring import SafeString

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

Tone = Literal["good", "warn", "bad", "plain"]

_SOON: Final = 7
_NEAR: Final = 30


def badge(tone: Tone, text: Text) -> SafeString:
    """*text* in its badge, escaped whatever it is."""
    return format_html('<span class="cybs-badge cybs-{}">{}</span>', tone, text)


def days_tone(days: int | None) -> Tone:
    """How near an end is, as a colour."""
    if days is None or days >= 90:
        return "plain"
    return "bad" if days < _SOON else "warn" if days < _NEAR else "plain"
