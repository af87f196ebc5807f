"""Numbers for Prometheus, as text. Ends are timestamps, so that a rule does the arithmetic.

A series exists for what is in use and ends within 90 days or has ended: what an alert can be
about, not every key. The rules beside it: `prometheus_rules()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from typing import Final

from django.db.models import Count

from django_cybs_jwt.services import alerts, expiry
from django_cybs_jwt.services.alerts import delivery
from django_cybs_jwt.services.alerts.schedule import HORIZON, Severity
from django_cybs_jwt.services.expiry.endings import Ending
from django_cybs_jwt.services.exposition import Sample, gauge
from django_cybs_jwt.services.queue import metrics

RULES: Final = ("data", "prometheus.rules.yml")


def render(now: datetime) -> str:
    """All metrics in the text format: for a textfile collector, or a view of the host project."""
    until = now.astimezone(UTC) + HORIZON
    endings = [ending for ending in expiry.scan(now, until=until) if ending.in_use]
    ran = alerts.last_run()
    lines = [
        *gauge(
            "cybs_jwt_end_timestamp_seconds",
            "When an artefact in use ends; only within 90 days.",
            ((_labels(ending), ending.ends.timestamp()) for ending in endings),
        ),
        *gauge(
            "cybs_jwt_end_stops_merchants",
            "How many merchants stop when it ends.",
            ((_labels(ending), len(ending.stops)) for ending in endings),
        ),
        *gauge(
            "cybs_jwt_keys_without_end",
            "Keys in force whose end nobody typed.",
            [({}, expiry.count_without_end(now))],
        ),
        *gauge("cybs_jwt_open_alerts", "Alerts that stand.", _open_alerts()),
        *gauge(
            "cybs_jwt_pending_deliveries",
            "Alerts that were not handed over to somebody yet.",
            [({}, delivery.pending(now).count())],
        ),
        *gauge(
            "cybs_jwt_tick_timestamp_seconds",
            "When the recurring job last ended well; 0 for never.",
            [({}, ran.timestamp() if ran else 0)],
        ),
        *metrics.lines(now),
    ]
    return "\n".join(lines) + "\n"


def prometheus_rules() -> str:
    """The alerting rules that are shipped with these metrics, as YAML."""
    return resources.files("django_cybs_jwt").joinpath(*RULES).read_text("utf-8")


def _labels(ending: Ending) -> dict[str, str]:
    return {
        "artefact": ending.artefact,
        "organization": ending.organization,
        "host": ending.host,
        "environment": "live" if ending.live else "test",
        "key_id": ending.key_id,
        "id": str(ending.subject),
        "successor": ending.successor,
    }


def _open_alerts() -> Iterator[Sample]:
    counted = alerts.listing().order_by().values("severity").annotate(rows=Count("pk"))
    found = {row["severity"]: row["rows"] for row in counted}
    for severity in Severity:
        yield {"severity": severity}, found.get(severity, 0)
