"""NotSent is said only where nothing left; everything else that went wrong is OutcomeUnknown."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from django_cybs_jwt.client.config import Route, Timeout
from django_cybs_jwt.client.outcome import Trace
from django_cybs_jwt.exceptions import (
    MLEDecryptError,
    NotSent,
    OutcomeUnknown,
    ReplyNotEncrypted,
    ReplyUnreadable,
    SendError,
)
from django_cybs_jwt.protocol.keys import ResponseMLE
from django_cybs_jwt.simulator import Fault, FaultKind, Gateway
from django_cybs_jwt.simulator.server import running
from django_cybs_jwt.simulator.transport import SimulatorTransport
from tests.unit.client.merchants import CARD_NUMBER, PAYMENT, Call, Sender, config, gateway
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import RawServer, answers, breaks_off, drips, http, resets

PAY = Call(options={"json": PAYMENT})
STARTED = "http11.send_request_headers.started"
CONNECTED = ["connection.connect_tcp.started", "connection.connect_tcp.complete"]


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def unknown_to_dns() -> Iterator[str]:
    yield "https://gateway.invalid"


@contextlib.contextmanager
def with_a_full_backlog() -> Iterator[str]:
    """A port that drops every further SYN: two connections fill a backlog of 0."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def with_a_certificate_nobody_trusts() -> Iterator[str]:
    with running(gateway(), tls=True) as address:
        yield address.base_url


@contextlib.contextmanager
def without_tls() -> Iterator[str]:
    with running(gateway()) as address:
        yield address.base_url.replace("http:", "https:")


@pytest.mark.parametrize(
    ("unreachable", "kind"),
    [
        (refusing, "ConnectError"),
        (unknown_to_dns, "ConnectError"),
        (with_a_full_backlog, "ConnectTimeout"),
        (with_a_certificate_nobody_trusts, "ConnectError"),
        (without_tls, "ConnectError"),
    ],
)
def test_what_never_connected_was_not_sent(sender: Sender, unreachable: Any, kind: str) -> None:
    with unreachable() as url:
        patience = 0.3 if kind == "ConnectTimeout" else 30.0
        settings = config(url, timeout=Timeout(connect=patience, read=2.0))
        with pytest.raises(NotSent) as caught:
            sender.send(keys_of(), settings, [PAY])
    assert caught.value.facts["error"] == kind
    assert_shows_only_the_sealed_form(caught.value)


@pytest.mark.parametrize(
    ("unreachable", "told"),
    [
        (
            refusing,
            r": 127\.0\.0\.1:\d+ refuses connections\. CYBS_JWT\['BASE_URLS'\] sends it there",
        ),
        (unknown_to_dns, r": the name of gateway\.invalid:443 does not resolve\."),
        (
            with_a_certificate_nobody_trusts,
            r"127\.0\.0\.1:\d+ is not trusted \(.+\)\. Trying again does not help\. .+CA_BUNDLE",
        ),
        (without_tls, r"Nothing was sent \(ConnectError\); sending again is safe\."),
    ],
)
def test_what_was_not_sent_says_why_and_what_helps(
    sender: Sender, unreachable: Any, told: str
) -> None:
    with unreachable() as url, pytest.raises(NotSent, match=told):
        sender.send(keys_of(), config(url, timeout=Timeout(connect=30.0, read=2.0)), [PAY])


@pytest.mark.parametrize("base_url", ["", "http://elsewhere.example:9000"])
def test_a_peer_that_base_urls_does_not_name_is_not_laid_to_it(base_url: str) -> None:
    trace = Trace()
    trace.record("connection.connect_tcp.started", {"host": "proxy.example", "port": 3128})
    error = httpx.ConnectError("no")
    error.__cause__ = ExceptionGroup("each address", [OSError("no"), ConnectionRefusedError("no")])
    told = str(trace.classify(error, base_url=base_url))
    assert "proxy.example:3128 refuses connections" in told
    assert "BASE_URLS" not in told


def test_whatever_fails_once_a_byte_has_left_is_an_unknown_outcome(sender: Sender) -> None:
    """A bug of ours, of a library or of a callback must not look as if nothing had been sent."""

    def breaks(*_: object) -> None:
        raise RuntimeError(CARD_NUMBER)

    keys = keys_of()
    with running(gateway(keys)) as address:
        with pytest.raises(OutcomeUnknown) as caught:
            sender.send(keys, config(address.base_url, opened=breaks), [PAY])
        assert caught.value.facts == {"error": "RuntimeError"}
        assert CARD_NUMBER not in str(caught.value)
        with pytest.raises(RuntimeError):
            sender.send(keys, config(address.base_url, signed=breaks), [PAY])


def test_a_request_that_found_no_free_connection_was_not_sent(
    sender: Sender, server: RawServer
) -> None:
    refused = threading.Semaphore(0)

    def held(connection: socket.socket, _: object) -> bool:
        for _other in range(2):
            assert refused.acquire(timeout=30)
        connection.sendall(http())
        return True

    server.behave = held
    settings = config(
        server.url, timeout=Timeout(pool=0.2, read=60.0), route=Route(max_connections=1)
    )
    outcomes = sender.together(keys_of(), settings, [PAY] * 3, ended=refused.release)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [type(error) for error in errors] == [NotSent, NotSent]
    assert all(error.facts == {"error": "PoolTimeout"} for error in errors)  # type: ignore[attr-defined]
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (resets, "ReadError"),
        (breaks_off(), "RemoteProtocolError"),
        (breaks_off(after=b"HTTP/1.1 200 OK\r\ncontent-le"), "RemoteProtocolError"),
        (breaks_off(after=http(body=b"x" * 100)[:-50]), "RemoteProtocolError"),
        (breaks_off(after=b"garbage\r\n\r\n"), "RemoteProtocolError"),
        (
            breaks_off(after=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
            "RemoteProtocolError",
        ),
        (
            breaks_off(after=b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nno gzip at all"),
            "DecodingError",
        ),
    ],
    ids=["reset", "closed", "half a head", "half a body", "garbage", "bad chunk", "bad gzip"],
)
def test_what_left_without_a_usable_answer_has_an_unknown_outcome(
    sender: Sender, server: RawServer, behaviour: Any, kind: str
) -> None:
    server.behave = behaviour
    with pytest.raises(OutcomeUnknown, match="Look the transaction up") as caught:
        sender.send(keys_of(), config(server.url), [PAY])
    assert type(caught.value) is OutcomeUnknown
    assert caught.value.facts == {"error": kind}
    assert len(server.received) == 1, "a request is sent once"
    assert_shows_only_the_sealed_form(caught.value)


def test_silence_has_an_unknown_outcome(sender: Sender, server: RawServer) -> None:
    server.behave = lambda *_: server.stopping.wait(5) and False
    with pytest.raises(OutcomeUnknown) as caught:
        sender.send(keys_of(), config(server.url, timeout=Timeout(read=0.2)), [PAY])
    assert caught.value.facts == {"error": "ReadTimeout"}


def test_a_connection_that_dies_when_it_is_used_again_has_an_unknown_outcome(
    sender: Sender, server: RawServer
) -> None:
    """The keep-alive race: the server closes while the next request is on its way."""
    answered: list[object] = []

    def once(connection: socket.socket, request: object) -> bool:
        if answered:
            return False
        answered.append(request)
        connection.sendall(http())
        return True

    server.behave = once
    with pytest.raises(OutcomeUnknown):
        sender.send(keys_of(), config(server.url), [PAY, PAY])
    assert (server.accepted, len(server.received)) == (1, 2)


def test_a_connection_that_was_closed_between_two_requests_is_replaced(
    sender: Sender, server: RawServer
) -> None:
    server.behave = breaks_off(after=http())

    def later() -> datetime:
        """Signing takes until the server's farewell is there."""
        deadline = time.monotonic() + 30
        while any(each.fileno() != -1 for each in server._connections):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return datetime.now(UTC)

    responses = sender.send(keys_of(), config(server.url, clock=later), [PAY, PAY, PAY])
    assert [response.status_code for response in responses] == [200, 200, 200]
    assert server.accepted == 3


def test_a_reply_that_is_too_long_is_not_read_to_its_end(sender: Sender, server: RawServer) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n"
    server.behave = drips(head, b"x" * 5000, every=0.001, stopping=server.stopping)
    with pytest.raises(ReplyUnreadable, match="longer"):
        sender.send(keys_of(), config(server.url, longest_reply=20_000), [PAY])


def test_a_reply_of_the_longest_size_is_read(sender: Sender, server: RawServer) -> None:
    body = json.dumps("x" * 19_998).encode()
    server.behave = answers(http(body=body))
    (response,) = sender.send(keys_of(), config(server.url, longest_reply=20_000), [PAY])
    assert response.content == body


def test_an_early_refusal_of_a_long_body_is_an_answer(sender: Sender, server: RawServer) -> None:
    """A write that fails because the server has answered already is no failure."""
    server.behave = breaks_off(after=http(413, b'{"reason":"TOO_LARGE"}'))
    (response,) = sender.send(
        keys_of(), config(server.url), [Call(options={"json": {"a": "x" * 3_000_000}})]
    )
    assert response.status_code == 413


FAULTS = [
    (FaultKind.BROKEN_JWE, "ask", MLEDecryptError),
    (FaultKind.UNKNOWN_KID, "ask", MLEDecryptError),
    (FaultKind.PLAIN_REPLY, "required", ReplyNotEncrypted),
    (FaultKind.RESET_BEFORE, "ask", OutcomeUnknown),
    (FaultKind.RESET_AFTER, "ask", OutcomeUnknown),
    (FaultKind.TRUNCATE, "ask", OutcomeUnknown),
]


@contextlib.contextmanager
def in_process(known: Gateway) -> Iterator[tuple[str | None, dict[str, Any]]]:
    yield None, {"transport": SimulatorTransport(known)}


@contextlib.contextmanager
def over_a_socket(known: Gateway) -> Iterator[tuple[str | None, dict[str, Any]]]:
    with running(known) as address:
        yield address.base_url, {}


@pytest.mark.parametrize("reached", [in_process, over_a_socket])
@pytest.mark.parametrize(("kind", "policy", "error"), FAULTS)
def test_each_fault_has_its_error(
    sender: Sender, kind: FaultKind, policy: ResponseMLE, error: type[SendError], reached: Any
) -> None:
    keys = keys_of()
    known = gateway(keys)
    known.faults.add(Fault(kind=kind))
    with reached(known) as (url, options), pytest.raises(error) as caught:
        sender.send(keys, config(url, response_mle=policy), [PAY], **options)
    assert type(caught.value) is error
    assert len(known.ledger.entries()) == (kind is not FaultKind.RESET_BEFORE)
    assert CARD_NUMBER not in repr(caught.value)


@pytest.mark.parametrize("kind", [FaultKind.BROKEN_JWE, FaultKind.UNKNOWN_KID])
def test_an_unreadable_reply_can_still_be_looked_up(sender: Sender, kind: FaultKind) -> None:
    keys = keys_of()
    known = gateway(keys)
    known.faults.add(Fault(kind=kind))
    with pytest.raises(MLEDecryptError) as caught:
        sender.send(keys, config(), [PAY], transport=SimulatorTransport(known))
    assert caught.value.facts["status_code"] == 201
    assert uuid.UUID(caught.value.facts["correlation_id"])
    told = str(caught.value)
    assert "was probably processed: look it up" in told
    assert told.endswith(f"Its key ID is {caught.value.facts['kid']!r}.")


def test_a_plain_reply_passes_where_it_was_only_asked_for(sender: Sender) -> None:
    keys = keys_of()
    known = gateway(keys)
    known.faults.add(Fault(kind=FaultKind.PLAIN_REPLY))
    (response,) = sender.send(keys, config(), [PAY], transport=SimulatorTransport(known))
    assert response.status_code == 201
    assert response.extensions["cybs"].encrypted is False


class Misleading(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Reports *events*, then raises an error whose name says something else."""

    def __init__(self, events: list[str], error: type[httpx.TransportError]) -> None:
        self.events, self.error = events, error

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for event in self.events:
            request.extensions["trace"](event, {})
        raise self.error("misleading", request=request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for event in self.events:
            await request.extensions["trace"](event, {})
        raise self.error("misleading", request=request)


@pytest.mark.parametrize(
    ("events", "error", "expected"),
    [
        ([*CONNECTED, STARTED], httpx.ConnectError, OutcomeUnknown),
        ([*CONNECTED, STARTED], httpx.PoolTimeout, OutcomeUnknown),
        ([STARTED], httpx.UnsupportedProtocol, OutcomeUnknown),
        ([STARTED, "http11.send_request_headers.failed"], httpx.ConnectTimeout, OutcomeUnknown),
        (["http2.send_request_headers.started"], httpx.ProxyError, OutcomeUnknown),
        (CONNECTED, httpx.ReadError, NotSent),
        (CONNECTED, httpx.ReadTimeout, NotSent),
        (CONNECTED[:1], httpx.RemoteProtocolError, NotSent),
        ([], httpx.ConnectError, NotSent),
        ([], httpx.ConnectTimeout, NotSent),
        ([], httpx.PoolTimeout, NotSent),
        ([], httpx.UnsupportedProtocol, NotSent),
        ([], httpx.ProxyError, NotSent),
        ([], httpx.ReadError, OutcomeUnknown),
        ([], httpx.ReadTimeout, OutcomeUnknown),
        ([], httpx.WriteError, OutcomeUnknown),
        ([], httpx.RemoteProtocolError, OutcomeUnknown),
    ],
)
def test_the_events_decide_and_not_the_errors_name(
    sender: Sender,
    events: list[str],
    error: type[httpx.TransportError],
    expected: type[SendError],
) -> None:
    with pytest.raises(SendError) as caught:
        sender.send(keys_of(), config(), [PAY], transport=Misleading(events, error))
    assert type(caught.value) is expected


class _Tunnel:
    method = b"CONNECT"


def test_what_is_said_to_a_proxy_is_not_the_request() -> None:
    trace = Trace()
    trace.record(STARTED, {"request": _Tunnel()})
    assert not trace.sent
    trace.record(STARTED, {"request": httpx.Request("POST", "https://x.example")})
    assert trace.sent


class HalfBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Begins, then fails with an error that sounds like nothing was sent."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"{"
        raise httpx.ConnectError("misleading")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"{"
        raise httpx.ConnectError("misleading")


class Answering(Misleading):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for event in self.events:
            request.extensions["trace"](event, {})
        return httpx.Response(200, stream=HalfBody())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for event in self.events:
            await request.extensions["trace"](event, {})
        return httpx.Response(200, stream=HalfBody())


def test_an_error_while_the_body_is_read_is_never_not_sent(sender: Sender) -> None:
    """Even where the transport reports no events at all: an answer had begun."""
    for events in ([STARTED], []):
        transport = Answering(events, httpx.ConnectError)
        with pytest.raises(OutcomeUnknown):
            sender.send(keys_of(), config(), [PAY], transport=transport)


def assert_shows_only_the_sealed_form(error: BaseException) -> None:
    cause = error.__cause__
    assert isinstance(cause, httpx.RequestError)
    assert list(json.loads(cause.request.content)) == ["encryptedRequest"]
    shown = f"{error!s}{error!r}{cause!s}{cause!r}"
    assert CARD_NUMBER not in shown
    assert "eyJ" not in shown
