"""What an action costs the rest of the process: time, and the longest stall of other threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_STALL = 0.050


@dataclass(frozen=True)
class Outcome:
    error: BaseException | None
    seconds: float
    stall: float


class Ticker(threading.Thread):
    """Ticks each millisecond and remembers the longest gap in which this process was at work.

    Time in which the machine had others to serve is no stall.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.gap = 0.0
        self._stop_now = threading.Event()
        self._running = threading.Event()

    def run(self) -> None:
        last, worked = time.perf_counter(), time.process_time()
        self._running.set()
        while not self._stop_now.is_set():
            time.sleep(0.001)
            now, work = time.perf_counter(), time.process_time()
            self.gap = max(self.gap, min(now - last, work - worked))
            last, worked = now, work

    def __enter__(self) -> Ticker:
        self.start()
        assert self._running.wait(30)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop_now.set()
        self.join(60)


def measured(action: Callable[[], object]) -> Outcome:
    """What came of it. A busy machine makes gaps too, so the best of three counts."""
    best: Outcome | None = None
    for _ in range(3):
        error, started = None, time.perf_counter()
        with Ticker() as ticker:
            try:
                action()
            except BaseException as raised:  # noqa: BLE001 - a panic is not an Exception
                error = raised
        outcome = Outcome(error, time.perf_counter() - started, ticker.gap)
        if best is None or outcome.stall < best.stall:
            best = outcome
        if best.stall <= LONGEST_STALL:
            break
    assert best is not None
    return best
