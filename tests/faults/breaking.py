"""What breaks a platform while it works: a proxy that drops, kills, cuts, doubles."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.faults.canaries import Search


class Proxy:
    """The way to a broker: connections end and new ones are refused, after `drop`.

    *search* looks at everything that goes through: messages, results and events of tasks.
    """

    def __init__(self, url: str) -> None:
        self.search = Search()
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 0)
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._away_until = 0.0
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        user = parts.netloc.rpartition("@")[0]
        netloc = f"{user}@127.0.0.1:{self.port}" if user else f"127.0.0.1:{self.port}"
        self.url = urlunsplit(parts._replace(netloc=netloc))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def drop(self, seconds: float) -> None:
        """Away for *seconds*."""
        self._away_until = time.monotonic() + seconds
        self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        self.drop(3600)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def _run(self) -> None:
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if time.monotonic() < self._away_until:
            writer.transport.abort()
            return
        try:
            inner, outer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, outer}
        try:
            await asyncio.gather(self._pump(reader, outer), self._pump(inner, writer))
        finally:
            self._open -= {writer, outer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tail = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                tail = self.search.feed(data, tail)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


def cut_database(url: str, share: float) -> int:
    """End some of the connections to this database; returns how many."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
        struck = [pid for (pid,) in rows if random.random() < share]
        for pid in struck:
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
    return len(struck)


class Every:
    """Does something again and again, at random times, until closed; counts."""

    def __init__(self, seconds: float, act: Callable[[], int]) -> None:
        self.count = 0
        self._seconds, self._act = seconds, act
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(300)

    def _run(self) -> None:
        while not self._stop.wait(random.uniform(0.5, 1.5) * self._seconds):
            with contextlib.suppress(OSError, psycopg.Error):
                self.count += self._act()
