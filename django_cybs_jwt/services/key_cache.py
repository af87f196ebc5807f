"""Keys in memory by the organization's name, for as long as nothing was changed.

A switch made anywhere is seen within two seconds: the epoch row is read again before a send when
the last look is older. What a connection reads is shared with others only under the epoch that
this connection sees: inside a transaction that keeps to a snapshot it may see a state that is
over, and a key that was suspended since.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from django_cybs_jwt.protocol import MerchantKeys, ReplyKeys
from django_cybs_jwt.services import epoch, opened_keys

LOOK_EVERY: Final = 2.0  # seconds; the promise is five
KEEP: Final = timedelta(seconds=300)
MOST: Final = 10_000

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, eq=False)
class Entry(Generic[Value]):
    """What was assembled for one name under which epoch, and until when it holds."""

    value: Value
    live: bool
    until: datetime
    epoch: int


Entries = dict[str, Entry[Value]]


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """What was assembled under one epoch."""

    signing: Entries[MerchantKeys] = field(default_factory=dict)
    replies: Entries[tuple[ReplyKeys, ...]] = field(default_factory=dict)


class KeyCache:
    """One process's keys; all are dropped when the epoch changes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything, and look again before the next use."""
        self.shelf = Shelf()
        self.epoch: int | None = None
        self.looked_at = float("-inf")

    @property
    def assembled(self) -> Entries[MerchantKeys]:
        """What messages are signed with."""
        return self.shelf.signing

    def is_fresh(self) -> bool:
        """True while no look is due."""
        return time.monotonic() - self.looked_at < LOOK_EVERY

    def look(self) -> None:
        """Read the epoch when the last look is old; drop what an older one held."""
        if self.is_fresh():
            return
        with self.lock:
            if self.is_fresh():
                return
            started = time.monotonic()
            value = epoch.value()
            if value != self.epoch:
                self.shelf = Shelf()
                opened_keys.forget()
            self.epoch = value
            # A look into the past counts for nobody: whoever comes next looks for himself.
            self.looked_at = started if epoch.is_of_now() else float("-inf")

    def shelf_of(self, seen: int) -> Shelf:
        """Where that belongs which was read under the epoch *seen*, or after it.

        Nobody else's where it is another than the cache's.
        """
        with self.lock:
            return self.shelf if seen == self.epoch else Shelf()


def valid(entries: Entries[Value], name: object, now: datetime) -> Entry[Value] | None:
    """The entry under *name*, unless its time is over."""
    entry = entries.get(name) if isinstance(name, str) else None
    return entry if entry is not None and now < entry.until else None


def put(entries: Entries[Value], name: str, entry: Entry[Value]) -> None:
    """Keep an entry; never more than there is room for."""
    if len(entries) >= MOST:
        entries.clear()
    entries[name] = entry
