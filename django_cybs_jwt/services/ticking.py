"""Do all that is due. Beat, cron and a worker call `tick`; every part may run twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from django_cybs_jwt.models import JobRun
from django_cybs_jwt.services import alerts, clocks, rotation, verification
from django_cybs_jwt.services.alerts import delivery
from django_cybs_jwt.services.clocks import Clock
from django_cybs_jwt.services.languages import house_language
from django_cybs_jwt.services.queue import sweeping, working

logger = logging.getLogger(__name__)

JOB = alerts.JOB

PARTS: Final[dict[str, Callable[[Clock], int]]] = {
    "switched": lambda clock: len(rotation.carry_out_due(now=clock())),
    "swept": lambda clock: sweeping.sweep(clock()),
    "shredded": lambda clock: sweeping.shred(clock()),
    "raised": lambda clock: alerts.raise_due(clock()),
    # The network last, and the gateway behind whoever must be told.
    "told": lambda clock: delivery.deliver(clock(), clock=clock),
    "verified": lambda clock: verification.verify_requested(now=clock(), clock=clock),
}


def tick(now: datetime, *, clock: Clock | None = None) -> dict[str, int | None]:
    """Carry out what is due; returns how much of each, None for a part that failed.

    A part that fails is logged and does not stop the others; then the run does not count.
    Each decides by the time at which it begins: *clock*, which goes on from *now* by default.
    """
    clock = clock or clocks.since(now)
    done = {name: _carry_out(name, clock) for name in PARTS}
    if None not in done.values():
        JobRun.objects.update_or_create(name=JOB, defaults={"succeeded_at": clock()})
    return done


def _carry_out(name: str, clock: Clock) -> int | None:
    try:
        with house_language():
            return PARTS[name](clock)
    except Exception:  # whatever it was, the alerts must still go out
        logger.exception("tick: %s failed", name)
        working.drop_connections()
        return None
