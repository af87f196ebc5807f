"""The gateway on a socket, served by uvicorn (the extra `simulator`)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from django_cybs_jwt.exceptions import ConfigurationError

from .asgi import CONNECTION, Application, Runner, app
from .gateway import Gateway
from .tls import TLSFiles

if TYPE_CHECKING:
    import uvicorn

_START_SECONDS = 10


class Address(NamedTuple):
    """Where the simulator listens, and with TLS the file that clients must trust."""

    base_url: str
    ca_bundle: Path | None


def serve(
    gateway: Gateway,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    tls: bool = False,
    run: Runner = asyncio.to_thread,
    ready: Callable[[Address], None] | None = None,
) -> None:
    """Serve until interrupted or terminated. *ready* is told the address once the port is open.

    *run* calls the gateway off the event loop, as its registry may block.
    Raises OSError when the port is taken, ConfigurationError when uvicorn is not installed.
    """
    with (
        contextlib.suppress(KeyboardInterrupt),
        _interrupted_by_sigterm(),
        _bound(app(gateway, run=run), host, port, tls=tls) as (server, listener, address),
    ):
        if ready is not None:
            ready(address)
        server.run(sockets=[listener])


@contextlib.contextmanager
def running(
    gateway: Gateway, *, tls: bool = False, run: Runner = asyncio.to_thread
) -> Iterator[Address]:
    """Serve on a free loopback port from a thread, for as long as the context is open."""
    served = app(gateway, run=run)
    with _bound(served, "127.0.0.1", 0, tls=tls) as (server, listener, address):
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="simulator", daemon=True
        )
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield address
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """uvicorn raises the signal again when it has stopped: it must not leave our files behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextlib.contextmanager
def _bound(
    served: Application, host: str, port: int, *, tls: bool
) -> Iterator[tuple[uvicorn.Server, socket.socket, Address]]:
    with contextlib.ExitStack() as stack:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = stack.enter_context(socket.create_server((host, port), family=family))
        files = None
        if tls:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="simulator-"))
            files = TLSFiles.write(Path(directory), host)
        name = f"[{host}]" if ":" in host else host
        base_url = f"{'https' if tls else 'http'}://{name}:{listener.getsockname()[1]}"
        yield (
            _server(served, files),
            listener,
            Address(base_url, files.ca_bundle if files else None),
        )


def _server(served: Application, files: TLSFiles | None) -> uvicorn.Server:
    try:
        import uvicorn
    except ImportError:
        raise ConfigurationError(
            "The simulator's server needs uvicorn. Install django-cybs-jwt[simulator]."
        ) from None
    config = uvicorn.Config(
        served,
        http=_connection_class(),
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        # Ours carries the fault of a wrong clock.
        date_header=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        ssl_certfile=str(files.certificate) if files else None,
        ssl_keyfile=str(files.key) if files else None,
    )
    return uvicorn.Server(config)


def _connection_class() -> type[asyncio.Protocol]:
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Connection(H11Protocol):
        """Leaves its transport in the scope's state, so that a fault can break it."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self.app_state = {**self.app_state, CONNECTION: transport}
            # asyncio leaves Nagle on for a listener it did not make: 40 ms on every answer.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().connection_made(transport)

    return Connection


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("The simulator did not start.")
        time.sleep(0.005)
