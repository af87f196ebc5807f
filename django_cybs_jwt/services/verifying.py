"""Verify marked keys soon: when somebody rings, or as long as a worker runs."""

from __future__ import annotations

import logging
import threading
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


def until(stop: threading.Event) -> None:
    """Look for marked keys, in the caller's thread."""
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
        working.drop_connections()
        return 0
