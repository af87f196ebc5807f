"""A language in which every known text stands in brackets, and what a page says outside of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import django
from django.utils import translation

from tests import catalogue

OPEN, CLOSE = "⟦", "⟧"
_FACTS: Final = re.compile(r"(%\(\w+\)[a-z]|%[sd%]|\{\{|\}\}|\{\w+[^{}]*\})")
_CHOICES: Final = re.compile(r"(?<=\w)(,)(?=\w)")  # "yes,no" for the filter of that name
_WORD: Final = re.compile(r"[A-Za-z]*[a-z]{2,}")
"""A word of a language; capitals alone are a code: ACTIVE, RS256, UTC."""
_DATA: Final = re.compile(
    r"https?://[^\s,]+|[\w.+-]+@[\w.-]+|`[^`]*`|'[^']*'"
    r"|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\b"
)
"""Addresses, commands, ids, digests, and what a message quotes."""
_SHOWN: Final = ("title", "alt", "placeholder", "aria-label")
_SILENT: Final = ("script", "style", "code", "pre", "textarea")
_VOID: Final = ("br", "hr", "img", "input", "link", "meta")


def speak(put: Callable[[Any, str, Any], None]) -> None:
    """Let gettext answer in brackets, and what it does not know as it is."""
    texts = _known()

    def gettext(message: str) -> str:
        return bracketed(message) if message in texts else message

    def ngettext(one: str, many: str, number: int) -> str:
        return gettext(one if number == 1 else many)

    backend = translation._trans  # type: ignore[attr-defined]
    put(backend, "gettext", gettext)
    put(backend, "ngettext", ngettext)
    put(backend, "pgettext", lambda _context, message: gettext(message))
    put(backend, "npgettext", lambda _context, *counted: ngettext(*counted))


@cache
def _known() -> set[str]:
    """What our catalogue and Django's own have a translation for."""
    theirs = Path(django.__file__).parent.glob("**/locale/en/LC_MESSAGES/django.po")
    found = [
        *catalogue.messages(),
        *(each for path in theirs for each in catalogue.parse(path.read_text())),
    ]
    return {each.one for each in found} | {each.many for each in found}


def bracketed(text: str) -> str:
    """The constant parts of a template in brackets: what is filled in stands outside."""
    parts = (_FACTS if " " in text or "{" in text or "%" in text else _CHOICES).split(text)
    return "".join(
        part if place % 2 or not part.strip() else f"{OPEN}{part}{CLOSE}"
        for place, part in enumerate(parts)
    )


def unsaid(page: str, data: Iterable[str] = ()) -> set[str]:
    """What a page says in words outside the brackets that are no *data*."""
    reader = _Reader()
    reader.feed(page)
    return {left for shown in reader.outside if (left := outside(shown, data))}


def outside(shown: str, data: Iterable[str] = ()) -> str:
    """What is left of one text without what is in brackets and without *data*."""
    left = "".join(_outside(shown, [0]))
    for value in data:
        if value in left:
            left = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", " ", left)
    left = _DATA.sub(" ", left)
    return " ".join(left.split()) if _WORD.search(left) else ""


def _outside(text: str, depth: list[int]) -> Iterator[str]:
    for character in text:
        depth[0] += character == OPEN
        yield " " if depth[0] else character
        depth[0] -= character == CLOSE


class _Reader(HTMLParser):
    """Collects what people read or hear and is in no brackets: these may span elements."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.open: list[tuple[str, bool]] = []
        self.depth = [0]
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":
            return
        self._end_text()
        given = dict(attrs)
        is_data = tag in _SILENT or "cybs-mono" in (given.get("class") or "")
        if tag not in _VOID:
            self.open.append((tag, is_data))
        shown = [*_SHOWN, *(["value"] if (tag, given.get("type")) == ("input", "submit") else [])]
        self.outside += ["".join(_outside(given.get(name) or "", [0])) for name in shown]

    def handle_endtag(self, tag: str) -> None:
        self._end_text()
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data

    def _end_text(self) -> None:
        said = "".join(_outside(self.text, self.depth))
        if not any(is_data for _tag, is_data in self.open):
            self.outside.append(said)
        self.text = ""
