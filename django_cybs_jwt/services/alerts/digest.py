"""One message about many alerts. Names come from other people: each is one printable line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django_cybs_jwt.models import ExpiryAlert, GatewayCertificate
from django_cybs_jwt.services.alerts.schedule import Severity
from django_cybs_jwt.services.expiry.endings import Artefact
from django_cybs_jwt.services.languages import house_language
from django_cybs_jwt.texts import Text

MOST_LINES: Final = 100
LONGEST_SUBJECT: Final = 150
LONGEST_NAME: Final = 120
_CURES: Final = (
    Text("All of them, with every merchant: manage.py cybs_expiry --days 90"),
    Text("Replace a key: cybs_import, cybs_verify, then cybs_rotate."),
    Text("Acknowledge or put off: manage.py cybs_alerts ack ID, or snooze ID --days N."),
)
_NAMES: Final = {
    Artefact.SIGNING_CERTIFICATE: Text("signing certificate"),
    Artefact.SHARED_SECRET: Text("shared secret"),
    Artefact.RESPONSE_MLE_CERTIFICATE: Text("response MLE certificate"),
    Artefact.REQUEST_MLE_CERTIFICATE: Text("request MLE certificate"),
    Artefact.KEK: Text("key-encryption key"),
    Artefact.OVERLAP: Text("overlap"),
    Artefact.APPROVAL: Text("approval"),
}
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
    with house_language():
        subject, body = _subject(ordered, names, now), _body(ordered, names, now)
    return Digest(
        at=now,
        alerts=ordered,
        subject=subject,
        body=body,
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
    text = f"{first.severity.upper()}: {_news(first, hosts, now)}"
    more = str(Text(", and {count} more", count=len(alerts) - 1)) if len(alerts) > 1 else ""
    return text[: LONGEST_SUBJECT - len(more)] + more


def _news(alert: ExpiryAlert, hosts: Mapping[object, str], now: datetime) -> Text:
    """What ends, or whom that stops, and when."""
    is_over, ends = alert.ends <= now, alert.ends
    if alert.stops and is_over:
        return Text.counted(
            "{count} merchant stopped on {ends:%Y-%m-%d}",
            "{count} merchants stopped on {ends:%Y-%m-%d}",
            alert.stops,
            ends=ends,
        )
    if alert.stops:
        return Text.counted(
            "{count} merchant stops on {ends:%Y-%m-%d}",
            "{count} merchants stop on {ends:%Y-%m-%d}",
            alert.stops,
            ends=ends,
        )
    what = _what(alert, hosts)
    if is_over:
        return Text("{what} ended on {ends:%Y-%m-%d}", what=what, ends=ends)
    return Text("{what} ends on {ends:%Y-%m-%d}", what=what, ends=ends)


def _body(alerts: Sequence[ExpiryAlert], hosts: Mapping[object, str], now: datetime) -> str:
    lines = [_line(alert, hosts, now) for alert in alerts[:MOST_LINES]]
    if len(alerts) > MOST_LINES:
        lines.append(str(Text("... and {count} more.", count=len(alerts) - MOST_LINES)))
    return "\n".join(
        [
            *lines,
            "",
            *map(str, _CURES),
            "",
        ]
    )


def _line(alert: ExpiryAlert, hosts: Mapping[object, str], now: datetime) -> str:
    days = _days_left(alert, now)
    when = (
        Text("ended {days} days ago", days=(now - alert.ends).days)
        if days < 0
        else Text("{days} days left", days=days)
    )
    stops = Text.counted(", {count} merchant", ", {count} merchants", alert.stops)
    return (
        f"{alert.severity.upper():8}  {alert.ends:%Y-%m-%d}  "
        f"{_what(alert, hosts)}: {when}{stops if alert.stops else ''}  [{alert.pk}]"
    )


def _what(alert: ExpiryAlert, hosts: Mapping[object, str]) -> str:
    owner = str(alert.organization) if alert.organization else hosts.get(alert.subject, "")
    name = f"{_NAMES[Artefact(alert.artefact)]} {alert.key_id}"
    return one_line(str(Text("{name} of {owner}", name=name, owner=owner)) if owner else name)


def _days_left(alert: ExpiryAlert, now: datetime) -> int:
    return (alert.ends.astimezone(UTC) - now.astimezone(UTC)).days


def _severity(alert: ExpiryAlert) -> Severity:
    return Severity(alert.severity)
