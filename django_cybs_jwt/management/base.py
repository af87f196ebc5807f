"""What every command shares: exit codes, JSON, secrets from outside the argument list.

0 all well · 1 something was found or refused · 2 usage, configuration or no database
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    no_translations,
)
from django.db import Error as DatabaseFault
from django.utils import timezone

from django_cybs_jwt.exceptions import (
    ApprovalRequired,
    ConfigurationError,
    CybsError,
    KeyMaterialError,
    MessageError,
    OrganizationError,
)
from django_cybs_jwt.models import Approval, Credential, Organization
from django_cybs_jwt.services import approvals, database_faults, keys
from django_cybs_jwt.services.people import ACCOUNT
from django_cybs_jwt.tracebacks import forgetful

LONGEST_ACTOR: Final = 150
_NEVER_AN_ARGUMENT: Final = (
    " A password or secret comes from a variable, a prompt or standard input."
)
_NO_VARIABLE: Final = "No variable of that name is set. Give a variable's name, not the secret."
_BY_SIGNAL: Final = 128  # as shells tell it
_SIGPIPE: Final = 13  # Windows does not name it
USAGE = (ConfigurationError, OrganizationError, MessageError)


class CybsCommand(BaseCommand):
    """A command of this app. System checks are left to `check`, so that none locks it out."""

    requires_system_checks = []

    def run_from_argv(self, argv: list[str]) -> None:
        """End without a traceback where whoever sits at the terminal ends it."""
        if isinstance(sys.stdout, TextIOWrapper):
            # What a terminal cannot show must not fail a command behind its work.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            self._run_and_flush(argv)
        except KeyboardInterrupt:
            self.stderr.write("Interrupted.")
            sys.exit(_BY_SIGNAL + signal.SIGINT)
        except BrokenPipeError:
            # `| head` has read enough; what is left in the buffer would fail again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(_BY_SIGNAL + _SIGPIPE)

    def _run_and_flush(self, argv: list[str]) -> None:
        try:
            super().run_from_argv(argv)
        finally:
            sys.stdout.flush()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """The defaults of the options that every command takes."""
        # Without abbreviations: --password would be taken for --password-env.
        parser = super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)
        parser.set_defaults(json=False, user="")
        parser.parse_args = partial(_parse_args, parser)  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options that every command takes, before or behind its verb."""
        # A default of its own would let the verb's parser overwrite what stood before the verb.
        unset = argparse.SUPPRESS
        parser.add_argument("--json", action="store_true", default=unset, help="Print JSON.")
        parser.add_argument("--user", default=unset, help="Who does this, for the audit trail.")

    @forgetful
    @no_translations
    def execute(self, *args: Any, **options: Any) -> Any:
        """Turn our errors into one line and an exit code; ask where a second person is needed.

        In English whatever LANGUAGE_CODE says: scripts and runbooks read what commands print.
        """
        try:
            return self._execute(*args, **options)
        except CybsError as error:
            raise CommandError(str(error), returncode=self.exit_code(error)) from None
        except DatabaseFault as error:
            # Its traceback is there for who asks with --traceback.
            raise CommandError(database_faults.sentence(error), returncode=2) from error

    def _execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except ApprovalRequired as error:
            requested = approvals.request_missing(
                error, actor=actor(options), now=timezone.now(), reason=options.get("reason") or ""
            )
            raise CommandError(how_to_approve(requested), returncode=1) from None

    def exit_code(self, error: CybsError) -> int:
        """2 for what the caller must correct, 1 for what was refused."""
        return 2 if isinstance(error, USAGE) else 1

    def say_json(self, value: Any) -> None:
        """Print *value*; times come out as ISO 8601 with a zone."""
        self.stdout.write(json.dumps(value, default=_plain, indent=2))

    def table(self, rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
        """Print rows under their names, or a sentence where there are none."""
        if not rows:
            self.stdout.write(empty)
            return
        names = list(rows[0])
        cells = [[_cell(row[name]) for name in names] for row in rows]
        widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
        for line in [[name.upper().replace("_", " ") for name in names], *cells]:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(padded).rstrip())


def _parse_args(parser: CommandParser, args: Any = None, namespace: Any = None) -> Any:
    """Refuse what is not known by its name alone: beside --password stands a password."""
    found, unknown = parser.parse_known_args(args, namespace)
    if unknown:
        names = [each.partition("=")[0] for each in unknown if each.startswith("--")]
        told = ", ".join(names) or "what is not repeated here"
        secret = any(word in name for name in names for word in ("pass", "secret"))
        parser.error(f"unrecognized arguments: {told}.{_NEVER_AN_ARGUMENT if secret else ''}")
    return found


def count(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    with suppress(ValueError):
        if (number := int(text)) >= 1:
            return number
    raise argparse.ArgumentTypeError("give a whole number of at least 1.")


def account() -> str:
    """The account on this machine; a container's may have a number and no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def actor(options: Mapping[str, Any]) -> str:
    """Who the audit trail will name: --user, else the account on this machine."""
    name = options["user"] or f"{ACCOUNT}{account()}"
    if len(name) > LONGEST_ACTOR:
        raise CommandError(f"--user has at most {LONGEST_ACTOR} characters.", returncode=2)
    return str(name)


def whole_number(text: str) -> int:
    """An argument that is a whole number from 0 up."""
    with suppress(ValueError):
        if (number := int(text)) >= 0:
            return number
    raise argparse.ArgumentTypeError("give a whole number from 0 up.")


def whole_days(text: str) -> int:
    """An argument that counts days: whole, and none that is past."""
    with suppress(ValueError):
        if (number := int(text)) >= 0:
            return number
    raise argparse.ArgumentTypeError("give a whole number of days from 0 up.")


def how_to_approve(requested: Sequence[Approval]) -> str:
    """What to tell whoever needs these approvals."""
    if not requested:
        return (
            "FOUR_EYES is on, so nothing was stored. Import without --activate; "
            "`cybs_verify` and `cybs_rotate` take the key into use, with a second person."
        )
    ids = " ".join(str(approval.pk) for approval in requested)
    return (
        f"Approval {ids} requested; somebody else runs: "
        f"manage.py cybs_approvals approve {ids} --user NAME; then repeat this command."
    )


def find_credential(text: str, organization: Organization | None = None) -> Credential:
    """The key with that id, of *organization* where one is given."""
    try:
        row = keys.listing().get(pk=text)
    except (Credential.DoesNotExist, ValidationError, ValueError):
        row = None
    if row is None or (organization is not None and row.organization_id != organization.pk):
        raise CommandError(f"No key {text[:80]!r}. `cybs_keys list` shows the ids.", returncode=2)
    return row


def read_file(name: str) -> bytes:
    """The bytes of a file, `-` for standard input."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}", returncode=2) from None


def read_secret(variable: str | None, prompt: str) -> str:
    """A secret from an environment variable, a prompt, or a line of standard input; UTF-8."""
    try:
        secret = _given(variable, prompt)
        secret.encode()
    except UnicodeError:  # which carries the whole text
        raise KeyMaterialError("The password or secret is not UTF-8 text. Type it again.") from None
    return secret


def _given(variable: str | None, prompt: str) -> str:
    if variable is not None:
        if variable not in os.environ:
            # Whoever puts the password itself there need not read it again in a log.
            is_name = variable.isidentifier() and variable.isupper()
            told = f"The variable {variable} is not set." if is_name else _NO_VARIABLE
            raise CommandError(told, returncode=2)
        return os.environ[variable]
    if sys.stdin.isatty():
        try:
            return getpass.getpass(prompt)
        except EOFError:
            raise CommandError("Nothing was typed.", returncode=2) from None
    return sys.stdin.readline().rstrip("\r\n")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}"
    # A name or reason that somebody typed must not steer the terminal of whoever reads it.
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value).__name__)
