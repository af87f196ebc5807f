"""The bytes that are signed are the bytes that are sent, and nothing else is."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_cybs_jwt.client import Client
from django_cybs_jwt.exceptions import MessageError
from tests.unit.client.merchants import CARD_NUMBER, HOST, PAYMENT, Call, Sender, Sync, config
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import RawServer, answers, http, serving

QUERIES = [
    "",
    "?",
    "??",
    "?x=//evil&y=a%26b",
    "?a=1&a=2&a=1",
    "?a=+&b=%20&c=%2B",
    "?q=clientReferenceInformation.code:%22order-1%22&sort=submitTimeUtc:desc",
    "?lower=%c3%bc&upper=%C3%BC",
    "?'quotes'=(a,b;c)*!$&/path?=1",
    "?a=%2F..%2F&b=../",
    "?%7Etilde=~&percent=%25",
]
BODIES: list[dict[str, Any]] = [
    {"json": PAYMENT},
    {"json": {"name": "Zoë 💳", "a": [1, 2.5, None, True]}},
    {"json": {}},
    {"content": b'{ "spaced" :  "as it was" }\n'},
    {"content": iter([b'{"in":', b'"parts"}'])},
]


@pytest.mark.parametrize("query", QUERIES)
def test_path_and_query_are_claimed_byte_for_byte(
    sender: Sender, server: RawServer, query: str
) -> None:
    path = f"/reporting/v3/reports/a:b@c;v=1/%7Eid{query}"
    sender.send(keys_of(), config(server.url), [Call("GET", path)])
    (received,) = server.received
    assert received.target == path
    assert received.claims["request-resource-path"] == path
    assert received.body == b""
    assert not {"digest", "digestAlgorithm"} & received.claims.keys()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("mle", [True, False], ids=["encrypted", "plain"])
@pytest.mark.parametrize("case", range(len(BODIES)))
def test_the_digest_is_that_of_the_bytes_that_arrive(
    sender: Sender, server: RawServer, method: str, mle: bool, case: int
) -> None:
    body = BODIES[case]
    if case == 4:  # a generator serves once, and each client takes its own kind
        body = {"content": b"".join([b'{"in":', b'"parts"}'])}
    options = {**body, "extensions": {"cybs_mle": mle}}
    (response,) = sender.send(
        keys_of(), config(server.url), [Call(method, "/pts/v2/x?y=1", options)]
    )
    (received,) = server.received
    digest = base64.b64encode(hashlib.sha256(received.body).digest()).decode()
    assert received.claims["digest"] == digest
    assert received.claims["request-method"] == method.lower()
    assert received.method == method
    assert received.target == received.claims["request-resource-path"] == "/pts/v2/x?y=1"
    assert received.header("content-type") == "application/json"
    assert (list(json.loads(received.body)) == ["encryptedRequest"]) is mle
    assert response.request.content == received.body


def test_a_streamed_body_is_read_once_and_signed_whole(server: RawServer) -> None:
    parts = iter([b'{"in":', b'"parts"}'])
    call = Call(options={"content": parts, "extensions": {"cybs_mle": False}})
    Sync().send(keys_of(), config(server.url), [call])
    (received,) = server.received
    assert received.body == b'{"in":"parts"}'
    assert received.header("transfer-encoding") is None


_SAFE = "abcXYZ019._~!$&'()*+,;=:@/?-"
_TEXT = st.lists(st.one_of(st.sampled_from(_SAFE), st.sampled_from(["%2F", "%c3", "%25", "%20"])))


@given(path=_TEXT.map("".join), query=st.none() | _TEXT.map("".join))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_path_is_refused_or_sent_as_it_was_written(path: str, query: str | None) -> None:
    """No path exists that is signed in one form and sent in another."""
    written = f"/{path}" + ("" if query is None else f"?{query}")
    keys = keys_of()
    with serving() as server:
        try:
            Sync().send(keys, config(server.url), [Call("GET", written)])
        except MessageError:
            assert not server.accepted
        else:
            assert server.received[0].target == written
            assert server.received[0].claims["request-resource-path"] == written


def test_params_are_signed_as_they_are_sent(sender: Sender, server: RawServer) -> None:
    options = {"params": {"q": "a b&c=ü/+", "n": 1}}
    sender.send(keys_of(), config(server.url), [Call("GET", "/tss/v2/x", options)])
    (received,) = server.received
    assert received.target == received.claims["request-resource-path"]
    assert received.target.startswith("/tss/v2/x?q=a")


def test_request_host_stays_the_gateways(sender: Sender, server: RawServer) -> None:
    sender.send(keys_of(), config(server.url), [Call(options={"json": PAYMENT})])
    (received,) = server.received
    assert received.claims["request-host"] == HOST
    assert received.header("host") == f"127.0.0.1:{server.port}"


def test_only_our_headers_and_the_callers_leave(sender: Sender, server: RawServer) -> None:
    """Nothing tells the library, the platform or an encoding that would change the reply."""
    options = {"json": PAYMENT, "headers": {"V-C-Own": "1"}}
    sender.send(keys_of(), config(server.url), [Call(options=options)])
    (received,) = server.received
    names = {name for name, _ in received.headers}
    assert names - {"connection"} == {
        "host",
        "authorization",
        "content-type",
        "content-length",
        "accept",
        "accept-encoding",
        "user-agent",
        "v-c-own",
    }
    assert received.header("accept-encoding") == "identity"
    assert received.header("user-agent") == "django-cybs-jwt"


def test_an_encrypted_request_has_no_card_number_on_the_wire(
    sender: Sender, server: RawServer
) -> None:
    (response,) = sender.send(keys_of(), config(server.url), [Call(options={"json": PAYMENT})])
    assert CARD_NUMBER.encode() not in server.received[0].body
    assert CARD_NUMBER.encode() not in response.request.content
    assert response.request.method == "POST"


def test_each_request_is_signed_anew(sender: Sender, server: RawServer) -> None:
    sender.send(keys_of(), config(server.url), [Call(options={"json": PAYMENT})] * 3)
    assert len({received.claims["jti"] for received in server.received}) == 3


def test_a_cookie_is_never_sent_back(sender: Sender, server: RawServer) -> None:
    server.behave = answers(http(set_cookie="session=1; Path=/"))
    responses = sender.send(keys_of(), config(server.url), [Call("GET", "/x")] * 3)
    assert responses[0].headers["set-cookie"] == "session=1; Path=/"
    assert [received.header("cookie") for received in server.received] == [None] * 3


def test_a_cookie_is_not_even_kept() -> None:
    """A request by full URL would match a cookie of the gateway's own domain."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, headers={"set-cookie": "edge=1; Path=/"}, content=b"{}")

    with Client(keys_of, config(), transport=httpx.MockTransport(answer)) as client:
        for _ in range(2):
            client.get(httpx.URL(f"https://{HOST}/x"))
        assert len(client.cookies.jar) == 0
    assert ["cookie" in request.headers for request in seen] == [False, False]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("elsewhere", [True, False], ids=["other host", "same host"])
def test_a_redirect_is_returned_and_not_followed(
    sender: Sender, server: RawServer, status: int, elsewhere: bool
) -> None:
    with serving() as other:
        location = (other if elsewhere else server).url + "/pts/v2/payments"
        server.behave = answers(http(status, b"", location=location))
        options = {"json": PAYMENT, "follow_redirects": True}
        (response,) = sender.send(keys_of(), config(server.url), [Call(options=options)])
        assert response.status_code == status
        assert response.next_request is None
        assert len(server.received) == 1
        assert other.accepted == 0


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
def test_proxies_of_the_environment_are_ignored(
    sender: Sender, server: RawServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with serving() as proxy:
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        sender.send(keys_of(), config(server.url), [Call("GET", "/x")])
        assert proxy.accepted == 0
        assert len(server.received) == 1
