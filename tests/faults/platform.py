"""Gateways, merchants, workers and orders of one run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from cryptography.hazmat.primitives.serialization import Encoding

from django_cybs_jwt.services.queue.failpoints import POINTS
from django_cybs_jwt.testing import material

ROOT = Path(__file__).parents[2]
HOSTS = ("apitest.cybersource.com", "apitest.visaacceptance.com")
CARD = "4111111111111111"


class Gateways:
    """One simulator for each host, in processes of their own."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._processes = [
            _start(
                *("-m", "tests.faults.gateway", json.dumps({**plan, "seed": number})),
                env=dict(os.environ),
                log=subprocess.PIPE,
            )
            for number in range(len(HOSTS))
        ]
        ports = map(_announced_port, self._processes)
        self.ports = dict(zip(HOSTS, ports, strict=True))

    @property
    def base_urls(self) -> dict[str, str]:
        return {host: f"http://127.0.0.1:{port}" for host, port in self.ports.items()}

    @property
    def pids(self) -> list[int]:
        """Of both processes."""
        return [process.pid for process in self._processes]

    def told(self, name: str) -> list[dict[str, Any]]:
        """What every gateway answers under a control endpoint, in one list."""
        return [each for host in HOSTS for each in json.loads(self.get(host, name))]

    def get(self, host: str, name: str) -> bytes:
        url = f"http://127.0.0.1:{self.ports[host]}/__simulator/{name}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found: bytes = answer.read()
        return found

    def tell(self, host: str, name: str, document: Any = None) -> None:
        url = f"http://127.0.0.1:{self.ports[host]}/__simulator/{name}"
        method = "DELETE" if document is None else "POST"
        data = None if document is None else json.dumps(document).encode()
        urllib.request.urlopen(
            urllib.request.Request(url, data=data, method=method), timeout=30
        ).close()

    def heal(self) -> None:
        """No new faults from now on."""
        for host in HOSTS:
            self.tell(host, "faults")

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def enrol(gateways: Gateways, count: int) -> list[tuple[str, str]]:
    """Merchants on both hosts, one in ten with a P12 and encrypted replies; (org_id, host)."""
    from django.utils import timezone

    from django_cybs_jwt.services import gateway_certificates, organizations

    now, found = timezone.now(), []
    for host in HOSTS:
        pem = gateways.get(host, "certificate")
        gateway_certificates.add(pem, host=host, actor="faults", now=now, preferred=True)
    for number in range(count):
        host, org_id = HOSTS[number % 2], f"m{number}"
        owner = organizations.add(org_id, actor="faults", kind="merchant", host=host)
        if number % 10 < 2:
            new_p12s(gateways, owner)
        else:
            new_secret(gateways, owner, activate=True)
        found.append((org_id, host))
    return found


def new_p12s(gateways: Gateways, owner: Any) -> None:
    """A signing key and a Response MLE key that the gateway knows, imported and active."""
    signing, response = (_p12(owner, purpose) for purpose in ("signing", "response-mle"))
    gateways.tell(
        owner.host,
        "organizations",
        {
            "org_id": owner.org_id,
            "host": owner.host,
            "certificate": _pem(signing),
            "response_kid": response.kid,
            "response_certificate": _pem(response),
        },
    )


def new_secret(gateways: Gateways, owner: Any, *, activate: bool) -> Any:
    """A shared secret that the gateway knows, imported."""
    from django.utils import timezone

    from django_cybs_jwt.services import importing, inspection
    from django_cybs_jwt.services.inspection import Wanted

    file, now = material.shared_secret(), timezone.now()
    known = {"org_id": owner.org_id, "host": owner.host, "kid": file.key_id}
    gateways.tell(owner.host, "organizations", {**known, "shared_secret": file.secret})
    wanted = Wanted(purpose="signing", key_id=file.key_id)
    inspected = inspection.inspect_shared_secret(file.secret, wanted, now=now)
    return importing.import_key(owner, inspected, actor="faults", now=now, activate=activate)


def rotate(gateways: Gateways, org_id: str) -> None:
    """Switch to a new signing key at once, as an operator would."""
    from django.utils import timezone

    from django_cybs_jwt.services import organizations, rotation

    key = new_secret(gateways, organizations.find(org_id), activate=False)
    rotation.rotate(
        key,
        actor="faults",
        now=timezone.now(),
        overlap=timedelta(0),
        force=True,
        reason="rotation during the run",
    )


def order(number: int) -> dict[str, Any]:
    """A payment whose code is the order; every other one is captured at once."""
    return {
        "clientReferenceInformation": {"code": code(number)},
        "processingInformation": {"capture": number % 2 == 0},
        "paymentInformation": {"card": {"number": CARD, "securityCode": "123"}},
        "orderInformation": {"amountDetails": {"totalAmount": "10.00", "currency": "USD"}},
    }


def code(number: int) -> str:
    return f"order-{number}"


# Of the passes of a failpoint kill so many: more until it has killed, and where few ever pass.
OFTEN, SELDOM, RARE = 0.1, 0.004, ("swept", "undone")


class Workers:
    """Processes that work on the queue; a dead one is replaced."""

    def __init__(
        self, lines: list[list[str]], env: Mapping[str, str], log: Path, *, failpoints: bool = False
    ) -> None:
        self._lines, self._env, self._failpoints = lines, dict(env), failpoints
        log.write_bytes(b"")  # what is in it is counted
        self.log, self._log = log, log.open("ab")
        self.killed = self.died = 0
        self._tried: Counter[str] = Counter()
        self._born = [0.0] * len(lines)
        self._processes = [self._new(number) for number in range(len(lines))]

    @property
    def live(self) -> set[int]:
        return {each.pid for each in self._processes if each.poll() is None}

    def kill_one(self) -> int:
        """SIGKILL one that has been up for a while; its children die with it."""
        ready = [
            number
            for number, process in enumerate(self._processes)
            if process.poll() is None and time.monotonic() - self._born[number] > 6
        ]
        if not ready:
            return 0
        os.killpg(self._processes[random.choice(ready)].pid, signal.SIGKILL)
        self.killed += 1
        return 1

    def tend(self) -> None:
        """Replace those that died."""
        for number, process in enumerate(self._processes):
            if process.poll() is not None:
                self.died += 1
                self._processes[number] = self._new(number)

    def calm(self) -> None:
        """No failpoint in those that start from now on."""
        self._failpoints = False

    def died_at(self) -> Counter[str]:
        """How many each failpoint has killed: the last that a process says is its name."""
        found = re.findall(rb"^killed at (\w+)$", self.log.read_bytes(), re.MULTILINE)
        return Counter(name.decode() for name in found)

    def spared(self) -> list[str]:
        """The points at which nobody has died yet."""
        died = self.died_at()
        return [point for point in POINTS if not died[point]]

    def stop(self) -> None:
        """Ask them to end what they have begun."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._log.close()

    def resident_kib(self) -> int:
        """The memory of all of them."""
        total = 0
        for pid in self.live:
            with contextlib.suppress(OSError):
                # One that has just died has no such line.
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    total += int(line.split()[1]) if line.startswith("VmRSS:") else 0
        return total

    def _new(self, number: int) -> subprocess.Popen[bytes]:
        env = {**self._env, "CYBS_FAILPOINT": self._failpoint()}
        self._born[number] = time.monotonic()
        return _start(*self._lines[number], env=env, log=self._log)

    def _failpoint(self) -> str:
        """Each in its turn, those first that have killed nobody."""
        if not self._failpoints:
            return ""
        spared = self.spared()
        point = min(spared or POINTS, key=lambda each: self._tried[each])
        self._tried[point] += 1
        return f"{point}:{0.5 if point in RARE else OFTEN if spared else SELDOM}"


def celery_worker(name: str, queue: str, pool: str, concurrency: int) -> list[str]:
    queues = f"--queues {queue},{queue}-care"
    options = f"--pool {pool} --concurrency {concurrency} {queues} --loglevel WARNING"
    quiet = "--without-gossip --without-mingle --without-heartbeat"
    line = f"-m celery --app tests.faults.celeryapp worker {options} {quiet} --hostname {name}@%h"
    return line.split()


def celery_beat(folder: Path) -> list[str]:
    line = "-m celery --app tests.faults.celeryapp beat --loglevel WARNING --pidfile="
    return [*line.split(), "--schedule", str(folder / "beat")]


def plain_worker(threads: int) -> list[str]:
    return ["-m", "django", "cybs_worker", "--threads", str(threads)]


def _p12(owner: Any, purpose: str) -> material.P12File:
    from django.utils import timezone

    from django_cybs_jwt.services import importing, inspection
    from django_cybs_jwt.services.inspection import Wanted

    file, now = material.p12(owner.org_id, gateway=None), timezone.now()
    wanted = Wanted(purpose=purpose)
    inspected = inspection.inspect_file(file.data, file.password.encode(), wanted, now=now)
    importing.import_key(owner, inspected, actor="faults", now=now, activate=True)
    return file


def _pem(file: material.P12File) -> str:
    return file.certificate.public_bytes(Encoding.PEM).decode()


def _start(
    *arguments: str, env: Mapping[str, str], log: IO[bytes] | int | None = None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**env, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=None if log == subprocess.PIPE else log,
        start_new_session=True,
    )


def _announced_port(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    address = process.stdout.readline().decode().strip()
    if not address:
        raise RuntimeError("A gateway of the run did not start.")
    return int(address.rpartition(":")[2])
