"""The ASGI application by itself, under a server that is not ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_cybs_jwt.simulator import Fault, FaultKind, Gateway, app
from tests.unit.simulator.callers import Caller

Messages = list[dict[str, Any]]


def ask(gateway: Gateway, scope: dict[str, Any], incoming: Messages) -> Messages:
    """Run the application on *incoming* messages and return what it sent."""
    sent: Messages = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(gateway)(scope, receive, send))
    return sent


def scope_of(caller: Caller, *, target: str = "/pts/v2/payments") -> tuple[dict[str, Any], bytes]:
    request = caller.request(target=target)
    path, _, query = target.partition("?")
    headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    scope = {
        "type": "http",
        "method": "POST",
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
    }
    return scope, request.body


def test_a_body_in_pieces_is_one_body(gateway: Gateway, shop: Caller) -> None:
    scope, body = scope_of(shop, target="/pts/v2/payments?a=%2F")

    start, content = ask(
        gateway,
        scope,
        [
            {"type": "http.request", "body": body[:10], "more_body": True},
            {"type": "http.request", "body": b"", "more_body": True},
            {"type": "http.request", "body": body[10:], "more_body": False},
        ],
    )

    assert start["status"] == 201
    assert dict(start["headers"])[b"content-length"] == str(len(content["body"])).encode()
    assert content["more_body"] is False


def test_no_more_of_a_body_is_kept_than_it_takes_to_refuse_it(
    gateway: Gateway, shop: Caller
) -> None:
    scope, _ = scope_of(shop)
    piece = {"type": "http.request", "body": bytes(6 * 1024 * 1024), "more_body": True}

    start, _ = ask(gateway, scope, [piece, piece, piece, {"type": "http.request", "body": b""}])

    assert start["status"] == 413


def test_a_body_that_breaks_off_is_not_answered(gateway: Gateway, shop: Caller) -> None:
    scope, body = scope_of(shop)

    sent = ask(
        gateway,
        scope,
        [
            {"type": "http.request", "body": body[:-1], "more_body": True},
            {"type": "http.disconnect"},
        ],
    )

    assert sent == []
    assert gateway.ledger.entries() == []


def test_a_header_that_comes_twice_is_not_a_token(gateway: Gateway, shop: Caller) -> None:
    scope, body = scope_of(shop)
    scope["headers"] = scope["headers"] * 2

    start, _ = ask(gateway, scope, [{"type": "http.request", "body": body}])

    assert dict(start["headers"])[b"x-simulator-refusal"] == b"BAD_TOKEN"


@pytest.mark.parametrize(
    ("kind", "sent"),
    [(FaultKind.RESET_AFTER, 0), (FaultKind.GARBAGE, 0), (FaultKind.TRUNCATE, 2)],
)
def test_a_server_that_hides_its_connection_gets_an_error_to_break_it_on(
    gateway: Gateway, shop: Caller, kind: FaultKind, sent: int
) -> None:
    gateway.faults.add(Fault(kind=kind))
    scope, body = scope_of(shop)
    messages: Messages = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        messages.append(message)

    with pytest.raises(ConnectionResetError):
        asyncio.run(app(gateway)(scope, receive, send))

    assert len(messages) == sent


def test_it_speaks_http_only(gateway: Gateway) -> None:
    with pytest.raises(NotImplementedError):
        ask(gateway, {"type": "websocket"}, [])


def test_no_content_has_no_length(gateway: Gateway) -> None:
    scope = {"type": "http", "method": "DELETE", "raw_path": b"/__simulator/faults", "headers": []}

    start, _ = ask(gateway, scope, [{"type": "http.request"}])

    assert start["status"] == 204
    assert b"content-length" not in dict(start["headers"])
