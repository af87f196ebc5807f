"""No exchange outlasts its deadline, whatever the peer does; no whole answer is thrown away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpcore
import httpx
import pytest

from django_cybs_jwt.client import AsyncClient, Client, Config, deadline
from django_cybs_jwt.client.config import Timeout
from django_cybs_jwt.client.deadline import Deadline, cut, cut_read, held
from django_cybs_jwt.client.exchange import Reading
from django_cybs_jwt.client.network import AsyncStream, Stream
from django_cybs_jwt.client.outcome import Trace
from django_cybs_jwt.exceptions import NotSent, OutcomeUnknown
from tests.unit.client.merchants import PAYMENT, Call, Sender, config
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import Behaviour, RawServer, Received, answers, drips, http
from tests.unit.client.test_client_outcome import with_a_full_backlog

PAY = Call(options={"json": PAYMENT})
AUTHORIZED = http(201, b'{"status":"AUTHORIZED"}')
BODY = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
HEADER = b"HTTP/1.1 200 OK\r\nx: "
INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n"
DRIPS = {
    "body": (BODY, b"x", 0.05),
    "header": (HEADER, b"x", 0.05),
    "interim answers": (INTERIM, INTERIM, 0.05),
    "a flood of interim answers": (INTERIM, INTERIM * 2000, 0.0),
}


@contextlib.contextmanager
def taking(least: float, most: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert least <= time.monotonic() - started < most


def dripping(server: RawServer, what: str) -> Behaviour:
    head, drop, every = DRIPS[what]
    return drips(head, drop, every=every, stopping=server.stopping)


@pytest.mark.alone
@pytest.mark.parametrize("what", DRIPS)
def test_a_peer_that_keeps_talking_is_left_at_the_deadline(
    sender: Sender, server: RawServer, what: str
) -> None:
    server.behave = dripping(server, what)
    settings = config(server.url, timeout=Timeout(read=2.0, total=0.4))
    with taking(0.4, 1.2), pytest.raises(OutcomeUnknown, match="Look the transaction up") as caught:
        sender.send(keys_of(), settings, [PAY])
    assert caught.value.facts == {"error": "ReadTimeout"}


@pytest.mark.alone
def test_a_connection_that_is_used_again_has_the_deadline_of_each_exchange(
    sender: Sender, server: RawServer
) -> None:
    answer, drip = answers(AUTHORIZED), dripping(server, "header")

    def twice(connection: socket.socket, request: Received) -> bool:
        return (answer if len(server.received) < 3 else drip)(connection, request)

    server.behave = twice
    settings = config(server.url, timeout=Timeout(read=2.0, total=0.4))
    with taking(0.4, 1.2), pytest.raises(OutcomeUnknown):
        sender.send(keys_of(), settings, [PAY] * 3)
    assert (server.accepted, len(server.received)) == (1, 3)


def late(answer: bytes, seconds: float) -> Behaviour:
    def behave(connection: socket.socket, _: object) -> bool:
        time.sleep(seconds)
        connection.sendall(answer)
        return True

    return behave


@pytest.mark.alone
def test_a_call_that_may_wait_longer_than_the_total_gets_its_whole_answer(
    sender: Sender, server: RawServer
) -> None:
    server.behave = late(AUTHORIZED, 0.6)
    settings = config(server.url, timeout=Timeout(total=0.3))
    patient = Call(options={"json": PAYMENT, "timeout": 3.0})
    (response,) = sender.send(keys_of(), settings, [patient])
    assert response.status_code == 201


@pytest.mark.alone
def test_its_own_timeout_is_then_the_deadline(sender: Sender, server: RawServer) -> None:
    server.behave = dripping(server, "header")
    settings = config(server.url, timeout=Timeout(total=0.2))
    patient = Call(options={"json": PAYMENT, "timeout": 0.7})
    with taking(0.7, 1.5), pytest.raises(OutcomeUnknown):
        sender.send(keys_of(), settings, [patient])


@pytest.mark.alone
@pytest.mark.parametrize("timeout", [None, httpx.Timeout(None, connect=1.0)], ids=["none", "some"])
def test_a_call_without_timeouts_ends_at_the_total(
    sender: Sender, server: RawServer, timeout: Any
) -> None:
    server.behave = late(AUTHORIZED, 2.0)
    settings = config(server.url, timeout=Timeout(total=0.4))
    endless = Call(options={"json": PAYMENT, "timeout": timeout})
    with taking(0.4, 1.2), pytest.raises(OutcomeUnknown):
        sender.send(keys_of(), settings, [endless])


def test_an_answer_that_lay_there_whole_while_this_process_stood_still_is_read(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused, swapped out, or busy elsewhere: the clock ran on, and the payment was made."""
    long = b'{"status":"AUTHORIZED","padding":"' + b"x" * 300_000 + b'"}'
    sent, ahead = threading.Event(), itertools.count(60, 60)
    clock = SimpleNamespace(monotonic=time.monotonic)
    monkeypatch.setattr(deadline, "time", clock)
    keys, settings = keys_of(), config(server.url, timeout=Timeout(total=30.0))

    def behave(connection: socket.socket, _: Received) -> bool:
        connection.sendall(http(201, long))
        sent.set()
        return True

    def stand_still(event: str) -> None:
        if event.endswith("receive_response_headers.started"):
            assert sent.wait(30)
            sent.clear()
            late = next(ahead)
            clock.monotonic = lambda: time.monotonic() + late

    server.behave = behave
    with Client(lambda: keys, settings) as client:
        parcel = client.seal(client.build_request("POST", "/pts/v2/payments", json=PAYMENT))
        parcel.trace = Trace(stand_still)
        assert client.dispatch(parcel).content == long

    async def send() -> bytes:
        async def provide() -> Any:
            return keys

        async with AsyncClient(provide, settings) as client:
            parcel = await client.seal(client.build_request("POST", "/x", json=PAYMENT))
            parcel.trace = Trace(stand_still)
            return (await client.dispatch(parcel)).content

    assert asyncio.run(send()) == long


@contextlib.contextmanager
def reading_slowly(every: float) -> Iterator[str]:
    """A peer that takes a little of the request at a time."""
    over = threading.Event()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while not over.wait(every):
                    connection.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join(5)


@pytest.mark.alone
def test_a_peer_that_hardly_takes_the_request_is_left_at_the_deadline(sender: Sender) -> None:
    endless = Call(options={"json": {"a": "x" * 7_000_000}, "extensions": {"cybs_mle": False}})
    with reading_slowly(every=0.02) as url:
        settings = config(url, timeout=Timeout(write=1.0, read=2.0, total=0.5))
        with taking(0.5, 2.5), pytest.raises(OutcomeUnknown) as caught:
            sender.send(keys_of(), settings, [endless])
    assert caught.value.facts == {"error": "WriteTimeout"}


@pytest.mark.alone
def test_a_deadline_before_the_connection_stands_has_sent_nothing(sender: Sender) -> None:
    with with_a_full_backlog() as url:
        settings = config(url, timeout=Timeout(connect=5.0, total=0.3))
        with taking(0.3, 1.5), pytest.raises(NotSent) as caught:
            sender.send(keys_of(), settings, [PAY])
    assert caught.value.facts == {"error": "ConnectTimeout"}


class Dripping(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport of the caller's own, which knows of no deadline."""

    def __init__(self, parts: int, every: float) -> None:
        self._parts, self._every = parts, every

    def handle_request(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=_Parts(self._parts, self._every))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


class _Parts(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, parts: int, every: float) -> None:
        self._parts, self._every = parts, every

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self._parts):
            time.sleep(self._every)
            yield b" "

    async def __aiter__(self) -> Any:
        for part in self:
            yield part


@pytest.mark.alone
def test_a_transport_of_the_callers_own_is_left_after_one_more_read(sender: Sender) -> None:
    settings = config(timeout=Timeout(read=0.2, total=0.3))
    with taking(0.5, 1.5), pytest.raises(OutcomeUnknown, match="in time"):
        sender.send(keys_of(), settings, [PAY], transport=Dripping(1000, 0.05))


@pytest.mark.alone
def test_what_such_a_transport_ends_within_that_read_is_an_answer(sender: Sender) -> None:
    settings = config(timeout=Timeout(read=2.0, total=0.3))
    (response,) = sender.send(keys_of(), settings, [PAY], transport=Dripping(2, 0.25))
    assert response.content == b"  "


# Without a network


@pytest.mark.parametrize("way", [cut, cut_read])
def test_outside_of_an_exchange_a_timeout_is_what_it_was(way: Callable[..., Any]) -> None:
    assert (way(7.0, ValueError), way(None, ValueError)) == (7.0, None)


@pytest.mark.parametrize("way", [cut, cut_read])
def test_a_step_gets_what_is_left_and_never_more_than_its_own(way: Callable[..., Any]) -> None:
    with held(Deadline(60.0)):
        assert way(7.0, ValueError) == 7.0
        assert 59.0 < way(None, ValueError) <= 60.0
        assert 59.0 < way(100.0, ValueError) <= 60.0
    assert way(None, ValueError) is None


@pytest.mark.alone
def test_after_the_deadline_nothing_is_written_and_reads_only_look_for_a_while() -> None:
    with held(Deadline(0.0)):
        with pytest.raises(httpcore.WriteTimeout):
            cut(7.0, httpcore.WriteTimeout)
        time.sleep(1.0)  # how late the first look is does not matter
        assert cut_read(7.0, httpcore.ReadTimeout) == 0.001
        time.sleep(0.3)
        assert cut_read(7.0, httpcore.ReadTimeout) == 0.001
        time.sleep(0.3)
        with pytest.raises(httpcore.ReadTimeout):
            cut_read(7.0, httpcore.ReadTimeout)


class Closing(httpcore.NetworkStream, httpcore.AsyncNetworkStream):
    """Knows whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def test_a_connection_without_time_left_for_tls_is_closed() -> None:
    """The pool does not have it yet, so nobody else would."""
    context, sync, twin = ssl.create_default_context(), Closing(), Closing()
    with held(Deadline(0.0)):
        with pytest.raises(httpcore.ConnectTimeout):
            Stream(sync).start_tls(context)
        with pytest.raises(httpcore.ConnectTimeout):
            asyncio.run(AsyncStream(twin).start_tls(context))
    assert sync.closed
    assert twin.closed


def test_exchanges_of_other_threads_and_tasks_keep_their_own_deadline() -> None:
    seen = []
    with held(Deadline(0.0)):
        thread = threading.Thread(target=lambda: seen.append(cut(7.0, ValueError)))
        thread.start()
        thread.join()
    assert seen == [7.0]


@pytest.mark.alone
def test_a_reply_is_kept_while_its_patience_lasts() -> None:
    reading = Reading(Config(), Deadline(0.0), patience=0.1)
    reading.take(b"{")
    reading.take(b"}")
    assert reading.body() == b"{}"
    time.sleep(0.15)
    with pytest.raises(OutcomeUnknown, match="in time"):
        reading.take(b" ")
