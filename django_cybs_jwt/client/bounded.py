"""Waiting for a free connection, done here because httpcore gets it wrong.

With more threads than connections its pool now and then closes one that it has just handed
out: the request on it dies with its outcome unknown, about 1 of 5,000 here. It never queues
when as many requests are let in as it has connections.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import cast

import httpx

from django_cybs_jwt.client.deadline import cut


class BoundedTransport(httpx.BaseTransport):
    """Lets at most *limit* requests into *transport* until their replies are closed.

    Raises httpx.PoolTimeout when none was closed within the request's pool timeout.
    """

    def __init__(self, transport: httpx.BaseTransport, limit: int) -> None:
        self._transport = transport
        self._free = threading.BoundedSemaphore(limit)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        wait = cut(request.extensions.get("timeout", {}).get("pool"), httpx.PoolTimeout)
        if not self._free.acquire(timeout=wait):
            raise httpx.PoolTimeout("All connections are in use.", request=request)
        try:
            response = self._transport.handle_request(request)
        except BaseException:
            self._free.release()
            raise
        stream = cast("httpx.SyncByteStream", response.stream)
        response.stream = _Returning(stream, self._free.release)
        return response

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class _Returning(httpx.SyncByteStream):
    """A reply's body that gives its connection free when it is closed."""

    def __init__(self, stream: httpx.SyncByteStream, release: Callable[[], None]) -> None:
        self._stream = stream
        self._release = release

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._release()
