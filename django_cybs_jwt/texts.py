"""A text that people read: English to programs, the reader's language on a page.

`Text("It ended on {ends:%Y-%m-%d}.", ends=ends)` *is* the English sentence, so what a row, JSON
or a comparison takes of it never depends on a language. `str()` and formatting, which is how
pages and mails show it, say it in the language that is active then. Without Django, and before
its apps are ready, that is English. Joined or cut it is English for good: see `listed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

# Whatever else a text is made of is kept as it reads: no error holds on to a row.
_PLAIN: Final = (str, int, float, date, list, tuple, dict, type(None))


def _english_plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


@dataclass(slots=True)
class Language:
    """What translates; `apps` puts Django's gettext here."""

    gettext: Callable[[str], str] = str
    ngettext: Callable[[str, str, int], str] = _english_plural


LANGUAGE: Final = Language()


class Text(str):
    """A sentence that knows its template and its facts; the template is a constant."""

    template: str
    facts: dict[str, Any]
    forms: tuple[str, str] | None = None

    def __new__(cls, english: str, /, **facts: Any) -> Text:
        """Fill *english*, another text or a template; one without facts may hold braces."""
        template = english
        if isinstance(english, Text):
            template, facts = english.template, english.facts | facts
        for name, value in facts.items():
            if not isinstance(value, _PLAIN):
                facts[name] = str(value)
        self = super().__new__(cls, _filled(template, facts, str.__str__))
        self.template, self.facts = template, facts
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
            return _filled(self._translated(), self.facts, str)
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
        if self.forms is None:
            return LANGUAGE.gettext(self.template)
        return LANGUAGE.ngettext(*self.forms, self.facts["count"])


def listed(texts: Iterable[str], separator: str = ", ") -> Text:
    """Several texts as one, each in the reader's language still."""
    parts = {f"part{place}": text for place, text in enumerate(texts)}
    return Text(separator.join(f"{{{name}}}" for name in parts), **parts)


def _filled(template: str, facts: dict[str, Any], told: Callable[[str], str]) -> str:
    if not facts:
        return template
    texts = {name: told(value) for name, value in facts.items() if type(value) is Text}
    return template.format(**(facts | texts if texts else facts))
