"""Import many keys from a CSV manifest."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor
from django_cybs_jwt.services.migration import bulk_import
from django_cybs_jwt.services.migration import manifest as key_manifest
from django_cybs_jwt.services.migration.bulk_import import Outcome, Result
from django_cybs_jwt.services.migration.manifest import Variables


class Command(CybsCommand):
    """One line and one transaction a key; what is stored already is left alone."""

    help = "Import the keys of a CSV manifest. Exit code: 0 all imported, 1 some refused."

    def add_arguments(self, parser: CommandParser) -> None:
        """The manifest; passwords come from the variables that it names."""
        super().add_arguments(parser)
        parser.add_argument("manifest", type=Path, help="A CSV file, in the folder of its keys.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Open and check everything, store nothing."
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service; say each row as it is done."""
        manifest = key_manifest.read_manifest(options["manifest"])
        service = bulk_import.rehearse_many if options["dry_run"] else bulk_import.import_many
        results = []
        for result in service(
            manifest, variables=Variables(os.environ), actor=actor(options), now=timezone.now()
        ):
            results.append(result)
            if not options["json"]:
                self.stdout.write(_line(result))
        if options["json"]:
            self.say_json([asdict(result) for result in results])
        else:
            self.stdout.write(_sum(results))
        if any(result.outcome == Outcome.REFUSED for result in results):
            raise SystemExit(1)


def _line(result: Result) -> str:
    where = f"{result.organization}@{result.host}" if result.host else result.organization
    said = f"line {result.row}: {where} {result.purpose} {result.key_id}".rstrip()
    if result.outcome == Outcome.REFUSED:
        return f"{said}: refused. {result.error}"
    return f"{said}: {result.outcome}, {result.state}"


def _sum(results: list[Result]) -> str:
    counts = ((sum(one.outcome == each for one in results), each) for each in Outcome)
    return ", ".join(f"{count} {each}" for count, each in counts if count) or "No rows."
