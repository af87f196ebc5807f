"""Prove that every secret opens and that everything else is as it should be."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, count
from django_cybs_jwt.services import doctor


class Command(CybsCommand):
    """Reads everything and changes nothing."""

    help = "Examine secrets, ring, slots, jobs and audit chain. 0 well, 1 findings, 2 cannot run."

    def add_arguments(self, parser: CommandParser) -> None:
        """All secrets, or some."""
        super().add_arguments(parser)
        parser.add_argument("--sample", type=count, metavar="N", help="Open the secrets of N rows.")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        diagnosis = doctor.examine(now=timezone.now(), sample=options["sample"])
        findings = [asdict(finding) for finding in diagnosis.findings]
        if options["json"]:
            self.say_json(findings)
        else:
            for kek_id, count in sorted(diagnosis.opened.items()):
                self.stdout.write(f"{count} secrets open under {kek_id}.")
            for finding in findings:
                place = " of {organization}" if finding["organization"] else ""
                line = "{finding}: {subject}" + place + ": {detail}"
                self.stdout.write(line.format(**finding))
            if not findings:
                self.stdout.write("Nothing found.")
        if findings:
            raise SystemExit(1)
