"""When to try again: full jitter, and a budget that keeps retries from becoming the traffic."""

from __future__ import annotations

import os
import random
import threading
from collections import defaultdict
from typing import Final

from django_cybs_jwt import conf

_FULL: Final = 500.0
_RETRY: Final = 5.0
_SUCCESS: Final = 1.0


class Budget:
    """Tokens for one host in this process: a retry takes five, an answer gives one back."""

    def __init__(self) -> None:
        self.renew()
        self._tokens: defaultdict[str, float] = defaultdict(lambda: _FULL)

    def renew(self) -> None:
        """A lock held by another thread at a fork stays locked for ever."""
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Full again, for every host."""
        with self._lock:
            self._tokens.clear()

    def take(self, host: str) -> bool:
        """True where a retry is within the budget."""
        with self._lock:
            allowed = self._tokens[host] >= _RETRY
            if allowed:
                self._tokens[host] -= _RETRY
        return allowed

    def give(self, host: str) -> None:
        """A request was answered."""
        with self._lock:
            self._tokens[host] = min(self._tokens[host] + _SUCCESS, _FULL)


budget: Final = Budget()


def wait(host: str, failures: int, *, at_least: float) -> float:
    """Seconds until the next try after *failures* in a row; all of it is jitter.

    Over the budget it is as long as it ever gets: a host that fails everybody is asked seldom.
    """
    within = budget.take(host)
    return at_least + spread(longest(failures) if within else conf.current().queue.longest_retry)


def longest(failures: int) -> float:
    """Seconds that the next try after *failures* in a row is put off at most."""
    times = conf.current().queue
    return min(times.longest_retry, times.first_retry * 2.0 ** min(failures, 30))


def spread(seconds: float) -> float:
    """Any time from 0 to *seconds*, so that many do not come back at once."""
    return random.uniform(0.0, seconds)  # noqa: S311  # lots, not secrets


def _after_fork() -> None:
    budget.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
