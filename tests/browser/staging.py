"""The processes of a stage: its database, the simulator, a web server for each kind of site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[2]
HOST = "apitest.cybersource.com"
PREFIXES = {"stock": "/admin/", "elsewhere": "/staff/keys/", "unfolded": "/admin/"}
START_SECONDS = 60
PASSWORD = "correct horse battery"  # of everybody on the stage


class Program:
    """A Python process of the stage; `say` reads its next line, `stop` ends it."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.name = " ".join(arguments)
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: deque[str] = deque(maxlen=200)
        self._reader = threading.Thread(target=self._read, args=[self._process.stderr], daemon=True)
        self._reader.start()

    def said(self) -> str:
        """Its next line on standard output; what it said of its end, if there is none."""
        assert self._process.stdout is not None
        watch = threading.Timer(START_SECONDS, self._process.kill)
        watch.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            self.stop()
            raise RuntimeError(f"{self.name} ended:\n{self.errors()}")
        return line.strip()

    def end_input(self) -> None:
        """What ends a program that works until its input does."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def stop(self) -> None:
        """End it and wait."""
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def errors(self) -> str:
        """What it wrote to standard error, the last of it."""
        return "".join(self._errors)

    def _read(self, pipe: IO[str]) -> None:
        self._errors.extend(pipe)


class Payments:
    """What a program that pays without pause tells, and at its end what came of it."""

    def __init__(self, payer: Program) -> None:
        self._payer = payer
        self.sent: dict[str, int] = {}
        self.failed: list[str] = []

    def key(self) -> str:
        """The next key that it says it signs with."""
        return self._payer.said()

    def until_signed_by(self, kid: str) -> None:
        """Wait until it says that this key signs now."""
        while self.key() != kid:
            pass

    def end(self) -> None:
        """Take its last line; what it told before is passed over."""
        while not (line := self._payer.said()).startswith("{"):
            pass
        told = json.loads(line)
        self.sent, self.failed = told["sent"], told["failed"]


class Stage:
    """A planted estate in *directory*; servers start when first asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._sites: dict[str, tuple[Program, str]] = {}
        self._environment = {
            "STAGE_DIR": str(directory),
            "DJANGO_SETTINGS_MODULE": "tests.browser.stage.settings",
        }
        plant = [sys.executable, "-m", "tests.browser.stage.plant"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self._environment}
        subprocess.run(plant, check=True, cwd=ROOT, env=environment)
        self.places: Mapping[str, str] = json.loads((directory / "places.json").read_text())
        self._simulator = self._start_simulator()

    def site(self, kind: str) -> str:
        """The address of the admin of one kind of host project."""
        if kind not in self._sites:
            server = self._program("-m", "tests.browser.stage.serve", STAGE_SITE=kind)
            self._sites[kind] = (server, f"http://127.0.0.1:{server.said()}{PREFIXES[kind]}")
        return self._sites[kind][1]

    @contextmanager
    def paying(self, merchant: str) -> Iterator[Payments]:
        """Payments without pause while the context is open; then it is there what came of them."""
        payer = self._program("-m", "tests.browser.stage.pay", merchant)
        payments = Payments(payer)
        try:
            assert payer.said() == "paying"
            yield payments
            payer.end_input()
            payments.end()
        finally:
            payer.stop()

    @contextmanager
    def breaking(self, **fault: object) -> Iterator[None]:
        """The simulated gateway has this fault while the context is open."""
        (address,) = json.loads(self._gateway["STAGE_BASE_URLS"]).values()
        place, body = f"{address}/__simulator/faults", json.dumps(fault).encode()
        urlopen(Request(place, body, {"Content-Type": "application/json"})).close()  # noqa: S310
        try:
            yield
        finally:
            urlopen(Request(place, method="DELETE")).close()  # noqa: S310

    def command(self, *arguments: str) -> str:
        """Run a command of the product as an operator would; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment, **self._gateway},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        """End every process."""
        for server, _ in self._sites.values():
            server.stop()
        self._simulator.stop()

    def problems(self) -> str:
        """What the web servers had to complain about."""
        return "".join(server.errors() for server, _ in self._sites.values())

    def _start_simulator(self) -> Program:
        identity = self.directory / "simulator.pem"
        self._gateway: dict[str, str] = {}
        line = ["-m", "django", "cybs_simulator", "--port", "0", "--identity", str(identity)]
        simulator = self._program(*line)
        address = simulator.said().removeprefix("Simulator at ").split(";")[0]
        self._gateway = {"STAGE_BASE_URLS": json.dumps({HOST: address})}
        return simulator

    def _program(self, *arguments: str, **environment: str) -> Program:
        return Program(*arguments, **self._environment, **self._gateway, **environment)
