"""Connections are shared within a process and a loop, never across either."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from django_cybs_jwt.client import AsyncClient, Client, pools
from django_cybs_jwt.client.config import Route, Timeout
from django_cybs_jwt.client.transports import Transport
from django_cybs_jwt.exceptions import ConfigurationError, NotSent, OutcomeUnknown
from tests.unit.client.merchants import Call, Sender, Sync, config
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import Behaviour, RawServer, answers, breaks_off, resets

GET = Call("GET", "/x")


async def provide() -> Any:
    return keys_of()


async def get(url: str) -> None:
    async with AsyncClient(provide, config(url)) as client:
        await client.get("/x")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_event_loops_that_follow_each_other_leave_nothing_behind(server: RawServer) -> None:
    """Each asyncio.run() takes its connections with it: no loop, pool or descriptor stays."""
    asyncio.run(get(server.url))
    _settle(server, 1)
    before = descriptors()
    for number in range(2, 12):
        asyncio.run(get(server.url))
        _settle(server, number)
    assert len(pools._async) == 0
    assert descriptors() == before
    assert server.accepted == 11


def test_a_loop_that_was_closed_without_a_farewell_is_forgotten(server: RawServer) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(get(server.url))
    abandoned = pools._async[loop]
    loop.close()
    asyncio.run(get(server.url))
    assert loop not in pools._async
    del abandoned, loop
    with pytest.warns(ResourceWarning):  # what asyncio says of any transport left open
        gc.collect()


def test_two_loops_at_once_have_connections_of_their_own(server: RawServer) -> None:
    gate = threading.Barrier(2)

    def run() -> None:
        async def both() -> None:
            await get(server.url)
            gate.wait(5)
            await get(server.url)

        asyncio.run(both())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (len(server.received), server.accepted) == (4, 2)
    assert len(pools._async) == 0


def test_threads_share_one_pool(server: RawServer) -> None:
    threads = [
        threading.Thread(target=Sync().send, args=(keys_of(), config(server.url), [GET] * 5))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(server.received) == 40
    assert len(pools._sync) == 1
    assert server.accepted <= 8


def test_each_route_and_origin_has_a_pool_of_its_own(server: RawServer) -> None:
    Sync().send(keys_of(), config(server.url), [GET])
    Sync().send(keys_of(), config(server.url, route=Route(max_connections=2)), [GET])
    assert len(pools._sync) == 2
    assert server.accepted == 2


def test_as_many_connections_are_kept_as_may_be_open() -> None:
    """httpx counts busy ones against keep-alive, so fewer would be closed and opened all day."""
    pool: Any = Transport(Route(max_connections=7))._pool
    assert pool._max_connections == pool._max_keepalive_connections == 7
    assert pool._keepalive_expiry == 30


def test_no_connection_is_tried_twice_and_http2_is_off(server: RawServer) -> None:
    Sync().send(keys_of(), config(server.url), [GET])
    (bounded,) = pools._sync.values()
    pool: Any = bounded._transport._pool  # type: ignore[attr-defined]
    assert pool._retries == 0
    assert (pool._http1, pool._http2) == (True, False)


@pytest.mark.parametrize("behaviour", [answers(), breaks_off(), resets], ids=["ok", "cut", "reset"])
def test_a_connection_is_free_again_however_its_request_ended(
    server: RawServer, behaviour: Behaviour
) -> None:
    server.behave = behaviour
    settings = config(server.url, route=Route(max_connections=1), timeout=Timeout(pool=0.05))
    with Client(keys_of, settings) as client:
        for _ in range(5):
            with contextlib.suppress(OutcomeUnknown):
                client.get("/x")
        server.behave = answers()
        assert client.get("/x").status_code == 200
    (bounded,) = pools._sync.values()
    assert bounded._free._value == 1  # type: ignore[attr-defined]


def test_a_connection_that_cannot_be_made_is_free_again() -> None:
    settings = config(
        "http://127.0.0.1:1", route=Route(max_connections=1), timeout=Timeout(pool=0.05)
    )
    with Client(keys_of, settings) as client:
        for _ in range(3):
            with pytest.raises(NotSent) as caught:
                client.get("/x")
            assert caught.value.facts["error"] == "ConnectError"


BAD_ROUTES = {
    "no such bundle": {"ca_bundle": "/nowhere/ca.pem"},
    "no bundle at all": {"ca_bundle": __file__},
    "no proxy scheme": {"proxy": "ftp://user:Pa55word@proxy.example:1"},
    "no proxy url": {"proxy": "http://user:Pa55word@proxy:port"},
}


@pytest.mark.parametrize("route", BAD_ROUTES.values(), ids=BAD_ROUTES)
def test_a_route_that_cannot_be_is_a_configuration_error(
    sender: Sender, server: RawServer, route: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match="CA_BUNDLE is a readable PEM file") as caught:
        sender.send(keys_of(), config(server.url, route=Route(**route)), [GET])
    assert "Pa55word" not in f"{caught.value!r}{caught.value.__cause__!r}"
    assert caught.value.__suppress_context__
    assert not server.accepted


def test_a_proxys_password_is_in_no_repr() -> None:
    assert "Pa55word" not in repr(config(route=Route(proxy="http://user:Pa55word@proxy:1")))


def test_after_a_fork_the_pools_are_empty(server: RawServer, tmp_path: Path) -> None:
    """White box, without a fork: tests/integration/test_fork.py does it for real."""
    client = Client(keys_of, config(server.url))
    client.get("/x")
    kept = dict(pools._sync)
    pools._after_fork()
    assert not pools._sync
    client.get("/x")
    assert server.accepted == 2
    for transport in kept.values():
        transport.close()


def test_after_a_fork_a_held_lock_holds_nobody_up(server: RawServer) -> None:
    before = pools._lock
    before.acquire()
    pools._after_fork()
    Sync().send(keys_of(), config(server.url), [GET])
    before.release()
    assert pools._lock is not before


def test_replaced_ends_with_its_block_even_by_an_error(server: RawServer) -> None:
    class Nothing:
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(204)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(204)

    def inside() -> None:
        with pools.replaced(Nothing()):
            (response,) = Sync().send(keys_of(), config(server.url), [GET])
            assert response.status_code == 204
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        inside()
    (response,) = Sync().send(keys_of(), config(server.url), [GET])
    assert response.status_code == 200


def _settle(server: RawServer, connections: int) -> None:
    """Wait until the server has closed its side, whose descriptors are counted here too."""
    for thread in server._threads[1 : connections + 1]:
        thread.join(5)
