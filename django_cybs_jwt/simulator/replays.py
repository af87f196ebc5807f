"""Which token ids were used already."""

from __future__ import annotations

import heapq
import threading


class Replays:
    """Remembers each token id until its token has expired anyway."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()
        self._expiries: list[tuple[float, tuple[str, str]]] = []
        self._lock = threading.Lock()

    def first_use(self, issuer: str, jti: str, *, until: float, now: float) -> bool:
        """True exactly once for each token id; *until* and *now* are epoch seconds."""
        token = (issuer, jti.lower())
        with self._lock:
            self._forget(now)
            if token in self._seen:
                return False
            self._seen.add(token)
            heapq.heappush(self._expiries, (until, token))
            return True

    def __len__(self) -> int:
        with self._lock:
            return len(self._seen)

    def _forget(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] < now:
            self._seen.discard(heapq.heappop(self._expiries)[1])
