"""As many requests are on their way as there are connections, and not one more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from django_cybs_jwt.client.bounded import BoundedTransport
from django_cybs_jwt.client.deadline import Deadline, held

LIMIT = 2


class Counting(httpx.BaseTransport):
    """Knows how many replies are open at once."""

    def __init__(self, error: type[BaseException] | None = None) -> None:
        self.error = error
        self.open = self.most = 0
        self.closed = False
        self._lock = threading.Lock()

    def count(self, change: int) -> None:
        with self._lock:
            self.open += change
            self.most = max(self.most, self.open)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.error:
            raise self.error("on purpose")
        self.count(1)
        return httpx.Response(200, stream=Body(self))

    def close(self) -> None:
        self.closed = True


class Body(httpx.SyncByteStream):
    def __init__(self, counting: Counting) -> None:
        self.counting = counting

    def __iter__(self) -> Iterator[bytes]:
        time.sleep(0.002)
        yield b"{}"

    def close(self) -> None:
        self.counting.count(-1)


def get(transport: httpx.BaseTransport, *, pool: float = 0.01) -> httpx.Response:
    timeout = {"timeout": {"pool": pool}}
    return transport.handle_request(httpx.Request("GET", "https://x.example", extensions=timeout))


def test_no_more_are_let_in_than_there_are_connections() -> None:
    inside = Counting()
    transport = BoundedTransport(inside, LIMIT)
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: get(transport, pool=5.0).read(), range(100)))
    assert bodies == [b"{}"] * 100
    assert (inside.most, inside.open) == (LIMIT, 0)


def test_a_reply_that_is_still_read_holds_its_connection() -> None:
    transport = BoundedTransport(Counting(), LIMIT)
    held = [get(transport) for _ in range(LIMIT)]
    with pytest.raises(httpx.PoolTimeout):
        get(transport)
    held.pop().close()
    assert get(transport).read() == b"{}"


@pytest.mark.alone
def test_the_wait_for_a_connection_ends_with_the_exchange() -> None:
    transport = BoundedTransport(Counting(), 1)
    open_one = get(transport)
    started = time.monotonic()
    with held(Deadline(0.2)), pytest.raises(httpx.PoolTimeout):
        get(transport, pool=5.0)
    assert 0.2 <= time.monotonic() - started < 1.0
    open_one.close()


@pytest.mark.parametrize("error", [httpx.ConnectError, KeyboardInterrupt, RuntimeError])
def test_a_request_that_fails_gives_its_connection_back(error: type[BaseException]) -> None:
    inside = Counting(error)
    transport = BoundedTransport(inside, LIMIT)
    for _ in range(2 * LIMIT):
        with pytest.raises(error):
            get(transport)
    inside.error = None
    assert get(transport).read() == b"{}"


def test_closing_closes_the_connections() -> None:
    inside = Counting()
    BoundedTransport(inside, LIMIT).close()
    assert inside.closed
