"""Work on the queue: a plain loop, for SQLite and small sites; Celery does the same elsewhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_cybs_jwt import conf
from django_cybs_jwt.management.base import CybsCommand
from django_cybs_jwt.services import worker
from django_cybs_jwt.services.queue import database_clock, durability, sweeping


class Command(CybsCommand):
    """Send what is due until told to stop; any number of these may run beside each other."""

    help = "Send queued requests. Ends on SIGTERM or Ctrl-C once what is under way is finished."

    def add_arguments(self, parser: CommandParser) -> None:
        """How many at once, and whether to end."""
        super().add_arguments(parser)
        parser.add_argument("--threads", type=int, default=1, metavar="N", help="Sends at once.")
        parser.add_argument("--drain", action="store_true", help="End when nothing is due.")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Loop; print how many rows were worked on."""
        if options["threads"] < 1:
            raise CommandError("--threads is at least 1.", returncode=2)
        # A worker without a ring or without tables must not begin.
        conf.keyring()
        durability.require()
        sweeping.due(database_clock.now(), limit=1)
        with _told_to_stop() as stop:
            done = worker.run(threads=options["threads"], drain=options["drain"], stop=stop)
        if options["json"]:
            self.say_json({"worked_on": done})
        else:
            self.stdout.write(f"Worked on {done} request{'s' if done != 1 else ''}.")


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Set by the first SIGTERM or Ctrl-C, as long as this is open."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
