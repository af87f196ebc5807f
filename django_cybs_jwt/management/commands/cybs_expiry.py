"""List what ends when, and which merchants stop then."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.management.base import CybsCommand, whole_days
from django_cybs_jwt.services import expiry, metrics
from django_cybs_jwt.services.expiry.endings import Ending


class Command(CybsCommand):
    """Every end with its blast radius; exit code 1 when merchants are stopped now."""

    help = "List what ends when, and which merchants stop then."

    def add_arguments(self, parser: CommandParser) -> None:
        """Filters, or one of the two forms for Prometheus."""
        super().add_arguments(parser)
        parser.add_argument("--days", type=whole_days, help="Only what ends within so many days.")
        parser.add_argument("--host", help="Only keys of this host.")
        parser.add_argument(
            "--organization", "--portfolio", help="Only what concerns it and what is under it."
        )
        parser.add_argument("--prometheus", action="store_true", help="Print metrics.")
        parser.add_argument(
            "--prometheus-rules", action="store_true", help="Print alerting rules for them."
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Stream the list: nothing of its size is held, in text the merchants' names."""
        now = timezone.now()
        if options["prometheus_rules"]:
            self.stdout.write(metrics.prometheus_rules())
            return
        if options["prometheus"]:
            self.stdout.write(metrics.render(now), ending="")
            return
        chosen = {name: options[name] for name in ("host", "organization")}
        found = expiry.listing(now, days=options["days"], **chosen)
        # The list is a list of ends: what has none stands beside it.
        beside = self.stderr if options["json"] else self.stdout
        stopped = self._json(found, now) if options["json"] else self._text(found, now)
        if without := expiry.count_without_end(now, **chosen):
            have = "key in force has" if without == 1 else "keys in force have"
            beside.write(f"{without} {have} no known end: nobody typed it.")
        if stopped:
            raise CybsError(
                "{stopped} artefacts have ended and stop merchants now.", stopped=stopped
            )

    def _json(self, found: Iterable[Ending], now: datetime) -> int:
        stopped, before = 0, "["
        for ending in found:
            self.stdout.write(before + json.dumps(_facts(ending, now)), ending="")
            before = ",\n "
            stopped += _stops_now(ending, now)
        self.stdout.write("]" if before != "[" else "[]")
        return stopped

    def _text(self, found: Iterable[Ending], now: datetime) -> int:
        stopped, days, seen = 0, Counter[date](), set[str]()
        for ending in found:
            self.stdout.write(_line(ending, now))
            stopped += _stops_now(ending, now)
            # Each merchant counts on the first day that stops it: its effective end.
            days[ending.ends.date()] += len(new := set(ending.stops) - seen)
            seen |= new
        for line in _summary(days, now):
            self.stdout.write(line)
        return stopped


def _facts(ending: Ending, now: datetime) -> dict[str, Any]:
    return {
        "artefact": ending.artefact,
        "organization": ending.organization or None,
        "host": ending.host or None,
        "live": ending.live,
        "key_id": ending.key_id,
        "state": ending.state or None,
        "in_use": ending.in_use,
        "successor": ending.successor,
        "ends": ending.ends.isoformat(),
        "days_left": ending.days_left(now),
        "stops": [merchant.partition("@")[0] for merchant in ending.stops],
    }


def _line(ending: Ending, now: datetime) -> str:
    owner = "@".join(filter(None, (ending.organization, ending.host))) or "-"
    stops = f"{len(ending.stops)} stop" if ending.stops else "-"
    columns = (
        f"{ending.ends:%Y-%m-%d}",
        f"{ending.days_left(now):>5}d",
        f"{ending.artefact:24}",
        f"{ending.key_id:36}",
        f"{ending.state or '-':9}",
        f"{stops:>9}",
        owner,
    )
    return "  ".join(columns)


def _summary(days: Counter[date], now: datetime) -> Iterator[str]:
    if not days:
        yield "Nothing ends."
    for day, count in sorted(days.items()):
        if count:
            merchants = "1 merchant" if count == 1 else f"{count} merchants"
            verb = "stopped" if day < now.date() else "stops" if count == 1 else "stop"
            yield f"{merchants} {verb} on {day}"


def _stops_now(ending: Ending, now: datetime) -> bool:
    return ending.ends <= now and bool(ending.stops)
