"""Acknowledge or put off many alerts: each by itself, so that one refusal keeps no other back."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import ExpiryAlert
from django_cybs_jwt.services import alerts

MOST: Final = 1_000
"""Each is a row of the audit chain, for which everybody else waits."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many were done, and why the others were not: each reason with its count."""

    done: int
    refused: dict[str, int]


def acknowledge(
    alert_ids: Iterable[uuid.UUID], *, actor: str, now: datetime, reason: str = ""
) -> Outcome:
    """`alerts.acknowledge` for each. Raises CybsError for more than a thousand."""
    return _each(alerts.acknowledge, alert_ids, actor=actor, now=now, reason=reason)


def snooze(
    alert_ids: Iterable[uuid.UUID], *, days: int, actor: str, now: datetime, reason: str = ""
) -> Outcome:
    """`alerts.snooze` for each, by *days*. Raises CybsError for more than a thousand."""
    until = now + timedelta(days=days)
    return _each(alerts.snooze, alert_ids, until=until, actor=actor, now=now, reason=reason)


def _each(
    change: Callable[..., ExpiryAlert], alert_ids: Iterable[uuid.UUID], **options: Any
) -> Outcome:
    wanted = list(alert_ids)
    if len(wanted) > MOST:
        raise CybsError(
            "{count} alerts at once are too many. Choose {most} or fewer.",
            count=len(wanted),
            most=MOST,
        )
    done, refused = 0, dict[str, int]()
    for alert_id in wanted:
        try:
            change(alert_id, **options)
            done += 1
        except CybsError as error:
            refused[error.text] = refused.get(error.text, 0) + 1
    return Outcome(done, refused)
