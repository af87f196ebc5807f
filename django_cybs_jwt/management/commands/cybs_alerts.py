"""Raise and answer alerts about ends, and say who is told."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.management.base import CybsCommand, actor, whole_days
from django_cybs_jwt.models import AlertRecipient, ExpiryAlert
from django_cybs_jwt.services import alerts, expiry, organizations, ticking
from django_cybs_jwt.services.alerts import digest, hearing, webhook
from django_cybs_jwt.services.alerts import recipients as alert_recipients
from django_cybs_jwt.services.queue import database_clock


class Command(CybsCommand):
    """`run` does all that is due, as Celery beat would; call it from cron where there is none."""

    help = "Raise, list, acknowledge and put off alerts; add and list recipients."

    def add_arguments(self, parser: CommandParser) -> None:
        """Verbs."""
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", required=True)
        run = verbs.add_parser("run", help="Do all that is due now; 1 where nobody can be told.")
        listing = verbs.add_parser("list", help="Alerts that stand, the earliest end first.")
        listing.add_argument("--all", action="store_true", help="Resolved and replaced ones too.")
        ack = verbs.add_parser("ack", help="Somebody knows of it.")
        ack.add_argument("id")
        snooze = verbs.add_parser("snooze", help="Tell nobody for so many days.")
        snooze.add_argument("id")
        snooze.add_argument("--days", type=whole_days, required=True)
        add = verbs.add_parser("add-recipient", help="Tell somebody.")
        add.add_argument("channel", help="mail, webhook, or one of ALERT_CHANNELS.")
        add.add_argument("address")
        add.add_argument("--organization", help="Only of it and what is under it.")
        add.add_argument("--escalation", action="store_true", help="Only what nobody acknowledged.")
        remove = verbs.add_parser("remove-recipient", help="Tell somebody nothing any more.")
        remove.add_argument("id")
        recipients = verbs.add_parser("recipients", help="Who is told.")
        recipients.add_argument(
            "--signing-key", metavar="ID", help="Print the key that signs for a webhook."
        )
        for verb in (ack, snooze):
            verb.add_argument("--reason", default="", help="Why, for the audit trail.")
        for verb in (run, listing, ack, snooze, add, remove, recipients):
            super().add_arguments(verb)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        verb = options["verb"].replace("-", "_")
        getattr(self, f"_{verb}")(options, timezone.now())

    def _run(self, options: dict[str, Any], _now: datetime) -> None:
        alerts.last_run()  # without a database each part of a tick would fail by itself
        # The clock that workers and beat claim by, too.
        now = database_clock.now()
        done = ticking.tick(now)
        failed = [what for what, count in done.items() if count is None]
        heard = hearing.of(now)
        if options["json"]:
            self.say_json(done | asdict(heard))
        else:
            carried_out = (f"{done[what]} {what}" for what in done if what not in failed)
            self.stdout.write(", ".join(carried_out))
            if not alert_recipients.within_reach():
                self.stdout.write("Nobody is told: add somebody with `cybs_alerts add-recipient`.")
        faults = [fault for _, fault in heard.faults()]
        if failed:
            faults.insert(0, f"Failed: {', '.join(failed)}. The log says why.")
        if faults:
            raise CybsError(" ".join(faults))

    def _list(self, options: dict[str, Any], now: datetime) -> None:
        self._show(list(alerts.listing(resolved=options["all"])), options, now)

    def _ack(self, options: dict[str, Any], now: datetime) -> None:
        alert_id = _find(ExpiryAlert, options["id"])
        alert = alerts.acknowledge(
            alert_id, actor=actor(options), now=now, reason=options["reason"]
        )
        self._show([alert], options, now)

    def _snooze(self, options: dict[str, Any], now: datetime) -> None:
        alert_id = _find(ExpiryAlert, options["id"])
        until = now + timedelta(days=min(options["days"], expiry.LONGEST))
        alert = alerts.snooze(
            alert_id, until=until, actor=actor(options), now=now, reason=options["reason"]
        )
        self._show([alert], options, now)

    def _add_recipient(self, options: dict[str, Any], _now: datetime) -> None:
        name = options["organization"]
        recipient = alert_recipients.add(
            options["channel"],
            options["address"],
            actor=actor(options),
            organization=organizations.find(name) if name else None,
            escalation=options["escalation"],
        )
        self._show_recipients([recipient], options)
        if recipient.channel == AlertRecipient.Channel.WEBHOOK and not options["json"]:
            self.stdout.write(f"Its receiver checks signatures with: {_signing_key(recipient)}")

    def _remove_recipient(self, options: dict[str, Any], _now: datetime) -> None:
        recipient = AlertRecipient.objects.get(pk=_find(AlertRecipient, options["id"]))
        alert_recipients.remove(recipient, actor=actor(options))
        self._show_recipients([recipient], options)

    def _recipients(self, options: dict[str, Any], _now: datetime) -> None:
        if options["signing_key"]:
            recipient = AlertRecipient.objects.get(pk=_find(AlertRecipient, options["signing_key"]))
            key = _signing_key(recipient)
            if options["json"]:
                self.say_json({"id": recipient.pk, "signing_key": key})
            else:
                self.stdout.write(key)
        else:
            self._show_recipients(list(alert_recipients.listing()), options)

    def _show(self, rows: list[ExpiryAlert], options: dict[str, Any], now: datetime) -> None:
        hosts = digest.hosts(rows)
        facts = [_facts(row, hosts, now) for row in rows]
        if options["json"]:
            self.say_json(facts)
        else:
            self.table(facts, empty="No alert stands.")

    def _show_recipients(self, rows: list[AlertRecipient], options: dict[str, Any]) -> None:
        facts = [
            {
                "id": row.pk,
                "channel": row.channel,
                "address": row.shown_address,
                "organization": str(row.organization) if row.organization else None,
                "escalation": row.escalation,
                "active": row.active,
            }
            for row in rows
        ]
        if options["json"]:
            self.say_json(facts)
        else:
            self.table(
                facts, empty="Nobody is told yet. `cybs_alerts add-recipient` adds somebody."
            )


def _facts(row: ExpiryAlert, hosts: Mapping[object, str], now: datetime) -> dict[str, Any]:
    return {
        **digest.facts(row, hosts, now),
        "ends": row.ends,
        "raised": row.raised_at,
        "acknowledged_by": row.acknowledged_by or None,
        "snoozed_until": row.snoozed_until,
        "escalated": row.escalated_at,
        "resolved": row.resolved_at,
    }


def _find(model: type[ExpiryAlert | AlertRecipient], text: str) -> uuid.UUID:
    try:
        found = uuid.UUID(text)
    except ValueError:
        found = None
    if found is None or not model.objects.filter(pk=found).exists():
        shown = "list" if model is ExpiryAlert else "recipients"
        raise CommandError(
            f"No such id: {text[:80]!r}. `cybs_alerts {shown}` shows them.", returncode=2
        )
    return found


def _signing_key(recipient: AlertRecipient) -> str:
    return base64.b64encode(webhook.signing_key(recipient)).decode("ascii")
