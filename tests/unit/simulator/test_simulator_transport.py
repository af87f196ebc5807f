"""The gateway inside httpx, sync and async: the same bytes, the errors of a socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from django_cybs_jwt.simulator import Fault, FaultKind, Gateway, SimAnswer, SimRequest
from django_cybs_jwt.simulator.transport import SimulatorTransport
from tests.unit.simulator.callers import HOST, Caller

Post = Callable[..., httpx.Response]


def httpx_request(request: SimRequest, **extensions: Any) -> httpx.Request:
    return httpx.Request(
        request.method,
        httpx.URL(f"https://{HOST}").copy_with(raw_path=request.target.encode()),
        headers=dict(request.headers),
        content=request.body,
        extensions=extensions,
    )


def sync_post(gateway: Gateway, request: httpx.Request) -> httpx.Response:
    with httpx.Client(transport=SimulatorTransport(gateway)) as client:
        return client.send(request)


def async_post(gateway: Gateway, request: httpx.Request) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=SimulatorTransport(gateway)) as client:
            return await client.send(request)

    return asyncio.run(send())


@pytest.fixture(params=[sync_post, async_post], ids=["sync", "async"])
def post(request: pytest.FixtureRequest) -> Post:
    return request.param  # type: ignore[no-any-return]


def test_a_payment_goes_through(gateway: Gateway, shop: Caller, post: Post) -> None:
    response = post(gateway, httpx_request(shop.request()))

    assert response.status_code == 201
    assert response.json()["status"] == "AUTHORIZED"
    assert response.headers["content-length"] == str(len(response.content))
    assert response.http_version == "HTTP/1.1"


@pytest.mark.parametrize(
    "target", ["/pts/v2/payments?a=%2F%20b&c=d", "/pts/v2/payments?", "/pts/v2/payments?a=b+c"]
)
def test_the_target_arrives_as_it_was_signed(
    gateway: Gateway, shop: Caller, post: Post, target: str
) -> None:
    response = post(gateway, httpx_request(shop.request(target=target)))

    assert response.status_code == 201


def test_a_target_given_to_httpcore_is_the_one_that_counts(
    gateway: Gateway, shop: Caller, post: Post
) -> None:
    request = httpx_request(shop.request(), target=b"/pts/v2/credits")

    assert post(gateway, request).headers["x-simulator-refusal"] == "WRONG_PATH"


def test_a_refusal_arrives(gateway: Gateway, shop: Caller, post: Post) -> None:
    response = post(gateway, httpx_request(shop.request(claims={"request-method": "put"})))

    assert response.status_code == 401
    assert response.headers["x-simulator-refusal"] == "WRONG_METHOD"


@pytest.mark.parametrize(
    ("kind", "processed"), [(FaultKind.RESET_BEFORE, 0), (FaultKind.RESET_AFTER, 1)]
)
def test_a_reset_is_a_read_error(
    gateway: Gateway, shop: Caller, post: Post, kind: FaultKind, processed: int
) -> None:
    gateway.faults.add(Fault(kind=kind))

    with pytest.raises(httpx.ReadError):
        post(gateway, httpx_request(shop.request()))

    assert len(gateway.ledger.entries()) == processed


@pytest.mark.parametrize("kind", [FaultKind.TRUNCATE, FaultKind.GARBAGE])
def test_what_is_no_whole_answer_is_a_protocol_error(
    gateway: Gateway, shop: Caller, post: Post, kind: FaultKind
) -> None:
    gateway.faults.add(Fault(kind=kind))

    with pytest.raises(httpx.RemoteProtocolError):
        post(gateway, httpx_request(shop.request()))


def test_latency_within_the_timeout_only_takes_time(
    gateway: Gateway, shop: Caller, post: Post
) -> None:
    gateway.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.05))
    started = time.monotonic()

    assert post(gateway, httpx_request(shop.request())).status_code == 201
    assert time.monotonic() - started >= 0.05


def test_latency_beyond_the_timeout_is_a_read_timeout(
    gateway: Gateway, shop: Caller, post: Post
) -> None:
    gateway.faults.add(Fault(kind=FaultKind.LATENCY, seconds=60))
    request = httpx_request(shop.request(), timeout={"read": 0.01})

    with pytest.raises(httpx.ReadTimeout):
        post(gateway, request)

    assert len(gateway.ledger.entries()) == 1


def traced(post: Post, gateway: Gateway, request: SimRequest) -> list[str]:
    events: list[str] = []

    def note(name: str, info: Any) -> None:
        events.append(name)

    async def anote(name: str, info: Any) -> None:
        events.append(name)

    trace = note if post is sync_post else anote
    try:
        post(gateway, httpx_request(request, trace=trace))
    except httpx.TransportError:
        events.append("raised")
    return events


def test_the_trace_tells_how_far_a_request_got(gateway: Gateway, shop: Caller, post: Post) -> None:
    answered = traced(post, gateway, shop.request())
    gateway.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    reset = traced(post, gateway, shop.request())

    assert answered[:3] == [
        "connection.connect_tcp.started",
        "connection.connect_tcp.complete",
        "http11.send_request_headers.started",
    ]
    assert answered[-1] == "http11.receive_response_headers.complete"
    assert reset[-2:] == ["http11.receive_response_headers.failed", "raised"]
    assert answered[:-1] == reset[:-2]


def test_the_host_of_a_suite_decides_where_the_gateway_runs(gateway: Gateway, shop: Caller) -> None:
    seen: list[str] = []

    async def inline(handle: Callable[[SimRequest], SimAnswer], request: SimRequest) -> SimAnswer:
        seen.append(request.target)
        return handle(request)

    async def send() -> int:
        transport = SimulatorTransport(gateway, run=inline)
        async with httpx.AsyncClient(transport=transport) as client:
            return (await client.send(httpx_request(shop.request()))).status_code

    assert asyncio.run(send()) == 201
    assert seen == ["/pts/v2/payments"]


def test_control_endpoints_are_mounted_too(gateway: Gateway, post: Post) -> None:
    response = post(gateway, httpx.Request("GET", f"https://{HOST}/__simulator/ledger"))

    assert response.json() == []


def test_a_broken_and_an_encrypted_reply_arrive_as_they_are(
    gateway: Gateway, portfolio: Caller, post: Post
) -> None:
    response = post(gateway, httpx_request(portfolio.request(encrypt_for=gateway)))

    assert portfolio.open(response.content)["status"] == "AUTHORIZED"
    assert list(json.loads(response.content)) == ["encryptedResponse"]
