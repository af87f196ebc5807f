"""Prove with the gateway that a key works."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor, find_credential
from django_cybs_jwt.models import Credential, Purpose, Verdict
from django_cybs_jwt.services import organizations, verification
from django_cybs_jwt.services.queue import database_clock


class Command(CybsCommand):
    """Offline first, then one harmless signed call; for response keys an encrypted reply."""

    help = "Verify keys with one harmless call each. Exit code: 0 all accepted, 1 otherwise."

    def add_arguments(self, parser: CommandParser) -> None:
        """The newest key of each purpose, unless one is named."""
        super().add_arguments(parser)
        parser.add_argument("org_id", nargs="?", help="ORG_ID or ORG_ID@HOST.")
        parser.add_argument(
            "--requested", action="store_true", help="What was marked in the admin, as a tick does."
        )
        parser.add_argument("--purpose", choices=Purpose.values)
        parser.add_argument(
            "--credential", metavar="ID", help="One key; `cybs_keys list` shows ids."
        )
        parser.add_argument("--as", dest="acting_as", metavar="MID", help="For a meta key.")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service per key."""
        if options["requested"] == bool(options["org_id"]):
            raise CommandError("Give either an ORG_ID or --requested.", returncode=2)
        if options["requested"]:
            self._verify_requested(options)
        else:
            self._verify_chosen(options)

    def _verify_requested(self, options: dict[str, Any]) -> None:
        tried = verification.verify_requested(now=database_clock.now(), actor=actor(options))
        if options["json"]:
            self.say_json({"tried": tried})
        else:
            self.stdout.write(f"Tried: {tried}. The outcomes are on the keys.")

    def _verify_chosen(self, options: dict[str, Any]) -> None:
        rows = [self._verify(row, options) for row in _chosen(options)]
        if options["json"]:
            self.say_json(rows)
        else:
            for row in rows:
                self.stdout.write(
                    f"{row['purpose']} {row['key_id']}: {row['outcome']}. {row['detail']}"
                )
                if row["explanation"]:
                    self.stdout.write(str(row["explanation"]))
            if not rows:
                self.stdout.write("No key to verify. `cybs_import` stores one.")
        if not rows or any(row["outcome"] != Verdict.ACCEPTED for row in rows):
            raise SystemExit(1)

    def _verify(self, row: Credential, options: dict[str, Any]) -> dict[str, Any]:
        outcome = verification.verify(
            row, actor=actor(options), now=timezone.now(), acting_as=options["acting_as"]
        )
        row.refresh_from_db(fields=["state"])
        return {
            "id": row.id,
            "organization": row.organization.org_id,
            "purpose": row.slot.purpose,
            "key_id": row.key_id,
            "state": row.state,
            "outcome": outcome.verdict.value,
            "detail": outcome.detail,
            "reference": outcome.reference,
            "explanation": outcome.explanation,
        }


def _chosen(options: dict[str, Any]) -> list[Credential]:
    organization = organizations.find(options["org_id"])
    if options["credential"]:
        return [find_credential(options["credential"], organization)]
    newest = verification.newest(organization, acting_as=options["acting_as"])
    return [row for row in newest if options["purpose"] in (None, row.slot.purpose)]
