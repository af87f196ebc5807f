"""Move every sealed secret to the primary key of the ring."""

from __future__ import annotations

import time
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor, count
from django_cybs_jwt.services.sealed import rewrap
from django_cybs_jwt.services.sealed.rewrap import Report

NAMED: Final = 20
"""Failures that are listed; --json has them all."""


class Command(CybsCommand):
    """Safe beside imports and beside itself; cut off anywhere, run it again."""

    help = "Re-wrap secrets to the ring's primary key. Exit code 1: rows are left or do not open."

    def add_arguments(self, parser: CommandParser) -> None:
        """How much, how fast, or only try."""
        super().add_arguments(parser)
        parser.add_argument("--batch", type=count, default=rewrap.BATCH, help="Per transaction.")
        parser.add_argument("--limit", type=count, help="Stop after this many rows.")
        parser.add_argument("--rate", type=count, help="At most this many rows a second.")
        parser.add_argument("--dry-run", action="store_true", help="Try every one, write nothing.")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service; progress goes to standard error."""
        pace = _Pace(options["rate"], self.stderr)
        report = rewrap.run(
            actor=actor(options),
            now=timezone.now(),
            size=min(options["batch"], options["rate"] or options["batch"]),
            limit=options["limit"],
            dry_run=options["dry_run"],
            after_batch=pace,
        )
        facts = _facts(report, pace.seconds(), options)
        if options["json"]:
            self.say_json(facts)
        else:
            self._show(report, facts)
        stopped = options["limit"] is not None and report.moved >= options["limit"]
        if report.failed or (report.remaining and not stopped):
            raise SystemExit(1)

    def _show(self, report: Report, facts: dict[str, Any]) -> None:
        verb = "would move" if facts["dry_run"] else "moved"
        self.stdout.write(
            f"To {report.primary}: {report.total} rows found, {report.moved} {verb}, "
            f"{report.failed_rows} failed, {report.remaining} left; "
            f"{facts['seconds']:.1f} s, {facts['rate']:.0f} a second."
        )
        for failure in facts["failed"][:NAMED]:
            self.stdout.write(f"  {failure['subject']}: {failure['reason']}")
        if len(report.failed) > NAMED:
            self.stdout.write(f"  and {len(report.failed) - NAMED} secrets more; --json has them.")


class _Pace:
    """Called after each batch: keeps to the rate, and says once a second how far it is."""

    def __init__(self, rate: int | None, stderr: Any) -> None:
        self._rate = rate
        self._stderr = stderr
        self._began = self._told = self._last = time.monotonic()
        self._moved = 0

    def __call__(self, report: Report) -> None:
        if self._rate:
            # Batch by batch: time lost in waiting for a lock is not made up for by a rush.
            due = self._last + (report.moved - self._moved) / self._rate
            time.sleep(max(0.0, due - time.monotonic()))
            self._last, self._moved = time.monotonic(), report.moved
        if time.monotonic() - self._told >= 1:
            self._told = time.monotonic()
            self._tell(report)

    def _tell(self, report: Report) -> None:
        rate = report.moved / self.seconds()
        left = (report.total - report.moved) / rate if rate else 0
        self._stderr.write(
            f"{report.moved} of {report.total}, {rate:.0f} a second, {left:.0f} s left"
        )

    def seconds(self) -> float:
        return time.monotonic() - self._began


def _facts(report: Report, seconds: float, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "primary": report.primary,
        "found": report.total,
        "moved": report.moved,
        "failed_rows": report.failed_rows,
        "failed": [{"subject": key, "reason": why} for key, why in report.failed.items()],
        "left": report.remaining,
        "seconds": round(seconds, 3),
        "rate": round(report.moved / seconds, 1),
        "dry_run": options["dry_run"],
    }
