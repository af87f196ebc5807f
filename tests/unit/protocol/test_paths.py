from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import InvalidPath
from django_cybs_jwt.protocol.paths import LONGEST, check_path

CHARACTERS = "abcXYZ019-._~!$&'()*+,;=:@/?"
# Texts near the border between what is accepted and what is not.
PIECES = st.sampled_from(
    [*CHARACTERS, "..", "%2e", "%2E", "%252e", "%41", "%7e", "%C3%BC", "%2F", "%25", "%", "//", "#"]
)
NEAR_PATHS = st.lists(PIECES, max_size=30).map(lambda pieces: "/" + "".join(pieces))


def sent(path: str, origin: str = "https://apitest.cybersource.com") -> bytes:
    """The request target that the HTTP library would put on the wire."""
    return httpx.URL(origin + path).raw_path


@given(path=NEAR_PATHS)
@example("/")
@example("/?")
@example("/a?")
@example("/a/%2a?%2a")
@example("/a/?b")
@example("/a'b?c'd")
@example("/a%7Eb?c%7Ed")
@example("/a;b=c/d,e?f=//g&h=a%26b+c%20d")
@example("/:8443/@x/a:b")
@example("/...?..")
def test_an_accepted_path_is_sent_byte_for_byte_as_it_is_signed(path: str) -> None:
    try:
        check_path(path)
    except InvalidPath:
        return
    assert sent(path) == path.encode("ascii")
    assert sent(path, "http://127.0.0.1:8080") == path.encode("ascii")
    url = httpx.URL("https://apitest.cybersource.com" + path)
    assert (url.host, url.port, url.userinfo) == ("apitest.cybersource.com", None, b"")


@given(text=st.text())
def test_any_text_is_returned_unchanged_or_refused(text: str) -> None:
    try:
        checked = check_path(text)
    except InvalidPath:
        return
    assert checked == text


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/pts/v2/payments",
        "/pts/v2/voids/",
        "/tms/v1/instrumentidentifiers/7010000000016241111",
        "/notification-subscriptions/v2/products/acme_001",
        "/a/b.c/.d/e..f/...",
        "/reporting/v3/report-downloads?organizationId=acme&reportDate=2026-11-20&reportName=A%20B",
        "/a/%41%C3%BC",
        "/a?",
        "/a?b/../c",
    ],
)
def test_paths_of_the_gateway_are_accepted(path: str) -> None:
    assert check_path(path) == path


def test_the_longest_path_is_accepted_and_one_more_is_not() -> None:
    assert check_path("/" + "a" * (LONGEST - 1))
    with pytest.raises(InvalidPath, match=f"2049 characters; {LONGEST} is the most"):
        check_path("/" + "a" * LONGEST)


@pytest.mark.parametrize(
    ("path", "cure"),
    [
        ("pts/v2/payments", "must start with one '/'"),
        ("https://apitest.cybersource.com/a", "carry no host"),
        ("/pts/v2/payments/{id}/refunds", "placeholder in braces. Fill it in"),
        ("/a#b", "fragments are never sent"),
        ("/a b", "must be percent-encoded"),
        ("/a\u00fc", "must be percent-encoded"),
        ("/pts/v2/payments//refunds", "Is an id missing"),
        ("/a/../b", "Write the path it leads to"),
        ("/a/%2F/b", "hides a slash"),
        ("/a?b=%0a", "hides a control character. Remove it"),
    ],
)
def test_a_refusal_names_the_cure(path: str, cure: str) -> None:
    with pytest.raises(InvalidPath, match=cure):
        check_path(path)


@pytest.mark.parametrize("path", [None, b"/pts/v2/payments", 1, ["/a"]], ids=repr)
def test_what_is_no_text_is_refused_as_a_path(path: Any) -> None:
    with pytest.raises(InvalidPath, match="The path is text"):
        check_path(path)
