"""Ask a test account what the gateway's documents leave open."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_cybs_jwt.client import KEEP_ALIVE
from django_cybs_jwt.exceptions import CybsError, LiveRefused
from django_cybs_jwt.management.base import CybsCommand
from django_cybs_jwt.services.queue import probing


class Command(CybsCommand):
    """Exit code 0 when every question was answered, 1 when some was not."""

    help = "Ask a test account the gateway's open questions. Never a live one; no money unasked."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whom to ask, and what may be asked."""
        super().add_arguments(parser)
        parser.add_argument("org_id", help="A test account: ORG_ID or ORG_ID@HOST.")
        parser.add_argument(
            "--money", action="store_true", help="Also what takes authorizations of a test card."
        )
        parser.add_argument(
            "--idle", type=float, default=0.0, metavar="S", help="Keep a connection idle so long."
        )
        parser.add_argument(
            "--lag", type=float, default=15.0, metavar="S", help="Look for a payment so long."
        )

    def exit_code(self, error: CybsError) -> int:
        """2 for a live account."""
        return 2 if isinstance(error, LiveRefused) else super().exit_code(error)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Print the answers."""
        _check(options["lag"], 3600.0, "--lag takes 0 to 3600 seconds.")
        idle = f"--idle takes 0 to {KEEP_ALIVE:g} seconds: after that we close a connection."
        _check(options["idle"], KEEP_ALIVE, idle)
        patience = probing.Patience(idle=options["idle"], lag=options["lag"])
        answers = list(probing.ask(options["org_id"], money=options["money"], patience=patience))
        if options["json"]:
            self.say_json([asdict(each) for each in answers])
        else:
            names = ("question", "answer", "detail")
            self.table(
                [{name: getattr(each, name) for name in names} for each in answers], empty=""
            )
        without = sum(each.answer == "no answer" for each in answers)
        if without:
            raise CybsError("{without} questions got no answer.", without=without)


def _check(seconds: float, most: float, refusal: str) -> None:
    if not (isfinite(seconds) and 0 <= seconds <= most):
        raise CommandError(refusal, returncode=2)
