"""The search of the fault runs finds what it should, in any spelling and wherever it is cut."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.faults import canaries
from tests.faults.platform import order

MESSAGE = json.dumps([["m1", order(1)], {}]).encode()


@pytest.mark.parametrize("before", range(3))
@pytest.mark.parametrize("spell", [bytes, base64.b64encode, lambda text: text.hex().encode()])
def test_a_payment_in_a_message_is_found(spell: type[bytes], before: int) -> None:
    search = canaries.Search()
    search.feed(spell(b"x" * before + MESSAGE))
    assert search.found["card number"] > 0
    assert search.found["security code"] > 0


def test_it_is_found_once_wherever_the_stream_is_cut() -> None:
    for cut in range(len(MESSAGE)):
        search = canaries.Search()
        tail = search.feed(MESSAGE[:cut])
        search.feed(b"", search.feed(MESSAGE[cut:], tail))
        assert search.found["card number"] == 1


def test_a_file_is_searched_whole(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"." * (1 << 20) + MESSAGE)
    search = canaries.in_file(tmp_path / "log")
    assert (search.found["card number"], search.bytes) == (1, (1 << 20) + len(MESSAGE))


def test_an_innocent_stream_has_none() -> None:
    search = canaries.Search()
    search.feed(b'[["0b0c8e3e-7f0e-4dc1-8f6e-1f3f3f3f3f3f"], {}, {"callbacks": null}]')
    assert search.found.total() == 0
