"""A text that people read: English to programs, the reader's language on a page.

`Text("It ended on {ends:%Y-%m-%d}.", ends=ends)` *is* the English sentence, so what a row, JSON
or a comparison takes of it never depends on a language. `str()` and formatting, which is how
pages and mails show it, say it in the language that is active then. Without Django, and before
its apps are ready, that is English. Joined or cut it is English for good: see `listed`.

On a page, which says so with `on_page`, dates are written as the site writes them, and where the
cure is a command the text has another one: *page*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

# Whatever else a text is made of is kept as it reads: no error holds on to a row.
_PLAIN: Final = (str, int, float, date, list, tuple, dict, type(None))


def _english_plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


@dataclass(slots=True)
class Language:
    """What translates and writes dates; `apps` puts Django's functions here."""

    gettext: Callable[[str], str] = str
    ngettext: Callable[[str, str, int], str] = _english_plural
    day: Callable[[datetime], str] = str
    moment: Callable[[datetime], str] = str


LANGUAGE: Final = Language()
_ON_PAGE: Final[ContextVar[bool]] = ContextVar("cybs_on_page", default=False)


@contextmanager
def on_page(is_page: bool = True) -> Iterator[None]:
    """What is said within is read on a page, or, with False, again where commands are known."""
    token = _ON_PAGE.set(is_page)
    try:
        yield
    finally:
        _ON_PAGE.reset(token)


class Text(str):
    """A sentence that knows its template and its facts; the template is a constant."""

    template: str
    facts: dict[str, Any]
    forms: tuple[str, str] | None = None
    page: str

    def __new__(cls, english: str, /, *, page: str = "", **facts: Any) -> Text:
        """Fill *english*, another text or a template; one without facts may hold braces.

        *page* is what a page says instead, of the same facts.
        """
        template = english
        if isinstance(english, Text):
            template, facts = english.template, english.facts | facts
            page = page or english.page
        for name, value in facts.items():
            if not isinstance(value, _PLAIN):
                facts[name] = str(value)
        self = super().__new__(cls, _filled(template, facts, str.__str__))
        self.template, self.facts, self.page = template, facts, page
        return self

    @classmethod
    def counted(cls, one: str, many: str, count: int, /, **facts: Any) -> Text:
        """A text about *count* things, in as many forms as its reader's language has."""
        self = cls(_english_plural(one, many, count), count=count, **facts)
        self.forms = one, many
        return self

    @property
    def english(self) -> str:
        """The sentence in English, whatever language is active: for logs."""
        return str.__str__(self)

    def __str__(self) -> str:
        try:
            return _filled(self._translated(), _shown(self.facts), str)
        except (
            LookupError,
            ValueError,
            TypeError,
            AttributeError,
        ):  # a translation names what there is not
            return self.english

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def _translated(self) -> str:
        if self.page and _ON_PAGE.get():
            return LANGUAGE.gettext(self.page)
        if self.forms is None:
            return LANGUAGE.gettext(self.template)
        return LANGUAGE.ngettext(*self.forms, self.facts["count"])


class _Date:
    """A date within a text on a page: written as the site writes them, whatever the text says."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def __format__(self, spec: str) -> str:
        return LANGUAGE.moment(self._at) if "%H" in spec else LANGUAGE.day(self._at)


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    if not _ON_PAGE.get():
        return facts
    return {
        name: _Date(value) if isinstance(value, datetime) else value
        for name, value in facts.items()
    }


def listed(texts: Iterable[str], separator: str = ", ") -> Text:
    """Several texts as one, each in the reader's language still."""
    parts = {f"part{place}": text for place, text in enumerate(texts)}
    return Text(separator.join(f"{{{name}}}" for name in parts), **parts)


def _filled(template: str, facts: dict[str, Any], told: Callable[[str], str]) -> str:
    if not facts:
        return template
    texts = {name: told(value) for name, value in facts.items() if type(value) is Text}
    return template.format(**(facts | texts if texts else facts))
