"""Count which key was used when, without slowing a send.

The gateway does not show which key signed a request, so this is the only proof that an old one
is idle. A send adds one to a number in memory; a thread writes the sums every few seconds.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import Error, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Greatest

from django_cybs_jwt.models import Credential, KeyUse, State
from django_cybs_jwt.services.batches import in_batches

logger = logging.getLogger(__name__)

FLUSH_EVERY: Final = 5.0  # seconds
IDLE_DAYS: Final = 7
"""Days without a use after which a retired key may be deleted at the gateway."""

_OUT_OF_USE: Final = (State.RETIRED, State.COMPROMISED, State.DESTROYED)
_JUDGED: Final = ("state", "retired_at", "compromised_at", "destroyed_at", "last_used_at")

Twins = Mapping[uuid.UUID, Sequence[Credential]]
"""By a key's id the rows of the same key on other hosts."""

# Hours are kept while they prove something: beside an overlap, or after a key's time.
_WATCHED: Final = ~Q(state=State.ACTIVE) | Q(slot__credentials__state=State.RETIRING)


Uses = dict[tuple[str, datetime, str], tuple[int, datetime]]


class _Counts:
    """Uses since the last flush: by key, hour and kind, how many and the last moment."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pending: Uses = {}
        self.held = False
        self.writer: threading.Thread | None = None
        self.next_try = float("-inf")

    def add(self, reference: str, kind: str, moment: datetime) -> None:
        moment = moment.astimezone(UTC)
        key = (reference, moment.replace(minute=0, second=0, microsecond=0), kind)
        with self.lock:
            self._merge({key: (1, moment)})
            if self.writer is None and not self.held and time.monotonic() >= self.next_try:
                self._start_writer()

    def _start_writer(self) -> None:
        writer = threading.Thread(target=_write, name="cybs-usage", daemon=True)
        try:
            writer.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            # Counting never fails a send: the uses wait for the next try, or for the exit.
            self.next_try = time.monotonic() + FLUSH_EVERY
            logger.warning("Key uses are kept in memory and written later: %s", error)
        else:
            self.writer = writer

    def take(self) -> Uses:
        with self.lock:
            taken, self.pending = self.pending, {}
        return taken

    def give_back(self, taken: Uses) -> None:
        with self.lock:
            self._merge(taken)

    def _merge(self, uses: Uses) -> None:
        for key, (count, moment) in uses.items():
            before, latest = self.pending.get(key, (0, moment))
            self.pending[key] = (before + count, max(latest, moment))


_counts = _Counts()


def signed(reference: str, moment: datetime) -> None:
    """Note that the key *reference* signed a request at *moment*."""
    if reference:
        _counts.add(reference, "signed", moment)


def opened(reference: str, moment: datetime) -> None:
    """Note that the key *reference* opened a reply at *moment*."""
    if reference:
        _counts.add(reference, "opened", moment)


def flush() -> int:
    """Write what was counted in this process; returns how many uses. Nothing is lost on error."""
    taken = _counts.take()
    written = 0
    while taken:
        (key, use) = taken.popitem()
        try:
            # One key a transaction: two rows locked at once could meet a rotation head on.
            with transaction.atomic():
                _store(*key, *use)
        except Error:
            _counts.give_back({key: use, **taken})
            logger.exception("Key uses are kept in memory and written later")
            break
        written += use[0]
    return written


@contextmanager
def held() -> Iterator[None]:
    """While open, uses are counted and only `flush` writes them: for test suites."""
    before, _counts.held = _counts.held, True
    try:
        yield
    finally:
        _counts.held = before
        _counts.take()


def twins(credentials: Iterable[Credential]) -> Twins:
    """Of those of *credentials* that are out of use the same keys on other hosts, in few queries.

    The gateway has each of them once: who deletes it there deletes it for every host.
    """
    gone = [row for row in credentials if row.state in _OUT_OF_USE]
    same: defaultdict[str, list[Credential]] = defaultdict(list)
    for some in in_batches(sorted({row.fingerprint for row in gone})):
        for row in Credential.objects.only("fingerprint", *_JUDGED).filter(fingerprint__in=some):
            same[row.fingerprint].append(row)
    return {row.pk: [one for one in same[row.fingerprint] if one != row] for row in gone}


def is_safe_to_delete(
    credential: Credential, *, now: datetime, others: Twins | None = None
) -> bool:
    """True for a key out of use on every host that was idle long enough.

    Delete it in the Business Center. Of many keys *others* are their `twins`.
    """
    rows = _everywhere(credential, others)
    since = _idle_since(rows)
    idle = since is None or since + timedelta(days=IDLE_DAYS) <= now
    return _are_out_of_use(rows) and idle


def idle_since(credential: Credential, others: Twins | None = None) -> datetime | None:
    """When a key out of use was last used on any host, or could have been; None for one in use."""
    return _idle_since(_everywhere(credential, others))


def _everywhere(credential: Credential, others: Twins | None) -> list[Credential]:
    found = twins([credential]) if others is None else others
    return [credential, *found.get(credential.pk, ())]


def _are_out_of_use(rows: Iterable[Credential]) -> bool:
    return all(row.state in _OUT_OF_USE for row in rows)


def _idle_since(rows: Sequence[Credential]) -> datetime | None:
    if not _are_out_of_use(rows):
        return None
    ended = [row.retired_at or row.compromised_at or row.destroyed_at for row in rows]
    moments = [*ended, *(row.last_used_at for row in rows)]
    return max((moment for moment in moments if moment is not None), default=None)


def _write() -> None:
    while True:
        time.sleep(FLUSH_EVERY)
        try:
            _write_once()
        except Exception:  # a thread that ends would end the counting
            logger.exception("Key uses were not written")


def _write_once() -> None:
    try:
        flush()
    finally:
        connection.close()


def _store(reference: str, hour: datetime, kind: str, count: int, moment: datetime) -> None:
    found = Credential.objects.filter(pk=reference)
    latest = Greatest(Coalesce(F("last_used_at"), moment), moment)
    if not found.update(use_count=F("use_count") + count, last_used_at=latest):
        return  # destroyed rows stay; one that is gone was never committed
    if found.filter(_WATCHED).exists():
        row, _ = KeyUse.objects.get_or_create(credential_id=reference, hour=hour)
        KeyUse.objects.filter(pk=row.pk).update(**{kind: F(kind) + count})


def _after_fork() -> None:
    # The parent writes its own counts; the child starts from nothing, with a thread of its own.
    global _counts  # noqa: PLW0603
    _counts = _Counts()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _last_words() -> None:
    if _counts.pending:
        flush()
