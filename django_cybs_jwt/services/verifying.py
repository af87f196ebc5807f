"""Verify marked keys soon: when somebody rings, or beside a worker, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connections

from django_cybs_jwt.services import doorbell, verification
from django_cybs_jwt.services.queue import database_clock, working

logger = logging.getLogger(__name__)

LOOK: Final = 2.0  # seconds between two looks when nothing is marked


def answer_ring() -> None:
    """Verify a hundred at most, and ring again while there were any."""
    if verification.verify_requested(now=database_clock.now()):
        doorbell.ring_to_verify()


@contextmanager
def beside(stop: threading.Event) -> Iterator[None]:
    """Look for marked keys until *stop* is set, or the work in the context has ended."""
    thread = threading.Thread(target=_until, args=(stop,), name="cybs-verify")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _until(stop: threading.Event) -> None:
    try:
        while not stop.is_set():
            if not _verify_one():
                stop.wait(LOOK)
    finally:
        connections.close_all()


def _verify_one() -> int:
    """One at a time: a worker that is told to stop ends with the call that it is in."""
    try:
        return verification.verify_requested(now=database_clock.now(), most=1)
    except Exception:  # a database that is away: it may be back at the next look
        logger.exception("Looking for keys to verify failed")
        working.drop_broken_connections()
        return 0
