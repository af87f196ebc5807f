"""The Celery tasks, one line each into a service. The one module that imports Celery."""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task
from django.utils import timezone

from django_cybs_jwt.services import ticking, verification

TICK: Final = "django_cybs_jwt.tick"
VERIFY: Final = "django_cybs_jwt.verify"
EVERY: Final = 60.0  # seconds


@shared_task(name=TICK, ignore_result=True, serializer="json")  # type: ignore[untyped-decorator]
def tick() -> None:
    """Do all that is due. May be lost, repeated or run twice at once."""
    ticking.tick(timezone.now())


@shared_task(name=VERIFY, ignore_result=True, serializer="json")  # type: ignore[untyped-decorator]
def verify() -> None:
    """Verify the keys that were marked, sooner than the next tick would."""
    verification.verify_requested(now=timezone.now())


def beat_schedule() -> dict[str, dict[str, Any]]:
    """An entry for CELERY_BEAT_SCHEDULE: a tick a minute; one that waited longer is dropped."""
    entry = {"task": TICK, "schedule": EVERY, "options": {"expires": EVERY}}
    return {"cybs-jwt-tick": entry}
