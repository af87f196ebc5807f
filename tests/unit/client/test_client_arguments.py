"""Whatever a caller passes by a slip comes back as an error of ours, and quotes nothing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from django_cybs_jwt.client import Client, GatewayAuth
from django_cybs_jwt.exceptions import InvalidBody, InvalidHeader, MessageError
from tests.unit.client.merchants import CARD_NUMBER, HOST, PAYMENT, Call, Sender, config
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import RawServer

CARD = f'{{"number":"{CARD_NUMBER}"}}'


class Parts:
    """Of text, however often they are asked for."""

    def __iter__(self) -> Iterator[str]:
        yield CARD


class AsynchronousParts:
    """The same."""

    async def __aiter__(self) -> AsyncIterator[str]:
        yield CARD


SLIPS: list[tuple[str, Any, type[MessageError]]] = [
    ("half an emoji", {"content": CARD[:-1] + "\ud83d"}, InvalidBody),
    ("a number", {"content": 5}, InvalidBody),
    ("a dict", {"content": {"number": CARD_NUMBER}}, InvalidBody),
    ("an empty dict", {"content": {}}, InvalidBody),
    ("parts of text", {"content": Parts()}, InvalidBody),
    ("asynchronous parts of text", {"content": AsynchronousParts()}, InvalidBody),
    ("a form with half an emoji", {"data": {"n": f"{CARD_NUMBER}\ud83d"}}, MessageError),
    ("params that are a number", {"params": 5}, MessageError),
    ("a header of letters", {"headers": {"x": "é"}}, InvalidHeader),
    ("a name of letters", {"headers": {"é": "x"}}, InvalidHeader),
    ("a header without value", {"headers": {"x": None}}, InvalidHeader),
    ("a number as a name", {"headers": {1: "x"}}, InvalidHeader),
    ("headers as text", {"headers": "abc"}, InvalidHeader),
    ("headers as a number", {"headers": 5}, InvalidHeader),
    ("headers as names", {"headers": [None]}, InvalidHeader),
]


@pytest.mark.parametrize(("options", "error"), [s[1:] for s in SLIPS], ids=[s[0] for s in SLIPS])
def test_a_slip_is_an_error_of_ours(
    sender: Sender, server: RawServer, options: dict[str, Any], error: type[MessageError]
) -> None:
    with pytest.raises(error) as caught:
        sender.send(keys_of(), config(server.url), [Call(options=options)])
    assert CARD_NUMBER not in repr((caught.value, caught.value.args, caught.value.facts))
    assert caught.value.__cause__ is None
    assert not server.accepted


@pytest.mark.parametrize("method", [5, None, "post it"])
def test_a_method_that_is_none_is_an_error_of_ours(
    sender: Sender, server: RawServer, method: Any
) -> None:
    with pytest.raises(MessageError, match="method"):
        sender.send(keys_of(), config(server.url), [Call(method)])
    assert not server.accepted


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda body: iter([body]), bytes.decode])
def test_bytes_in_any_form_are_a_body(sender: Sender, server: RawServer, kind: Any) -> None:
    call = Call("PUT", "/x", {"content": kind(b'{"a":1}'), "extensions": {"cybs_mle": False}})
    sender.send(keys_of(), config(server.url), [call])
    assert server.received[0].body == b'{"a":1}'


@pytest.mark.parametrize("seconds", [-1, 0, float("nan"), float("inf"), "a"])
def test_no_time_at_all_and_none_to_end_are_refused(
    sender: Sender, server: RawServer, seconds: Any
) -> None:
    with pytest.raises(MessageError, match="finite number of seconds"):
        sender.send(keys_of(), config(server.url), [Call("GET", "/x", {"timeout": seconds})])
    assert not server.accepted


REDIRECTING = {"target": b"/tms/v2/tokenize", "sni_hostname": "evil.example"}


@pytest.mark.parametrize("name", REDIRECTING)
def test_no_extension_sends_a_message_elsewhere_than_was_signed(
    sender: Sender, server: RawServer, name: str
) -> None:
    options = {"json": PAYMENT, "extensions": {name: REDIRECTING[name]}}
    with pytest.raises(MessageError, match=name):
        sender.send(keys_of(), config(server.url), [Call(options=options)])
    assert not server.accepted


@pytest.mark.parametrize("name", REDIRECTING)
def test_nor_through_a_client_of_the_users_own(server: RawServer, name: str) -> None:
    auth = GatewayAuth(keys_of, _no_provider, config(server.url))
    with httpx.Client(auth=auth) as client, pytest.raises(MessageError, match=name):
        client.get(f"https://{HOST}/x", extensions={name: REDIRECTING[name]})
    assert not server.accepted


def test_the_signed_host_may_be_named_to_tls(server: RawServer) -> None:
    with Client(keys_of, config(server.url)) as client:
        client.get("/x", extensions={"sni_hostname": HOST})
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Own": "1"},
        {b"X-Own": b"1"},
        [(b"X-Own", b"1")],
        zip(["X-Own"], ["1"], strict=True),
        httpx.Headers({"X-Own": "1"}),
    ],
    ids=["dict", "bytes", "pairs of bytes", "zip", "Headers"],
)
def test_headers_of_every_form_arrive(server: RawServer, headers: Any) -> None:
    with Client(keys_of, config(server.url)) as client:
        client.get("/x", headers=headers)
    assert server.received[0].header("x-own") == "1"


def test_a_header_that_the_seal_writes_may_be_given_all_the_same(server: RawServer) -> None:
    with Client(keys_of, config(server.url)) as client:
        client.get("/x", headers={"Accept-Encoding": "gzip", "User-Agent": "shop"})
    assert server.received[0].header("accept-encoding") == "identity"


async def _no_provider() -> Any:
    raise AssertionError("not asked")
