"""The gateway on a real socket: faults that only a connection can show, and TLS."""

from __future__ import annotations

import http.client
import json
import logging
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from asyncio import selector_events
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.simulator import Fault, FaultKind, Gateway, SimRequest
from django_cybs_jwt.simulator.server import Address, running, serve
from tests.unit.simulator.callers import CARD_NUMBER, Caller


@pytest.fixture
def address(gateway: Gateway) -> Iterator[Address]:
    with running(gateway) as found:
        yield found


def send(address: Address, request: SimRequest, **options: Any) -> httpx.Response:
    headers = {name: value for name, value in request.headers.items() if name != "host"}
    with httpx.Client(trust_env=False, timeout=5, **options) as client:
        return client.request(
            request.method, address.base_url + request.target, headers=headers, content=request.body
        )


def raw(address: Address, request: SimRequest) -> socket.socket:
    """Send *request* over a bare socket and leave the answer on it."""
    parts = urlsplit(address.base_url)
    assert parts.hostname
    connection = socket.create_connection((parts.hostname, parts.port or 0), timeout=5)
    head = f"{request.method} {request.target} HTTP/1.1\r\n"
    headers = {**request.headers, "content-length": str(len(request.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"{head}{lines}\r\n".encode() + request.body)
    return connection


def test_a_payment_over_a_socket(address: Address, gateway: Gateway, shop: Caller) -> None:
    response = send(address, shop.request(target="/pts/v2/payments?a=%20b"))

    assert (response.status_code, response.json()["status"]) == (201, "AUTHORIZED")
    assert response.headers.get_list("date") == ["Fri, 15 Jan 2027 08:00:00 GMT"]
    assert "server" not in response.headers
    assert len(gateway.ledger.entries()) == 1


def test_both_directions_encrypted_over_a_socket(
    address: Address, gateway: Gateway, portfolio: Caller
) -> None:
    response = send(address, portfolio.request(encrypt_for=gateway))

    assert portfolio.open(response.content)["status"] == "AUTHORIZED"


def test_the_host_header_of_a_gateway_counts_over_a_socket(address: Address, shop: Caller) -> None:
    with raw(address, shop.request(http={"host": "api.cybersource.com"})) as connection:
        assert b"x-simulator-refusal: WRONG_HOST" in connection.recv(65536)


@pytest.mark.parametrize(
    ("kind", "processed"), [(FaultKind.RESET_BEFORE, 0), (FaultKind.RESET_AFTER, 1)]
)
def test_a_reset_is_an_rst_and_no_byte_of_an_answer(
    address: Address, gateway: Gateway, shop: Caller, kind: FaultKind, processed: int
) -> None:
    gateway.faults.add(Fault(kind=kind))

    with raw(address, shop.request()) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)

    assert len(gateway.ledger.entries()) == processed
    assert send(address, shop.request("GET", "/tss/v2/transactions/1")).status_code == 404


def test_httpx_sees_a_reset_as_it_does_in_process(
    address: Address, gateway: Gateway, shop: Caller
) -> None:
    gateway.faults.add(Fault(kind=FaultKind.RESET_AFTER))

    with pytest.raises(httpx.ReadError):
        send(address, shop.request())


def test_a_truncated_body_is_shorter_than_promised(
    address: Address, gateway: Gateway, shop: Caller
) -> None:
    gateway.faults.add(Fault(kind=FaultKind.TRUNCATE))

    with raw(address, shop.request()) as connection:
        response = http.client.HTTPResponse(connection)
        response.begin()
        with pytest.raises(http.client.IncompleteRead) as short:
            response.read()
        response.close()

    assert response.status == 201
    assert 0 < len(short.value.partial) < int(response.headers["content-length"])


@pytest.mark.parametrize("kind", [FaultKind.TRUNCATE, FaultKind.GARBAGE])
def test_httpx_sees_what_is_no_answer_as_it_does_in_process(
    address: Address, gateway: Gateway, shop: Caller, kind: FaultKind
) -> None:
    gateway.faults.add(Fault(kind=kind))

    with pytest.raises(httpx.RemoteProtocolError):
        send(address, shop.request())


def test_latency_holds_up_only_the_request_it_strikes(
    address: Address, gateway: Gateway, shop: Caller
) -> None:
    gateway.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.5))
    order = []

    def timed(name: str, request: SimRequest) -> None:
        assert send(address, request).status_code == 201
        order.append(name)

    slow = threading.Thread(target=timed, args=("slow", shop.request()))
    slow.start()
    while gateway.faults.active():
        pass
    timed("fast", shop.request("POST", "/pts/v2/credits", _credit("2")))
    slow.join(60)

    assert order == ["fast", "slow"]


def _credit(code: str) -> dict[str, Any]:
    return {
        "clientReferenceInformation": {"code": code},
        "orderInformation": {"amountDetails": {"totalAmount": "1.00", "currency": "USD"}},
    }


@pytest.mark.parametrize("kind", ["status", "redirect"])
def test_answers_without_json_arrive_as_they_are(
    address: Address, gateway: Gateway, shop: Caller, kind: str
) -> None:
    gateway.faults.add(Fault(kind=FaultKind(kind), status=503 if kind == "status" else 307))

    response = send(address, shop.request())

    assert response.status_code in (503, 307)
    assert "v-c-correlation-id" in response.headers


def test_control_over_a_socket(address: Address, gateway: Gateway, shop: Caller) -> None:
    base = address.base_url + "/__simulator"
    fault = {"kind": "status", "status": 429, "retry_after": 1}
    with httpx.Client(trust_env=False) as client:
        assert client.post(f"{base}/faults", json=fault).status_code == 201
        assert send(address, shop.request()).headers["retry-after"] == "1"
        assert client.delete(f"{base}/faults").status_code == 204
        assert client.get(f"{base}/certificate").text == gateway.identity.pem
        assert client.get(f"{base}/ledger").json() == []


def test_answers_on_a_kept_connection_are_not_held_back(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head and body leave in two writes; with Nagle's algorithm the second waits 40 ms."""
    at_once: list[int] = []
    write = selector_events._SelectorSocketTransport.write

    def looking(transport: Any, data: bytes) -> None:
        of_server = transport.get_extra_info("socket")
        at_once.append(of_server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        write(transport, data)

    monkeypatch.setattr(selector_events._SelectorSocketTransport, "write", looking)
    with httpx.Client(trust_env=False) as client:
        client.get(f"{address.base_url}/__simulator/ledger").raise_for_status()

    assert at_once
    assert all(at_once)


def test_one_token_on_many_sockets_is_accepted_once(
    address: Address, gateway: Gateway, shop: Caller
) -> None:
    request = shop.request()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: send(address, request).status_code, range(8)))

    assert sorted(statuses) == [201] + [401] * 7


def test_too_large_a_body_is_refused_over_a_socket(address: Address, shop: Caller) -> None:
    response = send(address, shop.request(document={"x": "x" * (10 * 1024 * 1024)}))

    assert response.status_code == 413


def test_an_incomplete_request_is_never_processed(
    address: Address, gateway: Gateway, shop: Caller
) -> None:
    request = shop.request()
    with raw(address, SimRequest("POST", request.target, request.headers, b"")) as connection:
        assert b"401" in connection.recv(64)
    parts = urlsplit(address.base_url)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
        connection.sendall(
            b"POST /pts/v2/payments HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
        )

    assert send(address, shop.request("GET", "/tss/v2/transactions/1")).status_code == 404
    assert gateway.ledger.entries() == []


def test_tls_is_verified_with_the_bundle_and_refused_without(
    gateway: Gateway, shop: Caller
) -> None:
    with running(gateway, tls=True) as address:
        assert address.ca_bundle is not None
        context = ssl.create_default_context(cafile=str(address.ca_bundle))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        assert address.base_url.startswith("https://127.0.0.1:")
        assert send(address, shop.request(), verify=context).status_code == 201
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            send(address, shop.request())
        by_name = address._replace(base_url=address.base_url.replace("127.0.0.1", "localhost"))
        assert send(by_name, shop.request("GET", "/x"), verify=context).status_code == 404

    assert not address.ca_bundle.exists()
    assert not address.ca_bundle.parent.exists()


@pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.TRUNCATE, FaultKind.GARBAGE])
def test_connections_break_under_tls_too(gateway: Gateway, shop: Caller, kind: FaultKind) -> None:
    with running(gateway, tls=True) as address:
        context = ssl.create_default_context(cafile=str(address.ca_bundle))
        gateway.faults.add(Fault(kind=kind))
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            send(address, shop.request(), verify=context)

    assert len(gateway.ledger.entries()) == 1


def test_the_port_is_free_again_afterwards(gateway: Gateway) -> None:
    with running(gateway) as address:
        pass

    port = urlsplit(address.base_url).port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port or 0))


def test_a_taken_port_is_an_error_at_once(gateway: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        serve(gateway, port=taken.getsockname()[1])


def test_nothing_sensitive_is_logged(
    address: Address, gateway: Gateway, shop: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    caplog.set_level(logging.DEBUG, logger="django_cybs_jwt")
    gateway.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    request = shop.request()
    for _ in range(2):
        with raw(address, request) as connection:
            try:
                connection.recv(1)
            except ConnectionResetError:
                continue

    assert CARD_NUMBER not in caplog.text
    assert request.headers["authorization"].rpartition(".")[2] not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_without_uvicorn_the_error_names_the_extra(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    with pytest.raises(ConfigurationError, match=r"django-cybs-jwt\[simulator\]"):
        serve(gateway)


def test_serve_announces_its_address_and_ends_on_an_interrupt() -> None:
    script = textwrap.dedent(
        """
        from django_cybs_jwt.simulator import Gateway, MemoryRegistry
        from django_cybs_jwt.simulator.server import serve
        serve(Gateway(MemoryRegistry()), tls=True, ready=lambda a: print(*a, flush=True))
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        base_url, bundle = process.stdout.readline().split()
        context = ssl.create_default_context(cafile=bundle)
        ledger = httpx.get(f"{base_url}/__simulator/ledger", verify=context, trust_env=False)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()

    assert json.loads(ledger.content) == []
    assert (process.returncode, errors) == (0, "")
    assert not Path(bundle).exists()


def test_the_simulator_imports_neither_django_nor_what_it_checks() -> None:
    script = textwrap.dedent(
        """
        import sys
        import django_cybs_jwt.simulator
        import django_cybs_jwt.simulator.server
        import django_cybs_jwt.simulator.transport
        unwanted = {"django", "jwt", "joserfc", "celery", "uvicorn",
                    "django_cybs_jwt.protocol", "django_cybs_jwt.sealing",
                    "django_cybs_jwt.client"}
        print(*unwanted & set(sys.modules))
        """
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
