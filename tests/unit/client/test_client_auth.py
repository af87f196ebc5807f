"""GatewayAuth in an httpx client of the user's own."""

from __future__ import annotations

import json

import httpx
import pytest

from django_cybs_jwt.client import GatewayAuth
from django_cybs_jwt.exceptions import InvalidHost, OutcomeUnknown
from django_cybs_jwt.protocol import open_response
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.simulator.server import running
from django_cybs_jwt.simulator.transport import SimulatorTransport
from tests.unit.client.merchants import CARD_NUMBER, HOST, PAYMENT, Call, Sender, config, gateway
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import RawServer, answers, http, serving

PAY = Call(options={"json": PAYMENT})


def test_the_request_is_sealed_and_the_reply_stays_as_it_came(sender: Sender) -> None:
    keys = keys_of()
    known = gateway(keys)
    (response,) = sender.with_auth(keys, config(), [PAY], transport=SimulatorTransport(known))
    assert response.status_code == 201
    assert list(response.json()) == ["encryptedResponse"]
    opened = open_response(keys, response.content, status=response.status_code)
    assert json.loads(opened.content)["status"] == "AUTHORIZED"
    assert known.ledger.entries()[0].request_encrypted is True
    assert CARD_NUMBER.encode() not in response.request.content


def test_it_goes_where_base_urls_point(sender: Sender) -> None:
    keys = keys_of()
    with running(gateway(keys)) as address:
        (response,) = sender.with_auth(keys, config(address.base_url), [PAY], trust_env=False)
    assert response.status_code == 201


def test_each_request_has_a_token_of_its_own(sender: Sender) -> None:
    keys = keys_of()
    transport = SimulatorTransport(gateway(keys))
    responses = sender.with_auth(keys, config(), [PAY, PAY], transport=transport)
    assert [response.status_code for response in responses] == [201, 201]


def test_cookies_of_the_users_client_stay_at_home(sender: Sender, server: RawServer) -> None:
    """The gateway sets cookies; a client that keeps them must go on working."""
    server.behave = answers(http(set_cookie="edge=1; Path=/"))
    responses = sender.with_auth(
        keys_of(), config(server.url), [PAY] * 2, trust_env=False, cookies={"own": "1"}
    )
    assert [response.status_code for response in responses] == [200, 200]
    assert [received.header("cookie") for received in server.received] == [None, None]


def test_the_mle_extension_counts_here_too(sender: Sender) -> None:
    keys = keys_of()
    known = gateway(keys)
    call = Call(options={"json": PAYMENT, "extensions": {"cybs_mle": False}})
    sender.with_auth(keys, config(), [call], transport=SimulatorTransport(known))
    assert known.ledger.entries()[0].request_encrypted is False


@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_redirect_that_was_followed_is_told(sender: Sender, status: int) -> None:
    keys = keys_of()
    known = gateway(keys)
    known.faults.add(Fault(kind=FaultKind.REDIRECT, status=status))
    with pytest.raises(OutcomeUnknown, match="follow_redirects=False"):
        sender.with_auth(
            keys, config(), [PAY], transport=SimulatorTransport(known), follow_redirects=True
        )
    assert known.ledger.entries() == []


def test_a_redirect_to_another_host_carries_no_credential(
    sender: Sender, server: RawServer
) -> None:
    with serving() as other:
        server.behave = answers(http(307, b"", location=f"{other.url}/x"))
        with pytest.raises(OutcomeUnknown):
            sender.with_auth(
                keys_of(), config(server.url), [PAY], trust_env=False, follow_redirects=True
            )
        (received,) = other.received
    assert received.header("authorization") is None
    assert CARD_NUMBER.encode() not in received.body


def test_a_redirect_that_was_not_followed_is_an_answer(sender: Sender, server: RawServer) -> None:
    server.behave = answers(http(307, b"", location="/x"))
    (response,) = sender.with_auth(keys_of(), config(server.url), [PAY], trust_env=False)
    assert response.status_code == 307


@pytest.mark.parametrize("url", ["https://evil.com/x", "https://api.cybersource.com/x"])
def test_a_request_for_another_host_is_refused(server: RawServer, url: str) -> None:
    async def provide() -> object:
        raise AssertionError("the synchronous client has asked for keys asynchronously")

    auth = GatewayAuth(keys_of, provide, config(server.url))  # type: ignore[arg-type]
    with httpx.Client(auth=auth) as client, pytest.raises(InvalidHost, match=HOST):
        client.get(url)
    assert not server.accepted
