"""Serve a gateway on this machine that knows the organizations of the database."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from django_cybs_jwt.management.base import CybsCommand, whole_number
from django_cybs_jwt.services import simulating
from django_cybs_jwt.simulator import Gateway, Identity
from django_cybs_jwt.simulator.server import Address, serve

LAST_PORT: Final = 65535


class Command(CybsCommand):
    """It verifies every token, decrypts, answers, encrypts, and refuses like the remote one."""

    help = "Serve a local gateway. Point a host at it with CYBS_JWT['BASE_URLS']."

    def add_arguments(self, parser: CommandParser) -> None:
        """Loopback only, unless told otherwise."""
        super().add_arguments(parser)
        parser.add_argument("--port", type=_port, default=8443, metavar="N")
        parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS")
        parser.add_argument("--tls", action="store_true", help="With a certificate of its own.")
        parser.add_argument(
            "--identity", type=Path, help="PEM file that keeps its request-MLE key across restarts."
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Serve until interrupted."""
        path: Path | None = options["identity"]
        try:
            identity = Identity.at(path) if path else Identity.generate()
            serve(
                Gateway(simulating.DatabaseRegistry(), identity=identity),
                options["bind"],
                options["port"],
                tls=options["tls"],
                run=simulating.run,
                ready=self._announce,
            )
        except (OSError, ValueError) as error:
            raise CommandError(str(error), returncode=2) from None

    def _announce(self, address: Address) -> None:
        self.stdout.write(f"Simulator at {address.base_url}; control under /__simulator/.")
        if address.ca_bundle:
            self.stdout.write(f"Clients trust it with CYBS_JWT['CA_BUNDLE'] = {address.ca_bundle}")
            self.stdout.write(f"In the example project: export CYBS_CA_BUNDLE={address.ca_bundle}")
        self.stdout.flush()


def _port(text: str) -> int:
    number = whole_number(text)
    if number > LAST_PORT:
        raise ArgumentTypeError(f"a port is a number from 0 to {LAST_PORT}.")
    return number
