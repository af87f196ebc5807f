"""Choose which merchants a meta key serves."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_cybs_jwt.management.base import CybsCommand, actor
from django_cybs_jwt.services import coverage


class Command(CybsCommand):
    """The list of merchants of a slot that was imported with --covers selected."""

    help = "Add, remove or list the merchants that an owner's meta key serves."

    def add_arguments(self, parser: CommandParser) -> None:
        """OWNER, verb, merchants."""
        super().add_arguments(parser)
        parser.add_argument("owner", help="The portfolio or account: ORG_ID or ORG_ID@HOST.")
        parser.add_argument("verb", choices=["add", "remove", "list"])
        parser.add_argument("merchants", nargs="*", metavar="MID")
        parser.add_argument("--slot", default="", help="Name of the slot; rarely needed.")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        owner, slot = options["owner"], options["slot"]
        if (options["verb"] == "list") is bool(options["merchants"]):
            raise CommandError("add and remove take merchants, list takes none.", returncode=2)
        if options["verb"] == "list":
            served = coverage.listing(owner, slot=slot)
        else:
            change = coverage.add if options["verb"] == "add" else coverage.remove
            served = change(owner, options["merchants"], actor=actor(options), slot=slot)
        rows = [{"org_id": row.org_id, "host": row.host, "name": row.name} for row in served]
        if options["json"]:
            self.say_json(rows)
        else:
            self.table(rows, empty="The key serves no merchant besides its owner.")
