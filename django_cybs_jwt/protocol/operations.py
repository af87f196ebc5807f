"""Which operations the gateway takes encrypted: a table shipped as data, overridable.

`data/operations.csv` holds one row per method and path template, as the official Python SDK
0.0.80 states it. An operation without a row counts as *optional*, so its body is encrypted.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import resources
from typing import Final, Literal, Self, get_args
from urllib.parse import unquote

from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.texts import Text

Policy = Literal["mandatory", "optional", "off"]

_PARAMETER: Final = re.compile(r"\{[^{}/]+\}\Z")
_BEHIND: Final = re.compile("[;?#]")  # what a server may cut off before it looks at a segment
# Only what a decoded path can match: a key that never matches would protect nothing.
_KEY: Final = re.compile(r"(GET|POST|PUT|PATCH|DELETE) ((?:/(?:\{[^{}/\s]+\}|[^{}/\s?#%]*))+)\Z")
# A version or a plain word; anything else may be an id, a token or a card number.
_WORD: Final = re.compile(r"(?:v\d{1,2}|[A-Za-z]+(?:-[A-Za-z]+)*)\Z")

Template = tuple[str | None, ...]


class _Rows:
    """Policies by method and template, and the one that a concrete path falls under."""

    def __init__(self, policies: dict[tuple[str, Template], Policy]) -> None:
        self.policies = policies
        self._shapes: dict[tuple[str, int, str | None], list[Template]] = {}
        for method, template in policies:
            self._shapes.setdefault((method, len(template), template[0]), []).append(template)
        for templates in self._shapes.values():
            # "/customers/new" is more particular than "/customers/{id}".
            templates.sort(key=lambda template: [segment is None for segment in template])

    def policy(self, method: str, segments: tuple[str, ...]) -> Policy | None:
        template = self.match(method, segments)
        return None if template is None else self.policies[method, template]

    def match(self, method: str, segments: tuple[str, ...]) -> Template | None:
        # A path without parameters is the most particular one, and what most requests name.
        if (method, segments) in self.policies:
            return segments
        for first in (segments[0], None):
            for template in self._shapes.get((method, len(segments), first), ()):
                if _fits(template, segments):
                    return template
        return None


class Operations:
    """The request-MLE policy by method and path template.

    mandatory  the gateway refuses a plain body, and so do we
    optional   encrypted unless the caller says mle=False
    off        plain unless the caller says mle=True
    """

    def __init__(self, rows: Iterable[tuple[str, str, Policy]]) -> None:
        self._rows = _Rows(
            {(method.upper(), _template(path)): policy for method, path, policy in rows}
        )
        self._folded = _Rows(
            {
                (method, tuple(word and _fold(word) for word in template)): policy
                for (method, template), policy in self._rows.policies.items()
            }
        )

    def policy(self, method: str, path: str) -> Policy:
        """The policy for a concrete *path*; its query string does not count.

        What a server might take for a mandatory operation is one: another case, parameters
        behind a semicolon, a second encoding, and spaces or dots at an end change nothing.
        """
        method, segments = method.upper(), _segments(path)
        if self._folded.policy(method, _folded(segments)) == "mandatory":
            return "mandatory"
        return self._rows.policy(method, segments) or "optional"

    def name(self, method: str, path: str) -> str:
        """The operation as `METHOD /path/{id}`: of a concrete path, what names no one thing."""
        method, segments = method.upper(), _segments(path)
        template = self._rows.match(method, segments)
        if template is None:
            template = tuple(word if _WORD.match(word) else None for word in segments)
        return f"{method} {_path(template)}"

    def find(self, operation: str) -> str | None:
        """The name in this table of `METHOD /path`, with or without its ids; None for no row."""
        match = _KEY.match(operation)
        if match is None:
            return None
        template = self._rows.match(match[1], _segments(match[2]))
        return None if template is None else f"{match[1]} {_path(template)}"

    def suggestion(self, operation: str) -> str:
        """What to write instead of a name that is in no row."""
        names = [f"{method} {_path(shape)}" for method, shape in self._rows.policies]
        near = get_close_matches(operation, names, n=1)
        cure = Text("One that is missing in the table can be added to it with OPERATIONS.")
        return Text("Did you mean {near!r}? {cure}", near=near[0], cure=cure) if near else cure

    def overridden(self, changes: Mapping[str, str]) -> Self:
        """A copy with *changes*, each `"POST /pts/v2/payments": "mandatory"`."""
        rows = [
            (method, _path(shape), policy)
            for (method, shape), policy in self._rows.policies.items()
        ]
        rows.extend(_parse_change(key, policy) for key, policy in changes.items())
        return type(self)(rows)


@cache
def default_operations() -> Operations:
    """The shipped table."""
    text = resources.files(__package__).joinpath("data/operations.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return Operations((row["method"], row["path"], _policy(row["request_mle"])) for row in rows)


def _segments(path: str) -> tuple[str, ...]:
    return _split(path.partition("?")[0])


# A merchant's day is a few resources over and over, and some with an id that pass through.
@lru_cache(maxsize=512)
def _split(resource: str) -> tuple[str, ...]:
    return tuple(unquote(resource).strip("/").split("/"))


def _fits(template: Template, segments: tuple[str, ...]) -> bool:
    # From behind: templates of one length differ there, and begin alike.
    for at in range(len(template) - 1, -1, -1):
        if template[at] is not None and template[at] != segments[at]:
            return False
    return True


@lru_cache(maxsize=512)
def _folded(segments: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_fold, segments))


def _fold(segment: str) -> str:
    return _BEHIND.split(unquote(segment), maxsplit=1)[0].strip(" .").casefold()


def _template(path: str) -> Template:
    segments = path.strip("/").split("/")
    return tuple(None if _PARAMETER.match(segment) else segment for segment in segments)


def _path(template: Template) -> str:
    return "/" + "/".join("{id}" if segment is None else segment for segment in template)


def _parse_change(key: str, policy: str) -> tuple[str, str, Policy]:
    match = _KEY.match(key)
    if match is None:
        raise ConfigurationError(
            "{key!r} is not an operation. Write it like 'POST /pts/v2/payments/{{id}}/refunds'.",
            key=key,
        )
    return match[1], match[2], _policy(policy)


def _policy(text: str) -> Policy:
    for policy in get_args(Policy):
        if policy == text:
            return policy  # type: ignore[no-any-return]  # get_args() is untyped
    raise ConfigurationError("{text!r} is not a policy. Use mandatory, optional or off.", text=text)
