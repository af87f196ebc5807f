"""Report which merchants are ready: JWT v2, message-level encryption, verified, days left."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand
from django_cybs_jwt.services import readiness
from django_cybs_jwt.services.readiness import Readiness
from django_cybs_jwt.services.spreadsheet import cell

COLUMNS: Final = tuple(item.name for item in fields(Readiness))


class Command(CybsCommand):
    """One line a merchant, written as it is found: any number fits."""

    help = "Show which merchants are ready. Exit code: 0 all of them, 1 some are not."

    def add_arguments(self, parser: CommandParser) -> None:
        """JSON, CSV or text; of one host, or under one portfolio."""
        super().add_arguments(parser)
        parser.add_argument("--csv", action="store_true", help="Print CSV.")
        parser.add_argument("--host", help="Only merchants of this host.")
        parser.add_argument("--portfolio", metavar="ORG", help="Only what stands under it.")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        if options["json"] and options["csv"]:
            raise CommandError("Ask for --json or --csv, not both.", returncode=2)
        found = readiness.report(
            now=timezone.now(), host=options["host"], portfolio=options["portfolio"]
        )
        if options["json"]:
            ready = self._as_json(found)
        elif options["csv"]:
            ready = self._as_csv(found)
        else:
            ready = self._as_text(found)
        if not ready:
            raise SystemExit(1)

    def _as_json(self, found: Iterator[Readiness]) -> bool:
        ready, separator = True, "["
        for one in found:
            self.stdout.write(separator + json.dumps(asdict(one)), ending="")
            ready, separator = ready and one.ready, ",\n"
        self.stdout.write("[]" if separator == "[" else "]")
        return ready

    def _as_csv(self, found: Iterator[Readiness]) -> bool:
        ready, lines = True, csv.writer(self.stdout)
        lines.writerow(COLUMNS)
        for one in found:
            lines.writerow([cell(getattr(one, name)) for name in COLUMNS])
            ready = ready and one.ready
        return ready

    def _as_text(self, found: Iterator[Readiness]) -> bool:
        total = ready = 0
        for one in found:
            total, ready = total + 1, ready + one.ready
            self.stdout.write(_line(one))
        self.stdout.write(f"{ready} of {total} merchants are ready." if total else "No merchants.")
        return ready == total


def _line(one: Readiness) -> str:
    said = [f"{one.organization}@{one.host}:", "ready" if one.ready else "NOT READY"]
    if one.jwt_v2:
        said.append(f"({one.algorithm}, {f'key of {one.owner}' if one.meta else 'own key'})")
    if one.days_left is not None:
        said.append(f"{one.days_left} days left")
    told = " ".join(said)
    return f"{told}. {' '.join(one.missing)}" if one.missing else told
