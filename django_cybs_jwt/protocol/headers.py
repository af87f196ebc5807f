"""Headers a caller may add to a signed request, checked before a library sees them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from django_cybs_jwt.exceptions import InvalidHeader

LONGEST: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?\Z")

# Written by the seal or by the HTTP library; a second one would be smuggling. The merchant is
# named by the token alone: a header could name another.
RESERVED: Final = frozenset(
    {
        *("authorization", "host", "content-length", "transfer-encoding", "connection", "cookie"),
        "v-c-merchant-id",
    }
)

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


def check_headers(headers: Headers) -> tuple[tuple[str, str], ...]:
    """Return the headers as pairs with names in lower case, or raise InvalidHeader."""
    return tuple(_check(name, value) for name, value in _pairs(headers))


def _pairs(headers: Headers) -> list[tuple[object, object]]:
    try:
        items = headers.items() if isinstance(headers, Mapping) else headers
        return [(name, value) for name, value in items]
    except (TypeError, ValueError):
        raise InvalidHeader("Headers are a mapping, or pairs of a name and a value.") from None


def _check(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str) or not isinstance(value, str):
        raise InvalidHeader("Names and values of headers are text, not bytes and not numbers.")
    if not _NAME.match(name):
        raise InvalidHeader("{name!r} is not a header name.", name=name[:80])
    lowered = name.lower()
    if lowered in RESERVED:
        raise InvalidHeader(
            "{lowered} is written when the request is signed; leave it out.", lowered=lowered
        )
    if len(value) > LONGEST or not _VALUE.match(value):
        raise InvalidHeader(
            "The value of {lowered} must be printable ASCII without outer spaces, "
            "at most {longest} characters.",
            lowered=lowered,
            longest=LONGEST,
        )
    return lowered, value
