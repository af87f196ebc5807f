"""Add or remove a request-MLE certificate that serves a whole host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor, read_file
from django_cybs_jwt.models import GatewayCertificate
from django_cybs_jwt.services import gateway_certificates


class Command(CybsCommand):
    """The gateway's public certificate, for every organization of a host."""

    help = "Add, remove or list the certificates that requests are encrypted for."

    def add_arguments(self, parser: CommandParser) -> None:
        """Verbs: add, remove, list."""
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", required=True)
        add = verbs.add_parser("add", help="Store a certificate for a host.")
        add.add_argument("file", help="PEM or DER; - for standard input.")
        add.add_argument("--host", required=True)
        add.add_argument("--prefer", action="store_true", help="Before all others of the host.")
        remove = verbs.add_parser("remove", help="Take back what add stored for a host.")
        remove.add_argument("key_id", metavar="KEY_ID")
        remove.add_argument("--host", required=True)
        listing = verbs.add_parser("list", help="Every certificate that is stored.")
        for verb in (add, remove, listing):
            super().add_arguments(verb)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        now = timezone.now()
        rows = _called(options, now)
        facts = [_facts(row) for row in rows]
        if options["json"]:
            self.say_json(facts)
            return
        self.table(facts, empty="No certificates yet; P12 files bring their own.")
        if options["verb"] == "add" and rows[0].created_at < now:
            self.stdout.write("It was there already.")
        if options["verb"] == "remove":
            self.stdout.write("Removed.")


def _called(options: Mapping[str, Any], now: datetime) -> Sequence[GatewayCertificate]:
    if options["verb"] == "list":
        return list(gateway_certificates.listing())
    host, name = options["host"], actor(options)
    if options["verb"] == "remove":
        return _removed(options["key_id"], host=host, actor=name, now=now)
    data, preferred = read_file(options["file"]), options["prefer"]
    return [gateway_certificates.add(data, host=host, actor=name, now=now, preferred=preferred)]


def _removed(key_id: str, *, host: str, actor: str, now: datetime) -> list[GatewayCertificate]:
    rows = gateway_certificates.remove(key_id, host=host, actor=actor, now=now)
    if not rows:
        raise CommandError(
            f"No certificate {key_id[:80]!r} serves the whole of {host}. "
            "`cybs_gateway_cert list` shows what is stored.",
            returncode=2,
        )
    return rows


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
