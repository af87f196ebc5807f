"""The gateway inside httpx: no socket, the same bytes, the same errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import httpx

from .asgi import Runner
from .gateway import Gateway
from .messages import SimAnswer, SimRequest, Wire

# What httpcore reports on a connection that is new; a client reads from it how far it got.
_SENT: Final = (
    "connection.connect_tcp.started",
    "connection.connect_tcp.complete",
    "http11.send_request_headers.started",
    "http11.send_request_headers.complete",
    "http11.send_request_body.started",
    "http11.send_request_body.complete",
    "http11.receive_response_headers.started",
)
_ANSWERED: Final = "http11.receive_response_headers.complete"
_FAILED: Final = "http11.receive_response_headers.failed"


class SimulatorTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Mounts *gateway* into an httpx client, sync or async.

    *run* calls the gateway off the event loop; pass another one where the registry must be
    asked in a thread of its own. Faults raise what a socket would: ReadError for a reset,
    ReadTimeout for an answer later than the client waits, RemoteProtocolError for half a body
    and for what is no HTTP.
    """

    def __init__(self, gateway: Gateway, *, run: Runner = asyncio.to_thread) -> None:
        self._gateway = gateway
        self._run = run

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        trace = request.extensions.get("trace")
        if trace is not None:
            for event in _SENT:
                trace(event, {})
        answer = self._gateway.handle(_sim_request(request, body))
        time.sleep(_wait(answer, request))
        error = _error(answer, request)
        if trace is not None:
            trace(_FAILED if error else _ANSWERED, _info(answer, error))
        if error:
            raise error
        return _response(answer, request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        trace = request.extensions.get("trace")
        if trace is not None:
            for event in _SENT:
                await trace(event, {})
        answer = await self._run(self._gateway.handle, _sim_request(request, body))
        await asyncio.sleep(_wait(answer, request))
        error = _error(answer, request)
        if trace is not None:
            await trace(_FAILED if error else _ANSWERED, _info(answer, error))
        if error:
            raise error
        return _response(answer, request)


class _HalfBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Half of what Content-Length promised."""

    def __init__(self, body: bytes, request: httpx.Request) -> None:
        self._half = body[: len(body) // 2]
        self._error = httpx.RemoteProtocolError(
            "peer closed connection without sending complete message body", request=request
        )

    def __iter__(self) -> Iterator[bytes]:
        yield self._half
        raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._half
        raise self._error


def _sim_request(request: httpx.Request, body: bytes) -> SimRequest:
    target: bytes = request.extensions.get("target", request.url.raw_path)
    return SimRequest(request.method, target.decode("latin-1"), dict(request.headers), body)


def _wait(answer: SimAnswer, request: httpx.Request) -> float:
    return min(answer.delay, _read_timeout(request))


def _read_timeout(request: httpx.Request) -> float:
    timeout = request.extensions.get("timeout", {}).get("read")
    return float("inf") if timeout is None else float(timeout)


def _error(answer: SimAnswer, request: httpx.Request) -> httpx.TransportError | None:
    if answer.delay > _read_timeout(request):
        return httpx.ReadTimeout("timed out", request=request)
    if answer.wire is Wire.RESET:
        return httpx.ReadError("Connection reset by peer", request=request)
    if answer.wire is Wire.GARBAGE:
        return httpx.RemoteProtocolError("illegal status line", request=request)
    return None


def _info(answer: SimAnswer, error: Exception | None) -> Mapping[str, Any]:
    if error:
        return {"exception": error}
    headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in answer.headers.items()]
    return {"return_value": (b"HTTP/1.1", answer.status, b"", headers, b"")}


def _response(answer: SimAnswer, request: httpx.Request) -> httpx.Response:
    extensions = {"http_version": b"HTTP/1.1"}
    if answer.wire is Wire.COMPLETE:
        return httpx.Response(
            answer.status, headers=answer.headers, content=answer.body, extensions=extensions
        )
    headers = {**answer.headers, "content-length": str(len(answer.body))}
    return httpx.Response(
        answer.status,
        headers=headers,
        stream=_HalfBody(answer.body, request),
        extensions=extensions,
    )
