"""Decide on many requests: each by itself, so that one refusal keeps no other back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django_cybs_jwt.exceptions import QueueError
from django_cybs_jwt.services.queue import operating
from django_cybs_jwt.texts import Text

MOST: Final = 1_000
"""Each is a row of the audit chain, for which everybody else waits."""


@dataclass(frozen=True, slots=True)
class Decided:
    """How many were done, and why the others were not: each reason with its count."""

    done: int
    refused: dict[str, int]


def each(
    decide: Callable[..., None],
    request_ids: Iterable[UUID],
    *,
    actor: str,
    now: datetime,
    reason: str,
) -> Decided:
    """`operating.retry`, `cancel` or `reconcile` for each. QueueError for more than a thousand."""
    wanted = list(request_ids)
    if len(wanted) > MOST:
        raise QueueError(
            "{count} requests at once are too many. Choose {most} or fewer.",
            count=len(wanted),
            most=MOST,
        )
    done, refused = 0, dict[str, int]()
    for row in operating.listing().filter(pk__in=wanted).order_by("created_at"):
        try:
            decide(row, actor=actor, now=now, reason=reason)
            done += 1
        except QueueError as error:
            why = error.facts.get("refusal") or Text(error.text, request="…")
            refused[why] = refused.get(why, 0) + 1
    return Decided(done, refused)
