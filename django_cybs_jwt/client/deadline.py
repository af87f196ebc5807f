"""How long one exchange may take, wherever its time goes.

httpx bounds each read and never all of them: a peer that drips its header byte by byte, or sends
one interim answer after another, would hold a call for ever. So a dispatch says when it must be
over, and the network below cuts each of its steps to the time that is left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

# What has arrived by the deadline is still read: an answer may lie there whole while this process
# stood still. Each read then waits for a moment, and all of them end soon.
_GLANCE: Final = 0.001  # seconds
_GLANCES: Final = 0.5  # seconds


class Deadline:
    """The moment at which an exchange that began now and may take *seconds* is over."""

    def __init__(self, seconds: float) -> None:
        self.began = time.monotonic()
        self._end = self.began + seconds
        self._passed: float | None = None

    def left(self) -> float:
        """Seconds, 0 once it has passed."""
        return max(self._end - time.monotonic(), 0.0)

    def overrun(self) -> float:
        """Seconds since the first look that found it passed, whenever that was; 0 before."""
        now = time.monotonic()
        if now < self._end:
            return 0.0
        self._passed = self._passed or now
        return now - self._passed


_current: ContextVar[Deadline | None] = ContextVar("cybs_jwt_deadline", default=None)


@contextmanager
def held(deadline: Deadline) -> Iterator[None]:
    """While open, every step of this thread's or task's connections is cut to *deadline*."""
    before = _current.get()
    _current.set(deadline)
    try:
        yield
    finally:
        _current.set(before)


def cut(timeout: float | None, error: type[Exception]) -> float | None:
    """*timeout*, or what is left where that is less; raises *error* where nothing is."""
    deadline = _current.get()
    if deadline is None:
        return timeout
    left = deadline.left()
    if not left:
        raise error("The exchange did not end in time.")
    return left if timeout is None else min(timeout, left)


def cut_read(timeout: float | None, error: type[Exception]) -> float | None:
    """The same for a read, which after the deadline may look at what has arrived already."""
    deadline = _current.get()
    if deadline is not None and not deadline.left() and deadline.overrun() < _GLANCES:
        return _GLANCE
    return cut(timeout, error)
