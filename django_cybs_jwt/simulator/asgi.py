"""The gateway as an ASGI application."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from .gateway import MAX_BODY, Gateway
from .messages import SimAnswer, SimRequest, Wire

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Runner = Callable[[Callable[[SimRequest], SimAnswer], SimRequest], Awaitable[SimAnswer]]

CONNECTION: Final = "simulator.connection"
"""Under this name in the scope's state, our server leaves the connection to break."""


def app(gateway: Gateway, *, run: Runner = asyncio.to_thread) -> Application:
    """Serve *gateway*; *run* calls it off the event loop, as its registry may block.

    Resets, garbage and truncation need a server that puts the connection into the scope's state, as
    `simulator.server` does; under another one a ConnectionResetError leaves the application.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError("The simulator speaks HTTP only.")
        body = await _body(receive)
        if body is None:
            return
        answer = await run(gateway.handle, _request(scope, body))
        await asyncio.sleep(answer.delay)
        if answer.wire in (Wire.COMPLETE, Wire.TRUNCATED):
            await _send(answer, send)
        if answer.wire is not Wire.COMPLETE:
            await _break(scope, receive, answer.wire)

    return application


async def _body(receive: Receive) -> bytes | None:
    """The whole body; a byte more than allowed is enough to refuse it; None if it breaks off."""
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        if size <= MAX_BODY:
            chunks.append(chunk)
            size += len(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _request(scope: Scope, body: bytes) -> SimRequest:
    query = scope.get("query_string", b"")
    target = scope["raw_path"] + (b"?" + query if query else b"")
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return SimRequest(scope["method"], target.decode("latin-1"), headers, body)


async def _send(answer: SimAnswer, send: Send) -> None:
    truncated = answer.wire is Wire.TRUNCATED
    headers = dict(answer.headers)
    if answer.status != 204:
        headers["content-length"] = str(len(answer.body))
    raw_headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw_headers})
    body = answer.body[: len(answer.body) // 2] if truncated else answer.body
    await send({"type": "http.response.body", "body": body, "more_body": truncated})


async def _break(scope: Scope, receive: Receive, wire: Wire) -> None:
    connection = scope.get("state", {}).get(CONNECTION)
    if connection is None:
        raise ConnectionResetError("a fault asked for it")
    if wire is Wire.GARBAGE:
        connection.write(b"HTTP/really? not now\r\n\r\n")
    if wire is Wire.RESET:
        # Lingering for zero seconds makes the kernel send RST in place of FIN.
        linger = struct.pack("ii", 1, 0)
        with suppress(OSError):  # the client has gone already
            peer = connection.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.abort()
    else:
        connection.close()
    while (await receive())["type"] != "http.disconnect":
        pass
