"""Both clients over real sockets: TLS, proxies, an egress prefix, and many requests at once."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from django_cybs_jwt.client import AsyncClient, Client
from django_cybs_jwt.client.config import Route, Timeout
from django_cybs_jwt.exceptions import NotSent
from django_cybs_jwt.simulator.server import running
from tests.unit.client.merchants import (
    CARD_NUMBER,
    PAYMENT,
    Async,
    Call,
    Sender,
    Sync,
    close_pools,
    config,
    gateway,
)
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import Received, answers, serving
from tests.unit.client.raw_server import http as answer

PAY = Call(options={"json": PAYMENT})
MAX_CONNECTIONS = 8
THREADS = 16
REQUESTS = 3_000


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def sender(request: pytest.FixtureRequest) -> Iterator[Sender]:
    yield request.param()
    close_pools()


def forwards(connection: socket.socket, request: Received) -> bool:
    """A proxy: a tunnel for CONNECT, else the request in its absolute form passed on."""
    if request.method == "CONNECT":
        host, _, port = request.target.partition(":")
        with socket.create_connection((host, int(port))) as upstream:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _relay(connection, upstream)
        return False
    target = urlsplit(request.target)
    assert target.hostname
    return _passed_on(connection, request, target.netloc, request.target.split(target.netloc)[1])


def _passed_on(connection: socket.socket, request: Received, netloc: str, path: str) -> bool:
    upstream = http.client.HTTPConnection(netloc)
    headers = {n: v for n, v in request.headers if not n.startswith("proxy-")}
    upstream.request(request.method, path, request.body, headers)
    response = upstream.getresponse()
    connection.sendall(answer(response.status, response.read(), content_type="application/json"))
    upstream.close()
    return True


def _relay(left: socket.socket, right: socket.socket) -> None:
    other = {left: right, right: left}
    while True:
        for ready in select.select([left, right], [], [], 10)[0]:
            data = ready.recv(65536)
            if not data:
                return
            other[ready].sendall(data)


@contextlib.contextmanager
def tls() -> Iterator[tuple[str, Path]]:
    with running(gateway(keys_of()), tls=True) as address:
        assert address.ca_bundle is not None
        yield address.base_url, address.ca_bundle
        # Before the server: it would wait for a farewell on each of them.
        close_pools()


def test_a_ca_bundle_is_trusted_and_nothing_else(sender: Sender) -> None:
    with tls() as (url, bundle):
        trusting = config(url, route=Route(ca_bundle=str(bundle)))
        (response,) = sender.send(keys_of(), trusting, [PAY])
        assert response.json()["status"] == "AUTHORIZED"
        with pytest.raises(NotSent):
            sender.send(keys_of(), config(url), [PAY])


def test_a_certificate_for_another_name_is_refused(sender: Sender) -> None:
    with tls() as (url, bundle):
        elsewhere = url.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises(NotSent):
            sender.send(keys_of(), config(elsewhere, route=Route(ca_bundle=str(bundle))), [PAY])


def test_a_proxy_passes_plain_requests_on(sender: Sender) -> None:
    with running(gateway(keys_of())) as address, serving(forwards) as proxy:
        settings = config(address.base_url, route=Route(proxy=proxy.url))
        responses = sender.send(keys_of(), settings, [PAY, PAY])
    assert [response.status_code for response in responses] == [201, 201]
    assert {seen.target for seen in proxy.received} == {address.base_url + "/pts/v2/payments"}
    assert proxy.received[0].claims["request-resource-path"] == "/pts/v2/payments"


def test_a_proxy_tunnels_tls_and_sees_nothing(sender: Sender) -> None:
    with tls() as (url, bundle), serving(forwards) as proxy:
        route = Route(proxy=proxy.url, ca_bundle=str(bundle))
        (response,) = sender.send(keys_of(), config(url, route=route), [PAY])
    assert response.status_code == 201
    (seen,) = proxy.received
    assert (seen.method, seen.target) == ("CONNECT", url.removeprefix("https://"))
    assert seen.header("authorization") is None


@pytest.mark.parametrize("encrypted", [True, False], ids=["tls", "plain"])
def test_a_proxys_credential_reaches_the_proxy_only(
    sender: Sender,
    encrypted: bool,
) -> None:
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(serving(forwards))
        with_password = proxy.url.replace("//", "//user:Pa55word@")
        if encrypted:
            url, bundle = stack.enter_context(tls())
            settings = config(url, route=Route(proxy=with_password, ca_bundle=str(bundle)))
        else:
            url = stack.enter_context(running(gateway(keys_of()))).base_url
            settings = config(url, route=Route(proxy=with_password))
        (response,) = sender.send(keys_of(), settings, [PAY])
    assert response.status_code == 201
    expected = "Basic " + base64.b64encode(b"user:Pa55word").decode()
    assert proxy.received[0].header("proxy-authorization") == expected
    assert "proxy-authorization" not in response.request.headers


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_tunnel_that_is_refused_has_sent_nothing(
    sender: Sender,
    status: int,
) -> None:
    """CONNECT is a request on the wire, but not ours."""
    with tls() as (url, bundle), serving(answers(answer(status, b""))) as proxy:
        route = Route(proxy=proxy.url.replace("//", "//user:Pa55word@"), ca_bundle=str(bundle))
        with pytest.raises(NotSent) as caught:
            sender.send(keys_of(), config(url, route=route), [PAY])
    assert [seen.method for seen in proxy.received] == ["CONNECT"]
    assert "Pa55word" not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_a_tunnel_to_somebody_else_has_sent_nothing(sender: Sender) -> None:
    """The TLS handshake fails after the proxy has said yes."""
    with tls() as (url, _), serving(forwards) as proxy, pytest.raises(NotSent):
        sender.send(keys_of(), config(url, route=Route(proxy=proxy.url)), [PAY])
    assert [seen.method for seen in proxy.received] == ["CONNECT"]


def test_a_proxy_that_is_down_has_sent_nothing(sender: Sender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = config("http://127.0.0.1:1", route=Route(proxy=f"http://127.0.0.1:{port}"))
    with pytest.raises(NotSent):
        sender.send(keys_of(), settings, [PAY])


def test_an_egress_proxy_strips_its_prefix(sender: Sender) -> None:
    """BASE_URLS with a path: the gateway sees the signed path, the egress proxy its own."""
    with running(gateway(keys_of())) as address:
        upstream = urlsplit(address.base_url).netloc

        def egress(connection: socket.socket, request: Received) -> bool:
            path = request.target.removeprefix("/egress/cybs")
            return _passed_on(connection, request, upstream, path)

        with serving(egress) as proxy:
            (response,) = sender.send(keys_of(), config(proxy.url + "/egress/cybs/"), [PAY])
    assert response.status_code == 201
    assert proxy.received[0].target == "/egress/cybs/pts/v2/payments"


def test_threads_never_open_more_connections_than_allowed() -> None:
    """3,000 requests over 16 threads share 8 sockets."""
    settings: dict[str, Any] = {
        "route": Route(max_connections=MAX_CONNECTIONS),
        "timeout": Timeout(pool=30.0),
    }
    keys = keys_of()
    with serving() as server:
        client = Client(lambda: keys, config(server.url, **settings))
        with client, ThreadPoolExecutor(THREADS) as pool:
            statuses = list(
                pool.map(lambda n: client.get(f"/tss/v2/x/{n}").status_code, range(REQUESTS))
            )
        assert statuses == [200] * REQUESTS
        assert len({seen.target for seen in server.received}) == len(server.received) == REQUESTS
        assert 1 < server.accepted <= MAX_CONNECTIONS


def test_fifty_tasks_at_once_get_their_own_replies() -> None:
    keys = keys_of()

    async def provide() -> Any:
        return keys

    async def run(url: str) -> list[str]:
        async with AsyncClient(provide, config(url)) as client:

            async def pay(code: str) -> str:
                payment = {**PAYMENT, "clientReferenceInformation": {"code": code}}
                response = await client.post("/pts/v2/payments", json=payment)
                return str(response.json()["clientReferenceInformation"]["code"])

            return await asyncio.gather(*(pay(f"order-{n}") for n in range(50)))

    known = gateway(keys)
    with running(known) as address:
        for _ in range(2):
            assert asyncio.run(run(address.base_url)) == [f"order-{n}" for n in range(50)]
    assert len(known.ledger.entries()) == 100
    assert CARD_NUMBER not in repr(known.ledger.entries())
