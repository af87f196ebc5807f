"""Add a request-MLE certificate that serves a whole host."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor, read_file
from django_cybs_jwt.models import GatewayCertificate
from django_cybs_jwt.services import gateway_certificates


class Command(CybsCommand):
    """The gateway's public certificate, for every organization of a host."""

    help = "Add or list the certificates that requests are encrypted for."

    def add_arguments(self, parser: CommandParser) -> None:
        """Verbs: add, list."""
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", required=True)
        add = verbs.add_parser("add", help="Store a certificate for a host.")
        add.add_argument("file", help="PEM or DER; - for standard input.")
        add.add_argument("--host", required=True)
        add.add_argument("--prefer", action="store_true", help="Before those of P12 files.")
        listing = verbs.add_parser("list", help="Every certificate that is stored.")
        for verb in (add, listing):
            super().add_arguments(verb)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        now = timezone.now()
        if options["verb"] == "add":
            rows = [
                gateway_certificates.add(
                    read_file(options["file"]),
                    host=options["host"],
                    actor=actor(options),
                    now=now,
                    preferred=options["prefer"],
                )
            ]
        else:
            rows = list(gateway_certificates.listing())
        facts = [_facts(row) for row in rows]
        if options["json"]:
            self.say_json(facts)
            return
        self.table(facts, empty="No certificates yet; P12 files bring their own.")
        if options["verb"] == "add" and rows[0].created_at < now:
            self.stdout.write("It was there already.")


def _facts(row: GatewayCertificate) -> dict[str, Any]:
    return {
        "host": row.host,
        "organization": row.organization.org_id if row.organization else None,
        "key_id": row.key_id,
        "common_name": row.common_name,
        "ends": row.not_after,
        "preferred": row.preferred,
        "source": row.source,
    }
