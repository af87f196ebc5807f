from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import InvalidBody
from django_cybs_jwt.protocol.bodies import LONGEST, check_body, decode_json, encode_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(value=VALUES)
def test_json_comes_back_as_it_went(value: Any) -> None:
    assert decode_json(encode_json(value)) == value
    assert json.loads(encode_json(value)) == value


def test_json_is_compact_utf_8_in_the_callers_order() -> None:
    body = encode_json({"b": [1, 2.5, None, True], "a": "M\u00fcller \u6771\u4eac \U0001f600"})
    assert body == '{"b":[1,2.5,null,true],"a":"M\u00fcller \u6771\u4eac \U0001f600"}'.encode()


@pytest.mark.parametrize("value", [Decimal("102.21"), {"a": Decimal(1)}, {1, 2}, b"4111", object()])
def test_a_foreign_type_is_named_with_the_cure_and_its_value_is_not(value: Any) -> None:
    with pytest.raises(InvalidBody, match=r"Amounts are sent as strings: str\(amount\)") as caught:
        encode_json(value)
    assert "4111" not in str(caught.value)
    assert "102.21" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"x" * LONGEST], ids=["empty", "longest"])
def test_bytes_up_to_the_limit_are_returned_as_they_are(body: bytes) -> None:
    assert check_body(body) is body


@pytest.mark.parametrize(
    ("body", "kind"),
    [("{}", "str"), (bytearray(b"{}"), "bytearray"), (memoryview(b"{}"), "memoryview")],
)
def test_a_body_that_could_change_after_signing_is_refused(body: Any, kind: str) -> None:
    with pytest.raises(InvalidBody, match=f"must be bytes, not {kind}; use json="):
        check_body(body)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{'a':1}",
        b'{"a":1}x',
        b'{"a":1,"a":2}',
        b'[{"b":{"a":1,"a":1}}]',
        b"NaN",
        b'{"a":[Infinity]}',
        b"-Infinity",
        b'"\xff"',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32-le"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_two_readers_could_read_differently_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_json(text)


def test_a_number_too_large_to_be_finite_is_kept_as_python_reads_it() -> None:
    assert decode_json(b"1e400") == math.inf
