"""Write a key out as a P12 file under a new password."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor, find_credential, read_secret
from django_cybs_jwt.services import export


class Command(CybsCommand):
    """Audited; with FOUR_EYES on it takes two people."""

    help = "Export a stored key as a P12 file (AES-256) under a new password."

    def add_arguments(self, parser: CommandParser) -> None:
        """The password never comes as an argument."""
        super().add_arguments(parser)
        parser.add_argument("credential_id", help="`cybs_keys list` shows the ids.")
        parser.add_argument("output_file", help="A file that is not there yet.")
        parser.add_argument(
            "--new-password-env", metavar="VAR", help="Variable with the new password."
        )
        parser.add_argument("--reason", required=True)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        row, path = find_credential(options["credential_id"]), options["output_file"]
        password = _new_password(options["new_password_env"])
        try:
            export.export(
                row,
                path,
                password,
                actor=actor(options),
                now=timezone.now(),
                reason=options["reason"],
            )
        except FileExistsError:
            raise CommandError(f"{path} exists and is left alone.", returncode=1) from None
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}", returncode=2) from None
        facts = {
            "file": path,
            "organization": row.organization.org_id,
            "key_id": row.key_id,
            "fingerprint": row.fingerprint,
        }
        if options["json"]:
            self.say_json(facts)
        else:
            self.stdout.write(
                f"Wrote {path}: key {row.key_id} of {row.organization}, readable by you only. "
                "Delete it when it has served."
            )


def _new_password(variable: str | None) -> str:
    password = read_secret(variable, "New password: ")
    typed = variable is None and sys.stdin.isatty()
    if typed and read_secret(None, "The same again: ") != password:
        raise CommandError("The two passwords differ.", returncode=2)
    return password
