"""What httpx's own transports do, on connections that know how much time an exchange has left.

httpx hands httpcore no network of somebody else's, so the few lines between them are here.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final, cast

import httpcore
import httpx

from django_cybs_jwt.client.config import Route
from django_cybs_jwt.client.network import AsyncBackend, Backend

KEEP_ALIVE: Final = 30.0  # seconds; the default of 5 costs a TLS handshake after every lull

_ERRORS: Final[dict[type[Exception], type[httpx.TransportError]]] = {
    getattr(httpcore, name): getattr(httpx, name)
    for name in (
        "ConnectError",
        "ConnectTimeout",
        "LocalProtocolError",
        "PoolTimeout",
        "ProxyError",
        "ReadError",
        "ReadTimeout",
        "RemoteProtocolError",
        "UnsupportedProtocol",
        "WriteError",
        "WriteTimeout",
    )
}


class Transport(httpx.BaseTransport):
    """Connections of one route, for threads. Raises what httpx's own does."""

    def __init__(self, route: Route) -> None:
        options = _options(route, network_backend=Backend())
        self._pool: httpcore.ConnectionPool = _pool(
            route, httpcore.ConnectionPool, httpcore.HTTPProxy, httpcore.SOCKSProxy, options
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with _errors_of_httpx():
            answer = self._pool.handle_request(_as_httpcore(request))
        return _response(answer, _Body(answer))

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


class AsyncTransport(httpx.AsyncBaseTransport):
    """The asynchronous twin of Transport."""

    def __init__(self, route: Route) -> None:
        options = _options(route, network_backend=AsyncBackend())
        self._pool: httpcore.AsyncConnectionPool = _pool(
            route,
            httpcore.AsyncConnectionPool,
            httpcore.AsyncHTTPProxy,
            httpcore.AsyncSOCKSProxy,
            options,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with _errors_of_httpx():
            answer = await self._pool.handle_async_request(_as_httpcore(request))
        return _response(answer, _AsyncBody(answer))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of_httpx():
            yield from cast("Iterable[bytes]", self._answer.stream)

    def close(self) -> None:
        self._answer.close()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors_of_httpx():
            async for part in cast("AsyncIterator[bytes]", self._answer.stream):
                yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


@contextlib.contextmanager
def _errors_of_httpx() -> Iterator[None]:
    try:
        yield
    except tuple(_ERRORS) as error:
        raise _ERRORS[type(error)](str(error)) from error


def _as_httpcore(request: httpx.Request) -> httpcore.Request:
    return httpcore.Request(
        request.method,
        httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        ),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def _response(answer: httpcore.Response, body: _Body | _AsyncBody) -> httpx.Response:
    return httpx.Response(
        answer.status, headers=answer.headers, stream=body, extensions=answer.extensions
    )


def _options(route: Route, **more: Any) -> dict[str, Any]:
    return {
        "ssl_context": _trust(route),
        "max_connections": route.max_connections,
        # Busy connections count against keep-alive too: less than all of them churns.
        "max_keepalive_connections": route.max_connections,
        "keepalive_expiry": KEEP_ALIVE,
        "retries": 0,
        **more,
    }


def _pool(route: Route, direct: Any, http: Any, socks: Any, options: dict[str, Any]) -> Any:
    """One of the three kinds of pool; raises ValueError for a proxy that is none of them."""
    if route.proxy is None:
        return direct(**options)
    parsed = httpx.Proxy(route.proxy, auth=route.proxy_auth)
    url = httpcore.URL(
        scheme=parsed.url.raw_scheme,
        host=parsed.url.raw_host,
        port=parsed.url.port,
        target=parsed.url.raw_path,
    )
    kind = http if parsed.url.scheme in ("http", "https") else socks
    return kind(proxy_url=url, proxy_auth=parsed.raw_auth, **options)


def _trust(route: Route) -> ssl.SSLContext:
    if route.ca_bundle is None:
        return httpx.create_ssl_context(trust_env=False)
    return ssl.create_default_context(cafile=route.ca_bundle)
