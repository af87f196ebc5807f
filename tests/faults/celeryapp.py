"""The platform's Celery app, and the two negative controls that must be caught."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import httpx
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.faults.settings")
app = Celery("faults")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

import django  # noqa: E402

django.setup()

from django_cybs_jwt import cybs  # noqa: E402
from django_cybs_jwt.exceptions import CybsError  # noqa: E402
from django_cybs_jwt.services.queue import database_clock, executing  # noqa: E402

CONTROL = os.environ.get("FAULTS_CONTROL", "")


@app.task(
    name="faults.naive",
    acks_late=True,
    reject_on_worker_lost=True,
    ignore_result=True,
    autoretry_for=(CybsError,),
    retry_backoff=0.2,
    retry_backoff_max=2,
    max_retries=8,
)
def naive(org_id: str, payment: dict[str, Any]) -> None:
    """What one usually writes: send, and let Celery try again whatever went wrong."""
    cybs.send(org_id, "POST", "/pts/v2/payments", json=payment).raise_for_status()


if CONTROL == "no-fence":
    _mark = executing.mark

    def _without_fence(parcel: Any, *, attempt: int, now: Any) -> dict[str, Any]:
        return {
            **_mark(parcel, attempt=attempt, now=now),
            "fence_at": database_clock.now(),
        }

    executing.mark = _without_fence


@app.task(name="faults.bare", ignore_result=True)
def bare(url: str, payment: dict[str, Any]) -> None:
    """One POST, nothing signed, nothing stored; the gateway refuses it at its first look."""
    _http().post(url, json=payment)


@app.task(name="faults.sealed", ignore_result=True)
def sealed(url: str, headers: dict[str, str], body: str) -> None:
    """One POST of what was signed and encrypted before: for the gateway it is as good as any."""
    _http().post(url, headers=headers, content=body)


@app.task(name="faults.usual", ignore_result=True)
def usual(url: str, headers: dict[str, str], body: str) -> None:
    """The same as most tasks are written: a client, its TLS context too, for the one call."""
    httpx.post(url, headers=headers, content=body)


@app.task(name="faults.direct", ignore_result=True)
def direct(org_id: str, payment: dict[str, Any]) -> None:
    """The same, signed and encrypted, and nothing stored."""
    cybs.send(org_id, "POST", "/pts/v2/payments", json=payment)


@cache
def _http() -> httpx.Client:
    return httpx.Client(timeout=10)
