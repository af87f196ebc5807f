"""Badges: a word and a colour that says the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

Tone = Literal["good", "warn", "bad", "plain"]

_DOTS: Final = re.compile(r"(?=\.)")
_SOON: Final = 7
_NEAR: Final = 30


def badge(tone: Tone, text: Text) -> SafeString:
    """*text* in its badge, escaped whatever it is."""
    return format_html('<span class="cybs-badge cybs-{}">{}</span>', tone, text)


def breakable(name: object) -> SafeString:
    """*name*, a host or `MID@HOST`, for a narrow column: broken before the host, or at its dots."""
    owner, at, host = str(name).rpartition("@")
    parts = format_html_join("", "{}<wbr>", ((part,) for part in _DOTS.split(f"{at}{host}")))
    return format_html('{}<span class="cybs-host">{}</span>', owner, parts)


def days_tone(days: int | None) -> Tone:
    """How near an end is, as a colour."""
    if days is None or days >= 90:
        return "plain"
    return "bad" if days < _SOON else "warn" if days < _NEAR else "plain"
