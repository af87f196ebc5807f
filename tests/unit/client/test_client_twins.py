"""Client and AsyncClient are httpx clients, and they are the same client."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import httpx
import pytest

from django_cybs_jwt.client import AsyncClient, Client, pools
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.simulator.server import running
from django_cybs_jwt.simulator.transport import SimulatorTransport
from tests.unit.client.merchants import CARD_NUMBER, PAYMENT, Call, Sender, config, gateway
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import RawServer, answers, http

PAY = Call(options={"json": PAYMENT})


def own_names(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")} | {"__init__"}


def test_the_twins_have_the_same_names() -> None:
    verbs = {"request", "stream", "get", "post", "put", "patch", "delete"}
    own = {"__init__", "build_request", "send", "seal", "dispatch"}
    assert own_names(Client) == own_names(AsyncClient) == own | verbs


@pytest.mark.parametrize("name", sorted(own_names(Client)))
def test_the_twins_have_the_same_signatures(name: str) -> None:
    """Apart from what an asynchronous provider and transport must be."""
    sync, twin = (inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient))
    assert [(p.name, p.kind, p.default) for p in sync.parameters.values()] == [
        (p.name, p.kind, p.default) for p in twin.parameters.values()
    ]


def test_they_are_httpx_clients() -> None:
    assert issubclass(Client, httpx.Client)
    assert issubclass(AsyncClient, httpx.AsyncClient)


@pytest.mark.parametrize("p12", [True, False], ids=["p12", "shared secret"])
def test_the_reply_is_plain_and_says_what_happened(sender: Sender, p12: bool) -> None:
    keys = keys_of(p12=p12)
    known = gateway(keys)
    (response,) = sender.send(keys, config(), [PAY], transport=SimulatorTransport(known))
    assert response.status_code == 201
    assert response.json()["status"] == "AUTHORIZED"
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)
    exchange = response.extensions["cybs"]
    assert (exchange.kid, exchange.response_kid) == ("1111", "2222")
    assert exchange.request_encrypted is True
    assert exchange.encrypted is True
    assert exchange.jti == exchange.sealed.claims["jti"]
    assert exchange.correlation_id == response.headers["v-c-correlation-id"]
    assert response.elapsed.total_seconds() > 0


def test_the_request_that_is_kept_is_the_sealed_one(sender: Sender) -> None:
    """A crash report that shows `response.request` shows no card number."""
    keys = keys_of()
    transport = SimulatorTransport(gateway(keys))
    (response,) = sender.send(keys, config(), [PAY], transport=transport)
    assert list(json.loads(response.request.content)) == ["encryptedRequest"]
    assert CARD_NUMBER not in repr(vars(response.request))


def test_an_exchange_shows_neither_body_nor_token_nor_key(sender: Sender) -> None:
    keys = keys_of()
    transport = SimulatorTransport(gateway(keys))
    (response,) = sender.send(keys, config(), [PAY], transport=transport)
    shown = repr(response.extensions["cybs"])
    assert "1111" in shown
    assert "encryptedRequest" not in shown
    assert "eyJ" not in shown
    assert CARD_NUMBER not in shown


@pytest.mark.parametrize(
    ("mle", "expected"), [(None, True), (True, True), (False, False)], ids=repr
)
def test_an_extension_overrides_the_mle_policy(
    sender: Sender, mle: bool | None, expected: bool
) -> None:
    keys = keys_of()
    transport = SimulatorTransport(gateway(keys))
    call = Call(options={"json": PAYMENT, "extensions": {"cybs_mle": mle}})
    (response,) = sender.send(keys, config(), [call], transport=transport)
    assert response.extensions["cybs"].request_encrypted is expected
    assert (CARD_NUMBER.encode() in response.request.content) is not expected


def test_error_replies_are_decrypted_too(sender: Sender) -> None:
    keys = keys_of()
    transport = SimulatorTransport(gateway(keys))
    (response,) = sender.send(keys, config(), [Call(options={"json": {}})], transport=transport)
    assert response.status_code == 400
    assert response.json()["reason"] == "MISSING_FIELD"
    assert response.extensions["cybs"].encrypted is True


def test_a_stream_gives_plain_content(sender: Sender) -> None:
    keys = keys_of()
    with running(gateway(keys)) as address:
        status, parts = sender.stream(keys, config(address.base_url), PAY)
    assert status == 201
    assert json.loads(b"".join(parts))["status"] == "AUTHORIZED"


def test_a_compressed_reply_is_inflated(sender: Sender, server: RawServer) -> None:
    """Although we ask for none, a proxy on the way may compress."""
    import gzip

    body = gzip.compress(b'{"a":1}')
    server.behave = answers(http(200, body, content_encoding="gzip"))
    (response,) = sender.send(keys_of(), config(server.url), [PAY])
    assert response.json() == {"a": 1}
    assert "content-encoding" not in response.headers


def test_closing_one_client_leaves_the_shared_connections_open(
    sender: Sender, server: RawServer
) -> None:
    sender.send(keys_of(), config(server.url), [PAY])
    sender.send(keys_of("other"), config(server.url), [PAY])
    assert len(server.received) == 2
    # Each asyncio.run() is an event loop of its own, so its connections are too.
    assert server.accepted == (1 if type(sender).__name__ == "Sync" else 2)


def test_clients_in_one_loop_share_connections(server: RawServer) -> None:
    async def provide() -> Any:
        return keys_of()

    async def run() -> None:
        for _ in range(3):
            async with AsyncClient(provide, config(server.url)) as client:
                await client.get("/x")

    asyncio.run(run())
    assert (len(server.received), server.accepted) == (3, 1)


def test_a_closed_client_sends_nothing(server: RawServer) -> None:
    client = Client(keys_of, config(server.url))
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.get("/x")
    assert not server.accepted


def test_the_provider_is_asked_at_each_request(server: RawServer) -> None:
    merchants = iter(["first", "second"])
    with Client(lambda: keys_of(next(merchants)), config(server.url)) as client:
        client.get("/x")
        client.get("/x")
    claimed = [received.claims["v-c-merchant-id"] for received in server.received]
    assert claimed == ["first", "second"]


def test_what_the_provider_raises_reaches_the_caller(server: RawServer) -> None:
    def provide() -> Any:
        raise CybsError("no key today")

    with Client(provide, config(server.url)) as client, pytest.raises(CybsError, match="today"):
        client.get("/x")
    assert not server.accepted


def test_a_request_of_the_callers_own_is_sealed_too(server: RawServer) -> None:
    request = httpx.Request("POST", "https://apitest.cybersource.com/pts/v2/x", json=PAYMENT)
    with Client(keys_of, config(server.url)) as client:
        client.send(request)
    (received,) = server.received
    assert received.target == "/pts/v2/x"
    assert list(json.loads(received.body)) == ["encryptedRequest"]


def test_a_retry_is_never_made(sender: Sender) -> None:
    keys = keys_of()
    known = gateway(keys)
    known.faults.add(Fault(kind=FaultKind.STATUS, status=502))
    responses = sender.send(keys, config(), [PAY], transport=SimulatorTransport(known))
    assert [response.status_code for response in responses] == [502]
    assert known.ledger.entries() == []


def test_inside_replaced_no_socket_is_opened(sender: Sender) -> None:
    keys = keys_of()
    known = gateway(keys)
    with pools.replaced(SimulatorTransport(known)):
        (response,) = sender.send(keys, config("http://127.0.0.1:1"), [PAY])
    assert response.status_code == 201
    assert len(known.ledger.entries()) == 1
