"""Switch to another key, now or later, or switch back."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_cybs_jwt.exceptions import InvalidTransition
from django_cybs_jwt.management.base import CybsCommand, actor, find_credential
from django_cybs_jwt.models import Credential, KeySlot, Organization, Purpose, State
from django_cybs_jwt.services import keys, organizations, overlaps, rotation
from django_cybs_jwt.services.overview import impact

IN_VAIN: Final = {
    "rollback": ("unschedule", "to", "at", "overlap", "force"),
    "unschedule": ("at", "overlap", "force"),
}
"""What each of these steps would leave aside without a word."""


class Command(CybsCommand):
    """The verified key becomes active; the one before it stays for the overlap."""

    help = "Rotate an organization's key, or roll the last rotation back."

    def add_arguments(self, parser: CommandParser) -> None:
        """ORG_ID --purpose P, and what to do."""
        super().add_arguments(parser)
        parser.add_argument("org_id", help="ORG_ID or ORG_ID@HOST.")
        parser.add_argument("--purpose", required=True, choices=Purpose.values)
        parser.add_argument("--slot", default="", help="Name of the slot; rarely needed.")
        parser.add_argument(
            "--to", metavar="ID", help="The key; by default the newest verified one."
        )
        parser.add_argument(
            "--overlap",
            type=_overlap,
            metavar="now|1h|24h|7d|SECONDS",
            help="How long one step can roll back; 24h by default.",
        )
        parser.add_argument(
            "--at", type=_moment, metavar="ISO", help="Later, for example 2027-01-31T03:00Z."
        )
        parser.add_argument("--rollback", action="store_true", help="Back to the key before.")
        parser.add_argument(
            "--unschedule", action="store_true", help="Take back what --at has planned."
        )
        parser.add_argument(
            "--force", action="store_true", help="Unverified, or in an open overlap."
        )
        parser.add_argument("--reason", default="")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service, then say whom it affects."""
        _refuse_what_is_in_vain(options)
        slot = _slot(options)
        now = timezone.now()
        who, reason, overlap = actor(options), options["reason"], options["overlap"]
        if options["rollback"]:
            row = rotation.roll_back(slot, actor=who, now=now, reason=reason)
        elif options["unschedule"]:
            row = rotation.unschedule(_planned(slot, options), actor=who, now=now, reason=reason)
        else:
            row = rotation.rotate(
                self._successor(slot, options, now),
                actor=who,
                now=now,
                overlap=overlaps.DEFAULT if overlap is None else overlap,
                at=options["at"],
                force=options["force"],
                reason=reason,
            )
        self._report(row, options)

    def _successor(self, slot: KeySlot, options: dict[str, Any], now: datetime) -> Credential:
        if options["to"]:
            return _named(slot, options)
        rows = keys.listing().filter(slot=slot)
        waiting = rows.filter(state__in=[State.VERIFIED, State.STAGED])
        newest = waiting.filter(state=State.VERIFIED).first() or waiting.first()
        if newest is not None:
            return newest
        rolled_back = rows.filter(overlaps.is_rolled_back(now)).order_by("-retiring_at").first()
        if rolled_back is None:
            told = "No key is waiting in this slot. Import its successor."
            raise CommandError(told, returncode=2)
        self.stderr.write(f"No other key waits: {rolled_back.key_id}, rolled back, again.")
        return rolled_back

    def _report(self, row: Credential, options: dict[str, Any]) -> None:
        merchants = impact.served(row, now=timezone.now())
        affected = [merchant.partition("@")[0] for merchant in merchants]
        if options["json"]:
            self.say_json(
                {
                    "id": row.id,
                    "organization": row.organization.org_id,
                    "purpose": row.slot.purpose,
                    "key_id": row.key_id,
                    "state": row.state,
                    "activate_at": row.activate_at,
                    "merchants": affected,
                }
            )
            return
        when = f"becomes active at {row.activate_at.isoformat()}" if row.activate_at else row.state
        self.stdout.write(f"{row.key_id}: {when}. Merchants: {', '.join(affected) or 'none'}.")


def _refuse_what_is_in_vain(options: dict[str, Any]) -> None:
    for step, others in IN_VAIN.items():
        given = [name for name in others if options[name] not in (None, False)]
        if options[step] and given:
            raise CommandError(f"--{step} does nothing with --{given[0]}.", returncode=2)


def _slot(options: dict[str, Any]) -> KeySlot:
    organization: Organization = organizations.find(options["org_id"])
    try:
        return organization.slots.get(purpose=options["purpose"], name=options["slot"])
    except KeySlot.DoesNotExist:
        raise CommandError(
            f"{organization} has no {options['purpose']} key yet. `cybs_import` stores one.",
            returncode=2,
        ) from None


def _named(slot: KeySlot, options: dict[str, Any]) -> Credential:
    row = find_credential(options["to"], slot.organization)
    if row.slot_id != slot.pk:
        raise CommandError(f"{row.key_id} is not in this slot.", returncode=2)
    return row


def _planned(slot: KeySlot, options: dict[str, Any]) -> Credential:
    if options["to"]:
        return _named(slot, options)
    planned = keys.listing().filter(slot=slot, activate_at__isnull=False).first()
    if planned is None:
        raise CommandError("No switch is planned in this slot.", returncode=2)
    return planned


def _overlap(text: str) -> timedelta:
    if text in overlaps.OVERLAPS:
        return overlaps.OVERLAPS[text]
    try:
        seconds = int(text)
    except ValueError:
        raise ArgumentTypeError("give now, 1h, 24h, 7d or a number of seconds.") from None
    if not 0 <= seconds <= overlaps.LONGEST.total_seconds():
        raise ArgumentTypeError(f"an overlap is between 0 and {overlaps.LONGEST.days} days.")
    return timedelta(seconds=seconds)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return rotation.in_utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except ValueError:
        raise ArgumentTypeError("give a time like 2027-01-31T03:00Z.") from None
    except InvalidTransition as error:
        raise ArgumentTypeError(f"{error}") from None
