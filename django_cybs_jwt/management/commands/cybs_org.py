"""Add, list, disable, enable and offboard organizations."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor
from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import enabling, offboarding, organizations

DONE: Final = {
    "add": "Added",
    "disable": "Disabled",
    "enable": "Enabled",
    "response-mle": "Changed",
}


class Command(CybsCommand):
    """Organizations: portfolios, merchant accounts, merchants."""

    help = "Add, list, disable, enable or offboard organizations."

    def add_arguments(self, parser: CommandParser) -> None:
        """Verbs: add, list, disable, enable, response-mle, offboard."""
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", required=True)
        add = verbs.add_parser("add", help="Store an organization.")
        add.add_argument("org_id", help="The organization ID of the gateway (MID).")
        add.add_argument("--kind", required=True, choices=Organization.Kind.values)
        add.add_argument("--host", required=True, help="For example apitest.cybersource.com.")
        add.add_argument("--parent", help="ORG_ID it stands under.")
        add.add_argument("--live", action="store_true", help="For hosts without a preset only.")
        add.add_argument("--name", default="")
        listing = verbs.add_parser("list", help="Show what is stored.")
        disable = verbs.add_parser("disable", help="Sign nothing for it any more.")
        enable = verbs.add_parser("enable", help="Take back disable.")
        for verb in (disable, enable):
            verb.add_argument("org_id", help="ORG_ID or ORG_ID@HOST.")
            verb.add_argument("--reason", default="")
        policy = verbs.add_parser("response-mle", help="Its own policy for encrypted replies.")
        policy.add_argument("org_id", help="ORG_ID or ORG_ID@HOST.")
        policy.add_argument("policy", choices=["required", "ask", "never", "default"])
        offboard = verbs.add_parser("offboard", help="Disable it for good and destroy its keys.")
        offboard.add_argument("org_id", help="ORG_ID or ORG_ID@HOST.")
        offboard.add_argument("--reason", default="", help="Needed unless it is a dry run.")
        offboard.add_argument("--dry-run", action="store_true", help="Only say what would happen.")
        offboard.add_argument(
            "--force",
            nargs="+",
            default=[],
            metavar="MID",
            help="Every merchant that loses its key with this one's meta key.",
        )
        offboard.add_argument(
            "--abandon", action="store_true", help="Give up requests that are in doubt."
        )
        for verb in (add, listing, disable, enable, policy, offboard):
            super().add_arguments(verb)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        if options["verb"] == "list":
            rows = [_facts(row) for row in organizations.listing()]
            if options["json"]:
                self.say_json(rows)
            else:
                self.table(rows, empty="No organizations yet. `cybs_org add` stores one.")
            return
        if options["verb"] == "offboard":
            self._offboard(options)
            return
        row = self._change(options)
        if options["json"]:
            self.say_json(_facts(row))
        else:
            self.stdout.write(f"{DONE[options['verb']]} {row.kind} {row}.")

    def _offboard(self, options: dict[str, Any]) -> None:
        name, now = options["org_id"], timezone.now()
        if options["dry_run"]:
            planned = offboarding.plan(name, now=now)
        else:
            planned = offboarding.offboard(
                name,
                actor=actor(options),
                now=now,
                reason=options["reason"],
                losing=options["force"],
                abandon=options["abandon"],
            )
        rows = [asdict(step) for step in planned.steps]
        if options["json"]:
            self.say_json(rows)
        else:
            self.table(rows, empty=f"{planned.organization} is offboarded already.")

    def _change(self, options: dict[str, Any]) -> Organization:
        if options["verb"] == "response-mle":
            chosen = options["policy"].replace("default", "")
            return organizations.set_response_mle(options["org_id"], chosen, actor=actor(options))
        if options["verb"] == "disable":
            return organizations.disable(
                options["org_id"], actor=actor(options), reason=options["reason"]
            )
        if options["verb"] == "enable":
            return enabling.enable(
                options["org_id"],
                actor=actor(options),
                now=timezone.now(),
                reason=options["reason"],
            )
        return organizations.add(
            options["org_id"],
            actor=actor(options),
            kind=options["kind"],
            host=options["host"],
            parent=options["parent"],
            live=options["live"],
            name=options["name"],
        )


def _facts(row: Organization) -> dict[str, Any]:
    return {
        "org_id": row.org_id,
        "kind": row.kind,
        "host": row.host,
        "live": row.live,
        "active": row.active,
        "parent": row.parent.org_id if row.parent else None,
        "name": row.name,
    }
