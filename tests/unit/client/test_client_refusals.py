"""What must not be sent is refused before anything leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from django_cybs_jwt.exceptions import (
    EncryptionImpossible,
    EncryptionRequired,
    InvalidBody,
    InvalidHeader,
    InvalidHost,
    InvalidPath,
    MessageError,
)
from tests.unit.client.merchants import HOST, PAYMENT, Call, Sender, config
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import RawServer

PATHS = [
    # B65: another authority
    "//evil.com/x", "///evil", "/\\evil", "\\\\evil",
    # B66: concatenation would change host or port
    "@evil.com/", ".evil.com/", ":80@evil.com/", ":8443/x",
    # B67: absolute
    "https://evil.com/", "http:evil.com", "javascript:alert(1)", f"https://{HOST}/pts/v2/payments",
    # B68: dot segments
    "/a/../../admin", "/%2e%2e/x", "/%252e%252e/x", "/./x", "/;/../x", "/..;/x",
    # B69: controls, fragment, space
    "/a\r\nX: 1", "/a\tb", "/a\0b", "/a%0d%0ab", "/a%00", "/a#f", "/a b",
    # B70: not ASCII, too long, empty
    "/ü", "/\uff0fevil", "/\u2025/", "/\u2044evil", "/\ud800", "/" + "a" * 20_000, "",
    # B71: unfilled and injected ids
    "/pts/v2/payments/{id}/voids", "/pts/v2/payments//voids", "/a%2Fb/../c", "/%2F..%2Fadmin",
]  # fmt: skip

HEADERS: list[dict[str, str]] = [
    {"X-Own": "a\r\nX-Other: b"},
    {"X-Own": "a\0b"},
    {"X-Own": "é"},
    {"X-Own": " a"},
    {"X-Own": "a" * 8192},
    {"X:Own": "a"},
    {"Authorization": "Bearer mine"},
    {"Cookie": "a=b"},
]

CALLS: list[tuple[str, Call, type[MessageError]]] = [
    ("NaN", Call(options={"json": {"a": float("nan")}}), InvalidBody),
    ("surrogate", Call(options={"json": {"a": "\ud800"}}), InvalidBody),
    ("object", Call(options={"json": {"a": object()}}), InvalidBody),
    ("9 MiB", Call(options={"content": b'"' + b"a" * (9 << 20) + b'"'}), InvalidBody),
    ("two bodies", Call(options={"json": {}, "content": b"{}"}), InvalidBody),
    ("HEAD", Call("HEAD", "/x"), MessageError),
    ("OPTIONS", Call("OPTIONS", "/x"), MessageError),
    (
        "plain where mandatory",
        Call("POST", "/tms/v2/tokenize", {"json": {}, "extensions": {"cybs_mle": False}}),
        EncryptionRequired,
    ),
    (
        "0 for False",
        Call("POST", "/tms/v2/tokenize", {"json": {}, "extensions": {"cybs_mle": 0}}),
        MessageError,
    ),
    (
        "form where encrypted",
        Call("POST", "/pts/v2/payments", {"data": {"a": "b"}}),
        EncryptionImpossible,
    ),
]


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_a_hostile_path_is_refused(sender: Sender, server: RawServer, path: str) -> None:
    with pytest.raises(InvalidPath):
        sender.send(keys_of(), config(server.url), [Call("GET", path)])
    assert not server.accepted


@pytest.mark.parametrize("headers", HEADERS, ids=range(len(HEADERS)))
def test_a_hostile_header_is_refused(
    sender: Sender, server: RawServer, headers: dict[str, str]
) -> None:
    options = {"json": PAYMENT, "headers": _as_bytes(headers)}
    with pytest.raises(InvalidHeader) as caught:
        sender.send(keys_of(), config(server.url), [Call(options=options)])
    assert not server.accepted
    assert "Bearer mine" not in str(caught.value)


@pytest.mark.parametrize(("call", "error"), [c[1:] for c in CALLS], ids=[c[0] for c in CALLS])
def test_an_impossible_message_is_refused(
    sender: Sender, server: RawServer, call: Call, error: type[MessageError]
) -> None:
    with pytest.raises(error):
        sender.send(keys_of(), config(server.url), [call])
    assert not server.accepted


@pytest.mark.parametrize(
    "url",
    [
        httpx.URL("https://evil.com/pts/v2/payments"),
        httpx.URL(f"https://{HOST}@evil.com/x"),
        httpx.URL(f"https://{HOST}.evil.com/x"),
        httpx.URL("https://apitest.visaacceptance.com/x"),
    ],
    ids=str,
)
def test_another_host_is_refused(sender: Sender, server: RawServer, url: Any) -> None:
    with pytest.raises(InvalidHost, match=HOST):
        sender.send(keys_of(), config(server.url), [Call("GET", url)])
    assert not server.accepted


@pytest.mark.parametrize("url", ["//evil.com/x", "https:/x", "/x#fragment", "x"])
def test_a_url_object_is_checked_like_a_path(sender: Sender, server: RawServer, url: str) -> None:
    """httpx itself drops the scheme or the host of a URL that has only one of them."""
    with pytest.raises(InvalidPath):
        sender.send(keys_of(), config(server.url), [Call("GET", httpx.URL(url))])
    assert not server.accepted


@pytest.mark.parametrize(
    "change",
    [
        lambda client: setattr(client, "base_url", "https://evil.com"),
        lambda client: client.headers.update({"authorization": "Basic x"}),
        lambda client: client.cookies.set("a", "b"),
    ],
    ids=["base_url", "authorization", "cookies"],
)
def test_a_client_that_was_tampered_with_sends_nothing(
    server: RawServer, change: Callable[[httpx.Client], None]
) -> None:
    from django_cybs_jwt.client import Client

    with Client(keys_of, config(server.url)) as client:
        change(client)
        with pytest.raises(MessageError):
            client.get("/x")
    assert not server.accepted


def test_without_a_certificate_nothing_is_sent_in_clear(sender: Sender, server: RawServer) -> None:
    with pytest.raises(EncryptionImpossible, match="cybs_gateway_cert"):
        sender.send(
            keys_of(gateway_certificate=None),
            config(server.url),
            [Call(options={"json": PAYMENT})],
        )
    assert not server.accepted


def _as_bytes(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """As latin-1 bytes, because httpx itself stumbles over some of them as text."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
