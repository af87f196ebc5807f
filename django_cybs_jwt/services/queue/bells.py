"""A bell that is rung in the background: who commits a payment never waits for a broker."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

logger = logging.getLogger(__name__)

REST: Final = 5.0  # seconds without a try after a failure; the sweeper rings again anyway
LONGEST: Final = 10_000  # rings that wait
_AT_EXIT: Final = 1.0  # seconds that a process waits for its last rings

Publish = Callable[..., None]
"""Takes what was rung, whatever it is."""


class Bell:
    """Rings by *publish*, in one thread of each process, started by the first ring.

    A ring is dropped while the broker is away or when too many wait: a row that nobody was rung
    for is found by the sweeper.
    """

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._rests_until = 0.0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting: queue.Queue[tuple[Any, ...]] = queue.Queue(LONGEST)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def ring(self, *rung: Any) -> None:
        """Say it and return at once.

        Raises queue.Full where too many wait, ConnectionError while it rests after a failure.
        """
        if self.rests:
            raise ConnectionError("The broker was away a moment ago.")
        self._start()
        self._waiting.put_nowait(rung)

    @property
    def rests(self) -> bool:
        """The broker was away a moment ago."""
        return time.monotonic() < self._rests_until

    def flush(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds until what was rung is published or dropped."""
        waiting = self._waiting
        with waiting.all_tasks_done:
            return waiting.all_tasks_done.wait_for(lambda: not waiting.unfinished_tasks, timeout)

    def _start(self) -> None:
        if self._is_heard():
            return
        with self._lock:
            if not self._is_heard():
                is_first = self._thread is None
                thread = threading.Thread(target=self._run, name="cybs-bell", daemon=True)
                thread.start()  # where no more threads can be, the next ring tries again
                self._thread = thread
                if is_first:
                    atexit.register(self.flush, _AT_EXIT)

    def _is_heard(self) -> bool:
        """Somebody takes what is rung: not so before the first ring, and where that one ended."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        waiting = self._waiting
        while True:
            rung = waiting.get()
            try:
                if not self.rests:
                    self._publish(*rung)
            except BaseException as error:  # noqa: BLE001  # a broker's library; gevent's Timeout
                self._rests_until = time.monotonic() + REST
                # Without its text: it may quote the broker's address and password.
                logger.warning(
                    "The broker cannot be rung (%s); not asked for %g s, the sweeper will ring",
                    type(error).__name__,
                    REST,
                )
            finally:
                waiting.task_done()

    def _forget(self) -> None:
        """A forked child has no thread, and must not ring for what its parent has waiting."""
        self._rests_until = 0.0
        self._lock = threading.Lock()
        self._thread = None
        self._waiting = queue.Queue(LONGEST)
