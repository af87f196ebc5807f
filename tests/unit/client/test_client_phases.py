"""A reply tells where its time went."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from django_cybs_jwt.client import AsyncClient, Client, Phases, Route
from django_cybs_jwt.client.outcome import Trace
from django_cybs_jwt.simulator.server import running
from django_cybs_jwt.simulator.transport import SimulatorTransport
from tests.unit.client.merchants import PAYMENT, Call, Sender, close_pools, config, gateway
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import RawServer, http

PAY = Call(options={"json": PAYMENT})


def phases(response: httpx.Response) -> Phases:
    found: Phases = response.extensions["cybs"].phases
    return found


@pytest.mark.alone
def test_each_step_of_an_exchange_is_told_in_seconds(sender: Sender, server: RawServer) -> None:
    body = http(201, b'{"status":"AUTHORIZED"}')

    def slow(connection: Any, _: object) -> bool:
        time.sleep(0.2)
        connection.sendall(body[:-5])
        time.sleep(0.4)
        connection.sendall(body[-5:])
        return True

    server.behave = slow
    started = time.monotonic()
    (response,) = sender.send(keys_of(), config(server.url), [PAY])
    whole = time.monotonic() - started
    found = phases(response)
    assert found.connect is not None
    assert found.request is not None
    assert found.tls is None
    assert found.headers == pytest.approx(0.2, abs=0.1)
    assert found.body == pytest.approx(0.4, abs=0.1)
    assert found.connect + found.request < 0.1
    assert found.connect + found.request + 0.6 <= whole


def test_a_connection_that_is_open_already_took_no_time_to_connect(server: RawServer) -> None:
    """In one loop, as each asyncio.run() has connections of its own."""
    keys = keys_of()
    with Client(lambda: keys, config(server.url)) as client:
        found = [phases(client.get("/x")) for _ in range(2)]

    async def send() -> list[Phases]:
        async def provide() -> Any:
            return keys

        async with AsyncClient(provide, config(server.url)) as client:
            return [phases(await client.get("/x")) for _ in range(2)]

    for first, again in (found, asyncio.run(send())):
        assert first.connect is not None
        assert again.connect is None
        assert again.headers is not None


def test_a_tls_handshake_is_told(sender: Sender) -> None:
    with running(gateway(keys_of()), tls=True) as address:
        settings = config(address.base_url, route=Route(ca_bundle=str(address.ca_bundle)))
        (response,) = sender.send(keys_of(), settings, [PAY])
        close_pools()  # before the server: it would wait for a farewell
    assert phases(response).tls is not None


def test_a_simulator_in_this_process_tells_them_too(sender: Sender) -> None:
    keys = keys_of()
    (response,) = sender.send(keys, config(), [PAY], transport=SimulatorTransport(gateway(keys)))
    found = phases(response)
    assert found.tls is None
    assert None not in (found.connect, found.request, found.headers, found.body)


def test_a_transport_that_tells_nothing_leaves_them_open(sender: Sender) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=b"{}"))
    (response,) = sender.send(keys_of(), config(), [PAY], transport=transport)
    assert phases(response) == Phases()


def test_what_is_said_to_a_proxy_counts_to_no_phase() -> None:
    class Tunnel:
        method = b"CONNECT"

    trace = Trace()
    trace.record("http11.send_request_headers.started", {"request": Tunnel()})
    trace.record("http11.send_request_body.complete", {})
    trace.record("http11.receive_response_headers.complete", {"return_value": (b"", 200)})
    assert trace.phases() == Phases()
