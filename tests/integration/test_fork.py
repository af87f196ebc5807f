"""A client made before fork serves its children without ever crossing their replies.

`python -m tests.integration.test_fork ours|shared` runs one experiment in a process of its own,
because a test runner has threads and a forking process should have none: two children send 200
requests each through one warmed client of their parent. `shared` is the control: the same
client over one plain httpx transport, which is inherited with its open connections.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import select
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any, Final

import httpx
import pytest

from django_cybs_jwt.client import Client, Config, Timeout
from django_cybs_jwt.exceptions import SendError
from django_cybs_jwt.protocol import GatewayCertificate, MerchantKeys, ResponseKey, SigningKey
from django_cybs_jwt.simulator import Fault, FaultKind, Gateway, MemoryRegistry
from django_cybs_jwt.simulator.server import serve
from django_cybs_jwt.testing import material

HOST: Final = "apitest.cybersource.com"
REQUESTS: Final = 200
WARM: Final = 12
SECONDS: Final = 60.0
READ: Final = {"ours": 10.0, "shared": 1.0}  # the control breaks, and waits for what never comes


def test_two_children_of_one_warmed_client_get_their_own_replies() -> None:
    """400 requests, 0 crossed replies, 0 errors, every one processed once."""
    result = experiment("ours")
    assert result["sent"] == [REQUESTS, REQUESTS]
    assert result["crossed"] == [0, 0]
    assert result["errors"] == [0, 0]
    assert result["processed"] == 2 * REQUESTS + WARM
    assert result["processed_twice"] == 0


def test_the_control_can_fail() -> None:
    """One transport shared across fork crosses replies or breaks, so the test above means it."""
    result = experiment("shared")
    assert sum(result["crossed"]) + sum(result["errors"]) > 0


@pytest.mark.django_db
def test_after_a_fork_no_opened_key_and_no_epoch_is_left(cybs_simulator: Any) -> None:
    """A child looks again; what its parent had opened is not in the child's hands."""
    from django_cybs_jwt import cybs
    from django_cybs_jwt.services import opened_keys, signing

    cybs_simulator.merchant("acme", response_mle=False)
    cybs.keys_for("acme")
    opened_keys._guard.acquire()  # held by a thread that the child will not have
    signing._cache.lock.acquire()
    try:
        seen = in_a_child(
            lambda: {
                "assembled": len(signing._cache.assembled),
                "epoch": signing._cache.epoch,
                "fresh": signing._cache.is_fresh(),
                "opened": len(opened_keys._entries),
                "locked": opened_keys._guard.locked() or signing._cache.lock.locked(),
            }
        )
    finally:
        signing._cache.lock.release()
        opened_keys._guard.release()
    assert seen == {"assembled": 0, "epoch": None, "fresh": False, "opened": 0, "locked": False}
    assert len(signing._cache.assembled) == 1, "the parent keeps its own"
    assert len(opened_keys._entries) == 1


def experiment(kind: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.integration.test_fork", kind],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def in_a_child(work: Callable[[], Any]) -> Any:
    """What *work* returns in a forked child, which ends right after."""
    return Child(work).result()


class Child:
    """A forked process that writes what its work returns into a pipe."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._pipe, writer = os.pipe()
        self.pid = _fork()
        if self.pid == 0:
            status = 1
            try:
                os.write(writer, json.dumps(work()).encode())
                status = 0
            finally:
                if status:
                    traceback.print_exc()
                os._exit(status)
        os.close(writer)

    def result(self) -> Any:
        ready, _, _ = select.select([self._pipe], [], [], 2 * SECONDS)
        assert ready, "the child hangs"
        with os.fdopen(self._pipe, "rb") as stream:
            text = stream.read()
        os.waitpid(self.pid, 0)
        assert text, "the child failed; its traceback is on stderr"
        return json.loads(text)


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of threads; the child here touches none of their locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def run(kind: str) -> dict[str, Any]:
    keys, gateway = acme()
    base_url, server = started(gateway)
    try:
        timeout = Timeout(connect=10, read=READ[kind], pool=10, total=30)
        settings = Config(base_urls={HOST: base_url}, timeout=timeout)
        transport = httpx.HTTPTransport(trust_env=False) if kind == "shared" else None
        client = Client(lambda: keys, settings, transport=transport)
        with ThreadPoolExecutor(WARM) as pool:  # its threads have ended before the fork
            warmed = list(pool.map(partial(pay, client), map(str, range(WARM))))
        assert len(set(warmed)) == WARM
        barrier = multiprocessing.get_context("fork").Barrier(2)
        children = [Child(partial(many, client, name, barrier)) for name in ("a", "b")]
        results = [child.result() for child in children]
        ledger = httpx.get(f"{base_url}/__simulator/ledger", trust_env=False).json()
    finally:
        os.kill(server, 9)
        os.waitpid(server, 0)
    codes = [entry["code"] for entry in ledger]
    return {
        **{name: [result[name] for result in results] for name in results[0]},
        "processed": len(codes),
        "processed_twice": len(codes) - len(set(codes)),
    }


def many(client: Client, name: str, barrier: Barrier) -> dict[str, int]:
    """Send until all are sent or time is up; count what came back to the wrong request.

    Both children begin at the same moment, when an inherited connection looks idle to both.
    """
    counts = {"sent": 0, "crossed": 0, "errors": 0}
    barrier.wait(SECONDS)
    end = time.monotonic() + SECONDS
    while counts["sent"] < REQUESTS and time.monotonic() < end:
        code = f"{name}-{counts['sent']}"
        counts["sent"] += 1
        try:
            counts["crossed"] += pay(client, code) != code
        except (SendError, ValueError):  # a reply made of two is no JSON any more
            counts["errors"] += 1
    return counts


def pay(client: Client, code: str) -> str:
    response = client.post(
        "/pts/v2/payments",
        json={
            "clientReferenceInformation": {"code": code},
            "orderInformation": {"amountDetails": {"totalAmount": "1.00", "currency": "USD"}},
        },
    )
    answered: str = response.json().get("clientReferenceInformation", {}).get("code", "none")
    return answered


def acme() -> tuple[MerchantKeys, Gateway]:
    secret = secrets.token_bytes(32)
    response = ResponseKey(owner="acme", kid="2222", private_key=material.rsa_key())
    registry = MemoryRegistry()
    registry.add(
        "acme",
        kid="1111",
        secret=secret,
        response_kid="2222",
        response_certificate=material.certificate(
            response.private_key, common_name="acme", kid="2222"
        ),
    )
    gateway = Gateway(registry)
    # As far away as a real gateway is: two children wait for their answers at the same time.
    gateway.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.004, probability=1.0))
    keys = MerchantKeys(
        merchant="acme",
        host=HOST,
        signing=SigningKey(owner="acme", kid="1111", algorithm="HS256", material=secret),
        response_keys={"2222": response},
        response_kid="2222",
        gateway_certificate=GatewayCertificate.from_x509(gateway.identity.certificate),
    )
    return keys, gateway


def started(gateway: Gateway) -> tuple[str, int]:
    """The gateway's URL and process id; a process of its own, so that no thread is forked."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            serve(
                gateway, ready=lambda address: os.write(writer, address.base_url.encode()) and None
            )
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        ready, _, _ = select.select([stream], [], [], SECONDS)
        assert ready, "the simulator does not start"
        return os.read(stream.fileno(), 200).decode(), pid


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(sys.argv[1])))
