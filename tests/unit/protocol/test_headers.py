from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import InvalidHeader
from django_cybs_jwt.protocol.headers import LONGEST, check_headers


def test_a_mapping_and_pairs_are_taken_in_their_order_with_names_in_lower_case() -> None:
    expected = (("v-c-client-id", "a b"), ("x-y", ""))
    assert check_headers({"V-C-Client-Id": "a b", "X-Y": ""}) == expected
    assert check_headers(iter([("V-C-Client-Id", "a b"), ("X-Y", "")])) == expected
    assert check_headers(()) == ()


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "connection", "content-length", "cookie", "host", "transfer-encoding"),
        "v-c-merchant-id",
    ],
)
@pytest.mark.parametrize("write", [str.lower, str.upper, str.title])
def test_what_the_seal_or_the_library_writes_is_refused_in_any_case(
    name: str, write: Callable[[str], str]
) -> None:
    with pytest.raises(InvalidHeader, match=f"{name} is written when the request is signed"):
        check_headers({write(name): "x"})


def test_the_longest_value_is_accepted_and_one_more_is_not() -> None:
    assert check_headers({"x": "a" * LONGEST}) == (("x", "a" * LONGEST),)
    with pytest.raises(InvalidHeader, match=f"at most {LONGEST} characters"):
        check_headers({"x": "a" * (LONGEST + 1)})


@given(name=st.text(max_size=70), value=st.text(max_size=20))
def test_what_is_accepted_is_sent_byte_for_byte(name: str, value: str) -> None:
    try:
        pairs = check_headers({name: value})
    except InvalidHeader:
        return
    assert pairs == ((name.lower(), value),)
    sent = httpx.Headers(pairs).raw
    assert sent == [(name.lower().encode("ascii"), value.encode("ascii"))]
    assert value == value.strip()
    assert value.isprintable()


@pytest.mark.parametrize("secret", ["4111111111111111\r\nx: y", "\u00e9 4111111111111111"])
def test_a_refused_value_is_not_quoted(secret: str) -> None:
    with pytest.raises(InvalidHeader) as caught:
        check_headers({"x-note": secret})
    assert "4111" not in str(caught.value)
    assert "x-note" in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        {"x": 1},
        {"x": None},
        {"x": b"1"},
        {b"x": "1"},
        {1: "1"},
        [("x",)],
        [("x", "1", "2")],
        ["x: 1"],
        [1],
        "x: 1",
        7,
        None,
    ],
    ids=repr,
)
def test_what_is_no_text_in_pairs_is_refused_as_a_header(headers: Any) -> None:
    with pytest.raises(InvalidHeader):
        check_headers(headers)
