"""Brokers of the run's own, which really restart, and the way to them, which can be cut."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.breaking import Proxy
from tests.services import requires_rabbitmq

# Debian's own script in the path changes the user and the log; the one behind it does not.
RABBITMQ = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
FORGETS = 0.5  # of all crashes of a Redis also take its disk


class Node(ABC):
    """A broker at one port in one folder, started again and again."""

    patience = 30.0  # seconds until it must listen

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process = self._started()

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def launch(self) -> subprocess.Popen[bytes]: ...

    def crash(self) -> None:
        """It ends as by a power cut, and is back when this returns."""
        self._kill()
        self.lose()
        self._process = self._started()

    def restart(self) -> None:
        """It is told to stop, and is back when this returns."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        self._kill()
        self._process = self._started()

    def lose(self) -> None:  # noqa: B027  # most crashes leave the disk alone
        """What a crash takes along."""

    def close(self) -> None:
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        while self._listens():  # a child of what we started is still falling
            time.sleep(0.05)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def _started(self) -> subprocess.Popen[bytes]:
        process = self.launch()
        deadline = time.monotonic() + self.patience
        while process.poll() is None and time.monotonic() < deadline:
            if self._listens():
                return process
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise RuntimeError(f"A {type(self).__name__} of the run did not start.")


class Redis(Node):
    """It writes every change to its disk, which half of all crashes take along."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def launch(self) -> subprocess.Popen[bytes]:
        line = f"redis-server --port {self.port} --bind 127.0.0.1 --appendonly yes"
        return _launched([*line.split(), "--save", "", "--dir", str(self.folder)], {}, self.folder)

    def lose(self) -> None:
        if random.random() < FORGETS:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)


class RabbitMQ(Node):
    """A node with a name, a cookie and a disk of its own, beside any that serves this machine."""

    patience = 180.0

    def __init__(self, folder: Path) -> None:
        self._name = f"faults-{uuid.uuid4().hex[:12]}@localhost"
        self._talk = free_port()
        (folder / "plugins").write_text("[].\n")
        for name in ("rabbitmq.conf", "env.conf"):
            (folder / name).touch()
        super().__init__(folder)

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def launch(self) -> subprocess.Popen[bytes]:
        program = rabbitmq_program()
        if program is None:
            raise RuntimeError("rabbitmq-server is not installed.")
        own = {
            "HOME": self.folder,  # where its cookie is
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": self._talk,
            "RABBITMQ_MNESIA_BASE": self.folder / "mnesia",
            "RABBITMQ_LOG_BASE": self.folder / "log",
            "RABBITMQ_PID_FILE": self.folder / "pid",
            "RABBITMQ_CONFIG_FILE": self.folder / "rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": self.folder / "env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.folder / "plugins",
        }
        return _launched([program], {name: str(each) for name, each in own.items()}, self.folder)


@dataclass
class Broker:
    """What the workers speak to: always through the proxy; *node* is None where it is shared."""

    proxy: Proxy
    node: Node | None

    def cut_off(self) -> int:
        """Nobody reaches it for a moment; it goes on."""
        self.proxy.drop(1.0)
        return 1

    def restart(self) -> int:
        """Down and up again, by a crash or in good order."""
        assert self.node is not None
        random.choice([self.node.crash, self.node.restart])()
        return 1

    @property
    def told(self) -> str:
        return "own" if self.node else "shared: cut off, not restarted"


@contextmanager
def broker(kind: str, folder: Path) -> Iterator[Broker | None]:
    """Of the run's own; a RabbitMQ that cannot be had so is the shared one."""
    if kind == "none":
        yield None
        return
    home = folder / "broker"
    home.mkdir()
    with ExitStack() as stack:
        node: Node | None = None
        if kind == "redis":
            node = stack.enter_context(closing(Redis(home)))
        else:
            try:
                node = stack.enter_context(closing(RabbitMQ(home)))
            except RuntimeError as error:
                print(f"{error} The shared one is cut off, not restarted.", file=sys.stderr)
        proxy = Proxy(node.url if node else requires_rabbitmq())
        yield Broker(stack.enter_context(closing(proxy)), node)


def rabbitmq_program() -> str | None:
    """What starts a node here, if anything does."""
    return next(filter(None, map(shutil.which, RABBITMQ)), None)


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _launched(line: list[str], env: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(
            line,
            env={**os.environ, **env},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
