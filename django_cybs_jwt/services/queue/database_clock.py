"""The database's clock, which all workers share: leases and fences are measured by it.

Asked once a minute and carried on by the monotonic clock between, so that neither a machine
with another time nor a jump of this one's moves a lease.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import connection
from django.utils import timezone

ASK_EVERY: Final = 60.0  # seconds

_SQL: Final = {
    "postgresql": "SELECT clock_timestamp()",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
}


Reading = tuple[float, datetime]
"""When it was asked, by the monotonic clock, and what it told."""

_NEVER: Final[Reading] = (float("-inf"), datetime.min.replace(tzinfo=UTC))
_reading: Reading = _NEVER


def now() -> datetime:
    """The database's time: at most one query a minute. SQLite's is this machine's own."""
    global _reading  # noqa: PLW0603  # one tuple, replaced whole: needs no lock
    asked_at, told = _reading
    elapsed = time.monotonic() - asked_at
    if elapsed >= ASK_EVERY:
        told, elapsed = _ask(), 0.0
        _reading = (time.monotonic(), told)
    return told + timedelta(seconds=elapsed)


def carried() -> datetime:
    """The same without asking, for when the database may be away."""
    asked_at, told = _reading
    return told + timedelta(seconds=time.monotonic() - asked_at) if asked_at > 0 else timezone.now()


def forget() -> None:
    """Ask again at the next look."""
    global _reading  # noqa: PLW0603
    _reading = _NEVER


def _ask() -> datetime:
    statement = _SQL.get(connection.vendor)
    if statement is None:
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(statement)
        told: datetime = cursor.fetchone()[0]
    return told if told.tzinfo else told.replace(tzinfo=UTC)
