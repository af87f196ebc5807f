"""The public face sends signed and encrypted payments and tells the truth about the outcome."""

from __future__ import annotations

import inspect
import json
import logging
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync, sync_to_async

from django_cybs_jwt import conf, cybs
from django_cybs_jwt.client import Route, Timeout, pools
from django_cybs_jwt.exceptions import (
    EncryptionRequired,
    GatewayRefused,
    InvalidBody,
    LiveRefused,
    MLEDecryptError,
    NotSent,
    OrganizationNotFound,
    OutcomeUnknown,
    ReplyNotEncrypted,
)
from django_cybs_jwt.simulator import Fault, FaultKind, Gateway, MemoryRegistry, Operation
from django_cybs_jwt.simulator.server import running
from django_cybs_jwt.simulator.transport import SimulatorTransport
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import HOST, Simulation
from tests.unit.client.merchants import close_pools, register
from tests.unit.client.raw_server import serving

CARD_NUMBER = "4111111111111111"
PATH = "/pts/v2/payments"

# What happens, what is raised, and how many payments the gateway has processed by then.
FAULTS = [
    (FaultKind.RESET_BEFORE, OutcomeUnknown, 0),
    (FaultKind.RESET_AFTER, OutcomeUnknown, 1),
    (FaultKind.TRUNCATE, OutcomeUnknown, 1),
    (FaultKind.BROKEN_JWE, MLEDecryptError, 1),
    (FaultKind.UNKNOWN_KID, MLEDecryptError, 1),
]

Send = Callable[..., cybs.Reply]


def payment(code: str = "order-1", amount: str = "102.21") -> dict[str, Any]:
    return {
        "clientReferenceInformation": {"code": code},
        "paymentInformation": {"card": {"number": CARD_NUMBER, "securityCode": "123"}},
        "orderInformation": {"amountDetails": {"totalAmount": amount, "currency": "USD"}},
    }


@pytest.fixture(params=["send", "asend"])
def send(request: pytest.FixtureRequest) -> Send:
    """Both one-call forms."""
    return cybs.send if request.param == "send" else async_to_sync(cybs.asend)


@pytest.fixture
def acme(cybs_simulator: Simulation) -> Simulation:
    """A merchant with a shared secret and a Response MLE key: a P12 takes longer to import."""
    cybs_simulator.merchant("acme", signs_with="shared_secret")
    return cybs_simulator


@contextmanager
def real_sockets() -> Iterator[None]:
    """The gateway in this process steps aside."""
    before, pools._replacement = pools._replacement, None
    try:
        yield
    finally:
        pools._replacement = before
        close_pools()


@contextmanager
def on_a_socket(settings: Any, simulation: Simulation, org_id: str) -> Iterator[Gateway]:
    """The same gateway behind a real port; BASE_URLS points there."""
    registry = MemoryRegistry()
    register(registry, cybs.keys_for(org_id))
    gateway = Gateway(registry, identity=simulation.gateway.identity)
    with running(gateway) as address, real_sockets():
        settings.CYBS_JWT = {**settings.CYBS_JWT, "BASE_URLS": {HOST: address.base_url}}
        yield gateway


@pytest.mark.parametrize("signs_with", ["p12", "shared_secret"])
def test_a_payment_is_signed_encrypted_sent_and_decrypted(
    cybs_simulator: Simulation, send: Send, signs_with: str
) -> None:
    cybs_simulator.merchant("acme", signs_with=signs_with)
    reply = send("acme", "POST", PATH, json=payment())
    assert reply.status_code == 201
    assert reply.json()["status"] == "AUTHORIZED"
    assert reply.request_encrypted
    assert reply.encrypted
    assert reply.key_id == cybs.keys_for("acme").signing.kid
    assert reply.correlation_id
    assert reply.raise_for_status() is reply
    (entry,) = cybs_simulator.ledger
    assert (entry.org_id, entry.operation) == ("acme", Operation.AUTHORIZATION)
    assert (entry.code, entry.amount) == ("order-1", "102.21")
    assert (entry.request_encrypted, entry.response_encrypted) == (True, True)


def test_a_portfolios_meta_key_sends_for_its_merchant(
    cybs_simulator: Simulation, send: Send
) -> None:
    cybs_simulator.merchant("portfolio", kind="portfolio", covers="all")
    cybs_simulator.merchant("branch", parent="portfolio", signs_with=None)
    reply = send("branch", "POST", PATH, json=payment())
    assert reply.status_code == 201
    claims = reply.exchange.sealed.claims
    assert (claims["iss"], claims["v-c-merchant-id"]) == ("portfolio", "branch")
    assert reply.encrypted
    assert cybs_simulator.ledger[0].org_id == "branch"


def test_the_two_forms_take_the_same() -> None:
    assert list(inspect.signature(cybs.send).parameters.values()) == list(
        inspect.signature(cybs.asend).parameters.values()
    )
    assert inspect.signature(cybs.client).parameters == inspect.signature(cybs.aclient).parameters


def test_nothing_is_added_to_the_body(acme: Simulation, send: Send) -> None:
    reply = send("acme", "POST", PATH, content=b'{"a" : 1}', mle=False)
    assert reply.exchange.sealed.body == b'{"a" : 1}'
    assert reply.status_code == 400


def test_mle_is_the_callers_choice_where_it_is_optional(acme: Simulation, send: Send) -> None:
    for mle, encrypted in ((None, True), (True, True), (False, False)):
        assert send("acme", "POST", PATH, json=payment(), mle=mle).request_encrypted is encrypted


def test_headers_and_timeout_of_one_call(acme: Simulation, send: Send) -> None:
    reply = send("acme", "GET", "/tss/v2/transactions/1", headers={"V-C-Own": "1"}, timeout=3.5)
    assert reply.status_code == 404
    assert ("v-c-own", "1") in reply.exchange.sealed.headers


def test_a_latency_beyond_the_callers_timeout_is_an_unknown_outcome(
    acme: Simulation, send: Send
) -> None:
    acme.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.5))
    with pytest.raises(OutcomeUnknown):
        send("acme", "POST", PATH, json=payment(), timeout=0.05)
    assert len(acme.ledger) == 1, "it was processed all the same"


def test_a_fault_is_told_and_never_retried(acme: Simulation, send: Send) -> None:
    processed = 0
    for kind, error, more in FAULTS:
        acme.faults.add(Fault(kind=kind))
        with pytest.raises(error) as caught:
            send("acme", "POST", PATH, json=payment())
        assert type(caught.value) is error
        processed += more
        assert len(acme.ledger) == processed
        assert CARD_NUMBER not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_required_response_mle_makes_a_plain_reply_an_error(
    acme: Simulation, send: Send, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESPONSE_MLE": "required"}
    acme.faults.add(Fault(kind=FaultKind.PLAIN_REPLY))
    with pytest.raises(ReplyNotEncrypted):
        send("acme", "POST", PATH, json=payment())


def test_every_status_is_a_reply_and_a_refusal_on_demand(acme: Simulation, send: Send) -> None:
    for status in (400, 401, 404, 429, 500, 502, 503):
        acme.faults.add(Fault(kind=FaultKind.STATUS, status=status))
        reply = send("acme", "POST", PATH, json=payment())
        assert reply.status_code == status
        with pytest.raises(GatewayRefused) as caught:
            reply.raise_for_status()
        assert caught.value.facts["correlation_id"] == reply.correlation_id


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (("nobody", "POST", PATH), OrganizationNotFound),
        (("acme", "POST", "/tms/v2/tokenize"), EncryptionRequired),
    ],
)
def test_what_cannot_be_sent_is_refused_here(
    acme: Simulation, send: Send, call: tuple[str, str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        send(*call, json=payment(), mle=False)
    assert acme.ledger == []


def test_two_bodies_are_refused(acme: Simulation, send: Send) -> None:
    with pytest.raises(InvalidBody):
        send("acme", "POST", PATH, json=payment(), content=b"{}")
    assert acme.ledger == []


def test_a_live_host_is_refused_unless_the_settings_say_so(
    cybs_simulator: Simulation, send: Send
) -> None:
    cybs_simulator.merchant("acme", host="api.cybersource.com", signs_with="shared_secret")
    with pytest.raises(LiveRefused):
        send("acme", "POST", PATH, json=payment())
    assert cybs_simulator.ledger == []


def test_explain_names_the_clock_of_a_401(cybs_simulator: Simulation, send: Send) -> None:
    cybs_simulator.merchant("acme", private_key=material.rsa_key(name="acceptance"))
    cybs_simulator.faults.add(Fault(kind=FaultKind.CLOCK_SKEW, seconds=-200))
    reply = send("acme", "POST", PATH, json=payment())
    assert reply.status_code == 401
    explanation = reply.explain()
    assert [finding.what for finding in explanation.suspects] == ["clock"]
    by_name = {finding.what: finding for finding in explanation.findings}
    assert by_name["key state"].sent == "ACTIVE"
    assert by_name["certificate CN"].ok is True
    assert by_name["key ends"].ok is True
    token = dict(reply.exchange.sealed.headers)["authorization"].split()[1]
    for secret in (CARD_NUMBER, token, token.split(".")[2], "encryptedRequest"):
        assert secret not in f"{explanation}{explanation!r}"


def test_client_and_aclient_are_httpx_clients_for_the_merchant(acme: Simulation) -> None:
    with cybs.client("acme") as http:
        response = http.post(PATH, json=payment("sync"))
    assert response.json()["clientReferenceInformation"]["code"] == "sync"

    async def run() -> httpx.Response:
        async with cybs.aclient("acme") as http:
            return await http.post(PATH, json=payment("async"))

    response = async_to_sync(run)()
    assert response.json()["clientReferenceInformation"]["code"] == "async"
    assert response.extensions["cybs"].encrypted
    assert [entry.code for entry in acme.ledger] == ["sync", "async"]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["Client", "AsyncClient"])
def test_auth_serves_a_client_of_the_users_own(acme: Simulation, asynchronous: bool) -> None:
    response = through_auth(acme, asynchronous)
    assert response.status_code == 201
    assert list(response.json()) == ["encryptedResponse"]
    plain = json.loads(cybs.decrypt("acme", response.content))
    assert plain["status"] == "AUTHORIZED"
    assert acme.ledger[0].request_encrypted


@pytest.mark.parametrize("asynchronous", [False, True], ids=["Client", "AsyncClient"])
def test_auth_raises_when_the_users_client_followed_a_redirect(
    acme: Simulation, asynchronous: bool
) -> None:
    acme.faults.add(Fault(kind=FaultKind.REDIRECT))
    with pytest.raises(OutcomeUnknown, match="redirect"):
        through_auth(acme, asynchronous, follow_redirects=True)
    assert acme.ledger == []


def through_auth(simulation: Simulation, asynchronous: bool, **options: Any) -> httpx.Response:
    url = f"https://{HOST}{PATH}"

    async def here(call: Callable[..., Any], *arguments: Any) -> Any:
        return await sync_to_async(call)(*arguments)

    transport = SimulatorTransport(simulation.gateway, run=here)
    if not asynchronous:
        with httpx.Client(auth=cybs.auth("acme"), transport=transport, **options) as http:
            return http.post(url, json=payment())

    async def run() -> httpx.Response:
        client = httpx.AsyncClient(auth=cybs.auth("acme"), transport=transport, **options)
        async with client as http:
            return await http.post(url, json=payment())

    return async_to_sync(run)()


def test_a_signed_request_is_sent_unchanged_by_urllib(acme: Simulation, settings: Any) -> None:
    with on_a_socket(settings, acme, "acme") as gateway:
        body = json.dumps(payment()).encode()
        signed = cybs.sign("acme", "POST", f"{PATH}?a=%2F&b=+", body, mle=False)
        request = urllib.request.Request(  # noqa: S310
            signed.url, data=signed.body, headers=signed.headers, method=signed.method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request) as response:
            assert response.status == 201
            plain = cybs.decrypt("acme", response.read())
        assert json.loads(plain)["status"] == "AUTHORIZED"
        assert gateway.ledger.entries()[0].response_encrypted


@pytest.mark.parametrize("mle", [True, False], ids=["encrypted", "plain"])
def test_a_signed_request_is_sent_unchanged_by_httpx(
    acme: Simulation, settings: Any, mle: bool
) -> None:
    with on_a_socket(settings, acme, "acme") as gateway:
        signed = cybs.sign("acme", "POST", PATH, json.dumps(payment()).encode(), mle=mle)
        response = httpx.request(
            signed.method,
            signed.url,
            headers=signed.headers,
            content=signed.body,
            trust_env=False,
        )
        assert response.status_code == 201
        assert gateway.ledger.entries()[0].request_encrypted is mle
    assert signed.request_encrypted is mle


def test_a_signed_get_has_no_body_and_a_signed_request_shows_no_secret(acme: Simulation) -> None:
    signed = cybs.sign("acme", "GET", "/tss/v2/transactions/1?x=1")
    assert (signed.body, signed.url) == (b"", f"https://{HOST}/tss/v2/transactions/1?x=1")
    signed = cybs.sign("acme", "POST", PATH, json.dumps(payment()).encode(), mle=False)
    token = signed.headers["authorization"].split()[1]
    shown = f"{signed!r}{signed.redacted()!r}"
    assert CARD_NUMBER.encode() in signed.body
    assert CARD_NUMBER not in shown
    assert token.split(".")[2] not in shown
    assert signed.redacted()["body_bytes"] == len(signed.body)


def test_decrypt_passes_plain_bodies_and_refuses_broken_ones(acme: Simulation) -> None:
    for plain in (b"", b"{}", b"<html/>", b'{"a": "encryptedResponse"}'):
        assert cybs.decrypt("acme", plain) == plain
    for broken in (b'{"encryptedResponse":"a.b.c.d.e"}', b'{"encryptedResponse":1}'):
        with pytest.raises(MLEDecryptError):
            cybs.decrypt("acme", broken)


def test_base_urls_lead_both_forms_to_a_real_socket(
    acme: Simulation, send: Send, settings: Any
) -> None:
    with on_a_socket(settings, acme, "acme") as gateway:
        for code in ("one", "two"):  # with asend, two event loops
            reply = send("acme", "POST", PATH, json=payment(code), mle=False)
            assert reply.status_code == 201
            assert reply.exchange.sealed.claims["request-host"] == HOST
        assert [entry.code for entry in gateway.ledger.entries()] == ["one", "two"]
    assert acme.ledger == []


def test_a_host_that_cannot_be_reached_has_received_nothing(
    acme: Simulation, send: Send, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "BASE_URLS": {HOST: "http://127.0.0.1:1"}}
    with real_sockets(), pytest.raises(NotSent):
        send("acme", "POST", PATH, json=payment())


def test_no_log_at_any_level_shows_a_card_a_token_or_a_secret(
    acme: Simulation, send: Send, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving() as server, real_sockets():
        settings.CYBS_JWT = {**settings.CYBS_JWT, "BASE_URLS": {HOST: server.url}}
        send("acme", "POST", PATH, json=payment(), mle=False)
        server.behave = lambda *_: False
        with pytest.raises(OutcomeUnknown):
            send("acme", "POST", PATH, json=payment(), mle=False)
    assert "send_request_headers.started" in caplog.text, "httpcore was listened to"
    token = server.received[0].header("authorization") or ""
    for secret in (CARD_NUMBER, token.split(".")[2], "eyJ", "securityCode"):
        assert secret not in caplog.text


def test_settings_reach_the_client(cybs_ring: Any, settings: Any) -> None:
    settings.CYBS_JWT = {
        **settings.CYBS_JWT,
        "TIMEOUT": {"read": 7.0},
        "PROXY": "http://proxy.example:3128",
        "PROXY_AUTH": "user:pass:word",
        "CA_BUNDLE": "/etc/ca.pem",
        "MAX_CONNECTIONS": 5,
        "BASE_URLS": {HOST: "https://egress.example/cybs"},
    }
    config = conf.client_config()
    assert config.timeout == Timeout(read=7.0)
    assert config.route == Route(
        proxy="http://proxy.example:3128",
        proxy_auth=("user", "pass:word"),
        ca_bundle="/etc/ca.pem",
        max_connections=5,
    )
    assert config.origin(HOST) == "https://egress.example/cybs"
