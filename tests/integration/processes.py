"""A whole platform in processes: the example project, its simulator, and senders."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from django_cybs_jwt.testing import material

ROOT = Path(__file__).parents[2]
MANAGE = ROOT / "example_project" / "manage.py"
SENDER = Path(__file__).with_name("sender.py")
HOST = "apitest.cybersource.com"


class Platform:
    """Commands and processes that share one database, one ring and one simulator."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.port = 0
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "example.settings",
            "DATABASE_URL": database_url,
            "CYBS_KEYRING_FILE": str(folder / "keyring.json"),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'example_project'}",
        }

    def command(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run a command to its end and return what it printed; any failure is an error."""
        done = subprocess.run(
            [sys.executable, str(MANAGE), *arguments],
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.command(*arguments, "--json"))

    def import_p12(self, org_id: str, purpose: str, *extra: str) -> dict[str, Any]:
        file = material.p12(org_id)
        path = self.folder / f"{secrets.token_hex(4)}.p12"
        path.write_bytes(file.data)
        line = ["cybs_import", org_id, str(path), "--purpose", purpose, *extra, "--json"]
        printed = self.command(*line, "--password-env", "PW", env={"PW": file.password})
        path.unlink()
        found: dict[str, Any] = json.loads(printed)
        return found

    @contextmanager
    def simulator(self) -> Iterator[None]:
        """While open, the gateway; it takes a free port and says which."""
        process = self.start(str(MANAGE), "cybs_simulator", "--port", "0")
        with process, _killed([process]):
            url = announced(process)
            self.port = int(url.rpartition(":")[2])
            self.env["CYBS_BASE_URLS"] = json.dumps({HOST: url})
            certificate = self.folder / "gateway.crt"
            certificate.write_bytes(get(self.port, "/__simulator/certificate"))
            self.command("cybs_gateway_cert", "add", str(certificate), "--host", HOST, "--prefer")
            yield

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def senders(self, count: int, org_id: str) -> Iterator[Senders]:
        """Processes that send without pause, all under way when the block begins."""
        with ExitStack() as stack:
            processes = [stack.enter_context(self.start(str(SENDER), org_id)) for _ in range(count)]
            stack.enter_context(_killed(processes))
            for process in processes:
                assert next_line(process) == "sending\n"
            yield Senders(processes)


class Senders:
    """Ask them to stop; each reports what it did."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def until_each_tells(self, what: str) -> None:
        """Wait until every one has told *what*: a key it signs with or opens with, an error."""
        for process in self._processes:
            while next_line(process) != f"{what}\n":
                pass

    def stop(self) -> list[dict[str, Any]]:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        reports = []
        for process in self._processes:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            reports.append(json.loads(out.splitlines()[-1]))
        return reports


@contextmanager
def _killed(processes: list[subprocess.Popen[str]]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def announced(process: subprocess.Popen[str]) -> str:
    """The address at which a simulator says that it listens."""
    return next_line(process).split()[2].rstrip(";")


def next_line(process: subprocess.Popen[str], *, seconds: float = 60.0) -> str:
    """The next line of its output; fail where it ends or is silent for that long."""
    assert process.stdout is not None
    alarm = threading.Timer(seconds, process.kill)
    alarm.start()
    try:
        line = process.stdout.readline()
    finally:
        alarm.cancel()
    assert line, process.stderr.read() if process.stderr else "it says nothing more"
    return line


def get(port: int, path: str) -> bytes:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        found: bytes = answer.read()
    return found
