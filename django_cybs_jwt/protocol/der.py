"""A strict reader of DER: tags and lengths, never meaning.

Key files are looked at with it before any cryptography sees them. What DER forbids and BER
allows (indefinite lengths, padded lengths, strings in pieces) is refused, as are bytes after
the end. Bad input raises UnreadableKeyFile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NoReturn

from django_cybs_jwt.exceptions import UnreadableKeyFile
from django_cybs_jwt.texts import Text

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
SEQUENCE: Final = 0x30
CONTEXT_0: Final = 0xA0

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 10_000

_CONSTRUCTED: Final = 0x20
_CONSTRUCTED_STRINGS: Final = frozenset({0x23, 0x24})
NOT_DER: Final = Text(
    "The file is written in BER, not in DER. Write it anew with "
    "`openssl pkcs12 -in OLD -nodes | openssl pkcs12 -export -out NEW`."
)


@dataclass(frozen=True, slots=True)
class Element:
    """One tag with its content; *encoded* is all of it, header included."""

    tag: int
    content: bytes = field(repr=False)
    encoded: bytes = field(repr=False)

    def children(self) -> list[Element]:
        """The elements inside; none in a primitive one."""
        return read_all(self.content) if self.tag & _CONSTRUCTED else []

    def expect(self, *tags: int) -> list[Element]:
        """The children, when they begin with these tags; else UnreadableKeyFile."""
        found = self.children()
        if tuple(child.tag for child in found[: len(tags)]) != tags:
            raise UnreadableKeyFile
        return found

    def integer(self) -> int:
        """The value of an INTEGER; anything else raises UnreadableKeyFile."""
        if self.tag != INTEGER or not self.content:
            raise UnreadableKeyFile
        return int.from_bytes(self.content, signed=True)


def parse(data: bytes) -> Element:
    """Read exactly one element that fills *data*."""
    element = _read(data, 0)
    if left := len(data) - len(element.encoded):
        raise UnreadableKeyFile(
            "The file goes on for {left} bytes after its end. Download the key again.", left=left
        )
    return element


def read_all(data: bytes) -> list[Element]:
    """Read elements side by side until *data* ends."""
    found, position = [], 0
    while position < len(data):
        found.append(_read(data, position))
        position += len(found[-1].encoded)
        if len(found) > MAX_ELEMENTS:
            _too_complicated()
    return found


def walk(root: Element) -> Iterator[Element]:
    """Every element of the tree, *root* first; OCTET STRINGs are leaves, whatever they wrap.

    More than 32 levels or 10,000 elements raise UnreadableKeyFile.
    """
    stack, seen = [(root, 1)], 0
    while stack:
        element, depth = stack.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_ELEMENTS:
            _too_complicated()
        yield element
        stack.extend((child, depth + 1) for child in reversed(element.children()))


def encode(tag: int, *contents: bytes) -> bytes:
    """Write one element around *contents*."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    digits = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(digits))) + digits + content


def object_identifier(dotted: str) -> bytes:
    """The content of an OBJECT IDENTIFIER, from a name like `1.2.840.113549.1.7.1`."""
    first, second, *rest = map(int, dotted.split("."))
    return b"".join(_base128(number) for number in (40 * first + second, *rest))


def _base128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes(reversed(digits))


def _read(data: bytes, start: int) -> Element:
    tag = _byte(data, start)
    if tag & 0x1F == 0x1F:  # no key file has tags of several bytes
        raise UnreadableKeyFile
    length, first = _length(data, start + 1)
    end = first + length
    if end > len(data):
        raise UnreadableKeyFile
    if tag in _CONSTRUCTED_STRINGS:
        raise UnreadableKeyFile(NOT_DER)
    return Element(tag, data[first:end], data[start:end])


def _length(data: bytes, at: int) -> tuple[int, int]:
    """The length that stands *at*, and where the content begins."""
    short = _byte(data, at)
    if short < 0x80:
        return short, at + 1
    if short == 0x80:
        raise UnreadableKeyFile(NOT_DER)
    end = at + 1 + (short & 0x7F)
    digits = data[at + 1 : end]
    length = int.from_bytes(digits)
    if end > len(data) or length > len(data):
        raise UnreadableKeyFile
    if length < 0x80 or digits[0] == 0:
        raise UnreadableKeyFile(NOT_DER)
    return length, end


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise UnreadableKeyFile
    return data[at]


def _too_complicated() -> NoReturn:
    raise UnreadableKeyFile(
        "The file is nested more deeply, or made of more pieces, than a key file is."
    )
