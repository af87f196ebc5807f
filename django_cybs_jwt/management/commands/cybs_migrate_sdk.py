"""Take keys over from the official SDK's configuration."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor
from django_cybs_jwt.services.migration import sdk_migration, sdk_settings
from django_cybs_jwt.services.migration.bulk_import import Outcome
from django_cybs_jwt.services.migration.sdk_migration import Migration


class Command(CybsCommand):
    """Its dictionary as JSON, a list of them, or named ones as in cybs.json."""

    help = "Import what an SDK configuration holds. Exit code: 0 all taken over, 1 some refused."

    def add_arguments(self, parser: CommandParser) -> None:
        """The file; everything is STAGED unless told otherwise."""
        super().add_arguments(parser)
        parser.add_argument("file", type=Path, help="JSON; paths in it count from its folder.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Open and check everything, store nothing."
        )
        parser.add_argument(
            "--activate", action="store_true", help="Use the keys at once: first keys only."
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service; say which members were used, never what they hold."""
        configurations = sdk_settings.read_configurations(options["file"])
        service = sdk_migration.rehearse if options["dry_run"] else sdk_migration.migrate
        reports = []
        for report in service(
            configurations,
            actor=actor(options),
            now=timezone.now(),
            activate=options["activate"],
        ):
            reports.append(report)
            if not options["json"]:
                self.stdout.write("\n".join(_lines(report)))
        if options["json"]:
            self.say_json([asdict(report) for report in reports])
        if any(report.outcome == Outcome.REFUSED for report in reports):
            raise SystemExit(1)


def _lines(report: Migration) -> list[str]:
    where = f" {report.organization}@{report.host}" if report.organization else ""
    said = [f"{report.name}:{where} {report.outcome}. {report.error}".rstrip()]
    if report.owner != report.organization:
        said.append(f"  keys belong to {report.owner}")
    said += [
        f"  {key.purpose} {key.kind} {key.key_id}, {key.algorithm}: {key.outcome}, {key.state}"
        for key in report.keys
    ]
    said += [f"  used: {', '.join(report.used)}"] if report.used else []
    said += [f"  ignored: {', '.join(report.ignored)}"] if report.ignored else []
    return said + [f"  note: {notice}" for notice in report.notices]
