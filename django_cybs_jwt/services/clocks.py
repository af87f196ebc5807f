"""Time that goes on: what lasts minutes does not decide by the moment at which it began."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Tells the time, in UTC."""


def since(now: datetime) -> Clock:
    """A clock that shows *now* and goes on from there, though this machine's is set meanwhile."""
    started, begun = time.monotonic(), now.astimezone(UTC)
    return lambda: begun + timedelta(seconds=time.monotonic() - started)
