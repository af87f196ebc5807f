"""What of a request may stand in a log, a span or a metric: an allow-list, and nothing else.

Left out: the payload, the reply, the path with its ids, and what a caller may have chosen unwisely.
"""

from __future__ import annotations

from typing import Final

from django_cybs_jwt.logs import EXTRA
from django_cybs_jwt.models import OutboundRequest

ALLOWED: Final = (
    *("operation", "host", "state", "reason", "attempt", "outcome", "http_status"),
    *("gateway_id", "correlation_id", "caller_id"),
)


def of(request: OutboundRequest) -> dict[str, str | int]:
    """The facts that are there, by name; `request` is the row's id."""
    named = {"request": str(request.pk), "organization": str(request.organization)}
    facts = {name: getattr(request, name) for name in ALLOWED}
    return named | {name: value for name, value in facts.items() if value not in ("", None)}


def as_extra(request: OutboundRequest) -> dict[str, dict[str, str | int]]:
    """The facts as `extra=` of a log call; `logs.JsonFormatter` prints them."""
    return {EXTRA: of(request)}
