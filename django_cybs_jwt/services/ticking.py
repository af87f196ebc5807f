"""Do all that is due. Beat, cron and a worker call `tick`; every part may run twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from django_cybs_jwt.models import JobRun
from django_cybs_jwt.services import alerts, rotation, verification
from django_cybs_jwt.services.alerts import delivery
from django_cybs_jwt.services.queue import sweeping

logger = logging.getLogger(__name__)

JOB = alerts.JOB


def tick(now: datetime) -> dict[str, int]:
    """Carry out what is due at *now*; returns how much of each.

    A part that fails is logged and does not stop the others; then the run does not count.
    """
    parts: dict[str, Callable[[], int]] = {
        "switched": lambda: len(rotation.carry_out_due(now=now)),
        "verified": lambda: verification.verify_requested(now=now),
        "raised": lambda: alerts.raise_due(now),
        "told": lambda: delivery.deliver(now),
        "swept": lambda: sweeping.sweep(now),
        "shredded": lambda: sweeping.shred(now),
    }
    done, failed = {}, False
    for name, part in parts.items():
        try:
            done[name] = part()
        except Exception:  # whatever it was, the alerts must still go out
            logger.exception("tick: %s failed", name)
            failed = True
    if not failed:
        JobRun.objects.update_or_create(name=JOB, defaults={"succeeded_at": now})
    return done
