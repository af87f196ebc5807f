"""Verify the audit chain, and export it."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor
from django_cybs_jwt.services import organizations
from django_cybs_jwt.services.audit import chain
from django_cybs_jwt.services.audit.chain import Anchor, Verification


class Command(CybsCommand):
    """Whether the history is whole, and the history itself."""

    help = "Verify or export the audit chain. Exit code of verify: 0 whole, 1 it is not."

    def add_arguments(self, parser: CommandParser) -> None:
        """Verbs: verify, export."""
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", required=True)
        verify = verbs.add_parser("verify", help="Recompute it, and print an anchor to keep.")
        verify.add_argument("--anchor", type=_anchor, metavar="SEQ:DIGEST")
        verify.add_argument("--from-anchor", action="store_true", help="Only what follows it.")
        export = verbs.add_parser("export", help="JSON lines, oldest first; audited itself.")
        export.add_argument(
            "--output", metavar="FILE", help="A new file; default: standard output."
        )
        export.add_argument("--since", type=_moment, metavar="ISO", help="From this moment.")
        export.add_argument("--until", type=_moment, metavar="ISO", help="Before this moment.")
        export.add_argument("--organization", default="", metavar="ORG_ID")
        for verb in (verify, export):
            super().add_arguments(verb)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        if options["verb"] == "export":
            self._export(options)
            return
        anchor = options["anchor"]
        if options["from_anchor"] and anchor is None:
            raise CommandError("--from-anchor takes --anchor SEQ:DIGEST.", returncode=2)
        since = anchor if options["from_anchor"] else None
        found = chain.verify(anchor=anchor, since=since)
        if options["json"]:
            self.say_json(_facts(found))
        else:
            self._show(found)
        if found.faults:
            raise SystemExit(1)

    def _show(self, found: Verification) -> None:
        for fault in found.faults:
            self.stdout.write(fault)
        if found.more:
            self.stdout.write(f"and {found.more} more.")
        verdict = "it is not whole." if found.faults else "it is whole."
        self.stdout.write(f"{found.rows} rows read; {verdict}")
        if found.anchor:
            self.stdout.write(f"Keep outside of this database: --anchor {found.anchor}")

    def _export(self, options: dict[str, Any]) -> None:
        name = options["organization"]
        if name and not chain.mentions(name):
            organizations.find(name)
        with _opened(options["output"], self.stdout) as out:
            rows = chain.export(
                actor=actor(options),
                now=timezone.now(),
                since=options["since"],
                until=options["until"],
                organization=name,
            )
            for row in rows:
                out.write(json.dumps(row) + "\n")


@contextmanager
def _opened(name: str | None, stdout: OutputWrapper) -> Iterator[TextIO | OutputWrapper]:
    if name is None:
        yield stdout
        return
    try:
        # Never over another export: it may be the only copy of a chain that was cut since.
        with Path(name).open("x", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}", returncode=2) from None


def _facts(found: Verification) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "faults": found.faults,
        "more": found.more,
        "anchor": str(found.anchor) if found.anchor else None,
    }


def _anchor(text: str) -> Anchor:
    try:
        return Anchor.parse(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError("give a time like 2026-01-31 or 2026-01-31T12:00+00:00.") from None
    return moment if moment.tzinfo else timezone.make_aware(moment)
