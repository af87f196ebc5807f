"""Connections: shared by every client of a process, never by two processes.

A connection inherited across fork hands one process the other's answers, so each process
makes its own, and each event loop its own asynchronous ones, which end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import httpx

from django_cybs_jwt.client.bounded import BoundedTransport
from django_cybs_jwt.client.config import Route
from django_cybs_jwt.client.transports import AsyncTransport, Transport
from django_cybs_jwt.exceptions import ConfigurationError


class Replacement(Protocol):
    """A transport that serves both kinds of client, like the simulator's."""

    def handle_request(self, request: httpx.Request) -> httpx.Response: ...

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response: ...


_Key = tuple[Route, str]
_Kind = TypeVar("_Kind", Transport, AsyncTransport)


@dataclass(slots=True, eq=False)
class _LoopPools:
    """One event loop's pools; *end* closes them as the loop shuts down its generators."""

    end: AsyncGenerator[None, None]
    pools: dict[_Key, AsyncTransport] = field(default_factory=dict)


_lock = threading.Lock()
_sync: dict[_Key, BoundedTransport] = {}
_async: dict[asyncio.AbstractEventLoop, _LoopPools] = {}
_inherited: object = None
_replacement: Replacement | None = None


@contextlib.contextmanager
def replaced(transport: Replacement) -> Iterator[None]:
    """While open, every request of this process goes to *transport* and none to a socket."""
    global _replacement  # noqa: PLW0603  # one switch for the process is what a test suite wants
    before, _replacement = _replacement, transport
    try:
        yield
    finally:
        _replacement = before


class SharedTransport(httpx.BaseTransport):
    """This process's connections to one origin; closing a client leaves them open."""

    def __init__(self, route: Route) -> None:
        self._route = route

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if _replacement is not None:
            return _replacement.handle_request(request)
        return _sync_pool(self._route, _origin(request)).handle_request(request)

    def close(self) -> None:
        """Nothing: others use the pool."""


class AsyncSharedTransport(httpx.AsyncBaseTransport):
    """The running loop's connections to one origin; closing a client leaves them open."""

    def __init__(self, route: Route) -> None:
        self._route = route

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if _replacement is not None:
            return await _replacement.handle_async_request(request)
        pool = await _async_pool(self._route, _origin(request))
        return await pool.handle_async_request(request)

    async def aclose(self) -> None:
        """Nothing: others use the pool."""


def _sync_pool(route: Route, origin: str) -> BoundedTransport:
    key = (route, origin)
    pool = _sync.get(key)
    if pool is None:
        with _lock:
            pool = _sync.get(key)
            if pool is None:
                transport = _configured(Transport, route)
                pool = _sync[key] = BoundedTransport(transport, route.max_connections)
    return pool


async def _async_pool(route: Route, origin: str) -> AsyncTransport:
    loop = asyncio.get_running_loop()
    found = _async.get(loop)
    if found is None:
        _forget_closed_loops()
        found = _async[loop] = _LoopPools(_until_the_end_of(loop))
        await anext(found.end)
    key = (route, origin)
    if key not in found.pools:
        found.pools[key] = _configured(AsyncTransport, route)
    return found.pools[key]


async def _until_the_end_of(loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
    # A pool refers to its loop, so without an end of their own both would stay for ever:
    # two descriptors for every asyncio.run() or async_to_sync().
    try:
        yield
    finally:
        ended = _async.pop(loop, None)
        for pool in ended.pools.values() if ended else ():
            await pool.aclose()


def _forget_closed_loops() -> None:
    """Those that were closed without shutting down their generators."""
    for loop in list(_async):
        if loop.is_closed():
            _async.pop(loop, None)


def _configured(kind: Callable[[Route], _Kind], route: Route) -> _Kind:
    try:
        return kind(route)
    except (OSError, ValueError, ImportError, RuntimeError, httpx.InvalidURL) as error:
        # From None: a proxy's URL may carry its password.
        raise ConfigurationError(
            "No connection can be made ({kind}). CA_BUNDLE is a readable PEM "
            "file, PROXY a URL like http://proxy.example.com:3128. Nothing was sent.",
            kind=type(error).__name__,
        ) from None


def _origin(request: httpx.Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"


def _after_fork() -> None:
    # Dropped, not closed: a TLS goodbye from the child would end the parent's connection.
    global _lock, _async, _inherited  # noqa: PLW0603
    _lock = threading.Lock()
    _sync.clear()
    # Kept aside, as a copied loop would try to finalise them through the parent's own pipe.
    _inherited, _async = _async, {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
