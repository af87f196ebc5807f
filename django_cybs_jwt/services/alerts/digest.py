"""One message about many alerts. Names come from other people: each is one printable line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django_cybs_jwt.models import ExpiryAlert, GatewayCertificate
from django_cybs_jwt.services.alerts.schedule import Severity
from django_cybs_jwt.services.expiry.endings import Artefact

MOST_LINES: Final = 100
LONGEST_SUBJECT: Final = 150
LONGEST_NAME: Final = 120
_LOUDEST: Final = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What a channel hands over: text for people, *payload* for machines, the rows for code.

    A page (`services.alerts.paging`) comes the same way and has no *alerts*.
    """

    at: datetime
    alerts: Sequence[ExpiryAlert]
    subject: str
    body: str
    payload: dict[str, Any]


def compose(alerts: Sequence[ExpiryAlert], *, now: datetime) -> Digest:
    """The loudest first, then the earliest end."""
    ordered = sorted(alerts, key=lambda alert: (_LOUDEST.index(_severity(alert)), alert.ends))
    names = hosts(ordered)
    return Digest(
        at=now,
        alerts=ordered,
        subject=_subject(ordered, names, now),
        body=_body(ordered, names, now),
        payload={
            "type": "cybs.key_ends_soon",
            "at": now.astimezone(UTC).isoformat(),
            "alerts": [facts(alert, names, now) for alert in ordered],
        },
    )


def hosts(alerts: Sequence[ExpiryAlert]) -> dict[object, str]:
    """Where a certificate serves a whole host: certificate -> host."""
    shared = [
        alert.subject
        for alert in alerts
        if alert.artefact == Artefact.REQUEST_MLE_CERTIFICATE and alert.organization_id is None
    ]
    rows = GatewayCertificate.objects.filter(pk__in=shared) if shared else ()
    return {row.pk: row.host for row in rows}


def facts(alert: ExpiryAlert, hosts: Mapping[object, str], now: datetime) -> dict[str, Any]:
    """One alert for a machine."""
    owner = alert.organization
    return {
        "id": str(alert.pk),
        "severity": alert.severity,
        "artefact": alert.artefact,
        "organization": owner.org_id if owner else None,
        "host": owner.host if owner else hosts.get(alert.subject),
        "key_id": alert.key_id,
        "ends": alert.ends.astimezone(UTC).isoformat(),
        "days_left": _days_left(alert, now),
        "threshold": alert.threshold,
        "stops": alert.stops,
    }


def one_line(text: str) -> str:
    """*text* without anything that breaks a line, hides or turns round what follows."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:LONGEST_NAME]


def _subject(alerts: Sequence[ExpiryAlert], hosts: Mapping[object, str], now: datetime) -> str:
    first = alerts[0]
    verb = "ended" if first.ends <= now else "ends"
    text = f"{first.severity.upper()}: {_what(first, hosts)} {verb} on {first.ends:%Y-%m-%d}"
    if first.stops:
        verb = "stopped" if first.ends <= now else _plural(first.stops, "stops", "stop")
        merchants = _plural(first.stops, "merchant", "merchants")
        text = (
            f"{first.severity.upper()}: {first.stops} {merchants} {verb} on {first.ends:%Y-%m-%d}"
        )
    more = f", and {len(alerts) - 1} more" if len(alerts) > 1 else ""
    return text[: LONGEST_SUBJECT - len(more)] + more


def _body(alerts: Sequence[ExpiryAlert], hosts: Mapping[object, str], now: datetime) -> str:
    lines = [_line(alert, hosts, now) for alert in alerts[:MOST_LINES]]
    if len(alerts) > MOST_LINES:
        lines.append(f"... and {len(alerts) - MOST_LINES} more.")
    return "\n".join(
        [
            *lines,
            "",
            "All of them, with every merchant: manage.py cybs_expiry --days 90",
            "Replace a key: cybs_import, cybs_verify, then cybs_rotate.",
            "Acknowledge or put off: manage.py cybs_alerts ack ID, or snooze ID --days N.",
            "",
        ]
    )


def _line(alert: ExpiryAlert, hosts: Mapping[object, str], now: datetime) -> str:
    days = _days_left(alert, now)
    when = f"ended {(now - alert.ends).days} days ago" if days < 0 else f"{days} days left"
    stops = (
        f", {alert.stops} {_plural(alert.stops, 'merchant', 'merchants')}" if alert.stops else ""
    )
    return (
        f"{alert.severity.upper():8}  {alert.ends:%Y-%m-%d}  "
        f"{_what(alert, hosts)}: {when}{stops}  [{alert.pk}]"
    )


def _what(alert: ExpiryAlert, hosts: Mapping[object, str]) -> str:
    name = (
        alert.artefact.replace("-", " ").replace("mle", "MLE").replace("kek", "key-encryption key")
    )
    owner = str(alert.organization) if alert.organization else hosts.get(alert.subject, "")
    return one_line(f"{name} {alert.key_id}" + (f" of {owner}" if owner else ""))


def _days_left(alert: ExpiryAlert, now: datetime) -> int:
    return (alert.ends.astimezone(UTC) - now.astimezone(UTC)).days


def _severity(alert: ExpiryAlert) -> Severity:
    return Severity(alert.severity)


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
