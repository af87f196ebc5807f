"""What must be found nowhere outside its sealed column, in every spelling that it could have."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from django_cybs_jwt.testing.ring import testing_ring
from tests.faults.platform import CARD


def planted() -> dict[str, list[bytes]]:
    """By name: the card number, the field that no message of ours has, the keys of the ring."""
    ring = testing_ring()
    keys = [ring["index_key"], ring["audit_key"], *(key["key"] for key in ring["keys"].values())]
    texts = {"card number": [CARD], "security code": ["securityCode"], "ring": keys}
    return {
        name: [spelling for text in found for spelling in _spellings(text.encode())]
        for name, found in texts.items()
    }


def _spellings(text: bytes) -> Iterator[bytes]:
    """As it is, as hex, and in base64 wherever it begins: a broker's library may wrap messages."""
    yield text
    yield text.hex().encode()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + text)
        # The first and the last group also depend on what stands around it.
        yield encoded[4 if before else 0 : len(encoded) // 4 * 4 - 4]


class Search:
    """Counts canaries in a stream that comes in pieces."""

    def __init__(self) -> None:
        self.bytes = 0
        self.found: Counter[str] = Counter()
        self._planted = planted()
        self._longest = max(len(each) for found in self._planted.values() for each in found)

    def feed(self, piece: bytes, tail: bytes = b"") -> bytes:
        """Look at *piece*; returns what to give as *tail* with the next one of its stream."""
        self.bytes += len(piece)
        text = tail + piece
        for name, spellings in self._planted.items():
            self.found[name] += sum(self._ends_in_piece(text, each, tail) for each in spellings)
        return text[-self._longest :]

    @staticmethod
    def _ends_in_piece(text: bytes, spelling: bytes, tail: bytes) -> int:
        """What lies in the tail whole was counted before."""
        return text.count(spelling) - tail.count(spelling)


def in_file(path: Path) -> Search:
    """The same in a file."""
    search, tail = Search(), b""
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            tail = search.feed(piece, tail)
    return search
