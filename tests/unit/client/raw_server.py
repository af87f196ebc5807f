"""A server on a bare socket: keeps each request byte for byte and misbehaves as it is told."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it was on the wire."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for known, value in self.headers if known == name]
        assert len(found) < 2, f"{name} was sent twice"
        return found[0] if found else None

    @property
    def claims(self) -> dict[str, Any]:
        payload = (self.header("authorization") or "").split(".")[1]
        decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
        return decoded


class RawServer:
    """Counts connections; *behave* answers each request and says whether to read another."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.received: list[Received] = []
        self.accepted = 0
        self.stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, name="raw-server")]
        self._connections: list[socket.socket] = []

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while (request := _read(stream)) is not None:
                self.received.append(request)
                if not self.behave(connection, request):
                    return

    def __enter__(self) -> RawServer:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for open_socket in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()


Behaviour = Callable[[socket.socket, Received], bool]


def _read(stream: Any) -> Received | None:
    line = stream.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split(" ")
    headers = []
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").rstrip("\r\n").partition(":")
        headers.append((name.lower(), value.strip()))
    body = stream.read(int(dict(headers).get("content-length", 0)))
    return Received(method, target, tuple(headers), body)


def http(status: int = 200, body: bytes = b"{}", **headers: str) -> bytes:
    """A well-formed answer; a header's name is written with underscores."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join((f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *lines))
    return head.encode("latin-1") + b"\r\n\r\n" + body


def answers(*replies: bytes) -> Behaviour:
    """Send the replies in turn, the last one for ever, and keep the connection."""
    left = list(replies) or [http()]

    def behave(connection: socket.socket, _: Received) -> bool:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])
        return True

    return behave


def breaks_off(*, after: bytes = b"") -> Behaviour:
    """Send *after* and close the connection."""

    def behave(connection: socket.socket, _: Received) -> bool:
        connection.sendall(after)
        return False

    return behave


def resets(connection: socket.socket, _: Received) -> bool:
    """Send RST in place of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def drips(head: bytes, drop: bytes, *, every: float, stopping: threading.Event) -> Behaviour:
    """Send *head*, then one *drop* after another for as long as anybody reads."""

    def behave(connection: socket.socket, _: Received) -> bool:
        connection.sendall(head)
        while not stopping.wait(every):
            connection.sendall(drop)
        return False

    return behave


@contextlib.contextmanager
def serving(behave: Behaviour | None = None) -> Iterator[RawServer]:
    with RawServer(behave or answers()) as server:
        yield server
