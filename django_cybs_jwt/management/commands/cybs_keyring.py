"""Make the ring of key-encryption keys, and rotate the keys in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import CybsError, KeyUnavailable
from django_cybs_jwt.management.base import CybsCommand, actor
from django_cybs_jwt.sealing import KeyRing
from django_cybs_jwt.services.sealed import key_ring

RESTART: Final = "Back up the file apart from the database, and restart every process"
NEXT: Final = {
    "generate": f"{RESTART}: losing it means importing every key again.",
    "add": f"It opens and does not seal yet. {RESTART}, then `cybs_keyring promote`.",
    "promote": f"It seals from now on. {RESTART}, then `cybs_rewrap`.",
    "block": f"It opens nothing any more; `unblock` undoes that. {RESTART}.",
    "unblock": f"It opens again. {RESTART}.",
}

FOREIGN: Final = (
    "The audit chain of this database was not made with this ring: nothing was written to it. "
    "Is the ring's path right? Where the old ring is lost, see docs/key-ring.md."
)
BEFORE: Final = "There is no database yet: the audit trail begins with what follows `migrate`."

AWAY: Final = (
    "The database cannot be reached: no audit trail has this; what is changed later has it."
)


class Command(CybsCommand):
    """Change the file of CYBS_JWT["KEYRING_FILE"], whole or not at all."""

    help = "Make the key ring's file; add, promote and block its keys. docs/key-ring.md says when."

    def add_arguments(self, parser: CommandParser) -> None:
        """The id stands behind the verb; a new key is called like the day, and promoted next."""
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="Every key, and how much is sealed under it.")
        super().add_arguments(listing)
        for name, next_step in NEXT.items():
            verb = verbs.add_parser(name, help=next_step)
            needs_none = name in ("generate", "add", "promote")
            verb.add_argument("kek_id", nargs="?" if needs_none else None, default="")
            if name in ("generate", "add"):
                verb.add_argument("--id", default="", help="Name of the key; default: the day.")
            if name == "block":
                verb.add_argument("--force", action="store_true", help="Although it is in use.")
            super().add_arguments(verb)

    def exit_code(self, error: CybsError) -> int:
        """2 for an id that is not in the ring."""
        return 2 if isinstance(error, KeyUnavailable) else super().exit_code(error)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        if options["verb"] == "list":
            facts = [asdict(key) for key in key_ring.listing()]
            if options["json"]:
                self.say_json(facts)
            else:
                self.table(facts, empty="")
            return
        ring = self._change(options, timezone.now())
        self._report(ring, options)

    def _change(self, options: dict[str, Any], now: datetime) -> KeyRing:
        verb = options["verb"]
        service: Callable[..., KeyRing] = getattr(key_ring, verb)
        extra = {"force": options["force"]} if verb == "block" else {}
        kek_id = options["kek_id"] or options.get("id", "")
        try:
            return service(kek_id, actor=actor(options), now=now, **extra)
        except OSError as error:
            raise _unwritten(Path(_file()), error) from None

    def _report(self, ring: KeyRing, options: dict[str, Any]) -> None:
        by_default = ring.primary_id if options["verb"] == "promote" else ring.ids()[-1]
        kek_id = options["kek_id"] or options.get("id") or by_default
        facts = {
            "file": _file(),
            "primary": ring.primary_id,
            "id": kek_id,
            "status": ring.status(kek_id).value,
            "fingerprint": ring.fingerprint(kek_id),
        }
        if options["json"]:
            self.say_json(facts)
        else:
            self.stdout.write(
                f"Wrote {facts['file']}: key {kek_id} ({facts['fingerprint']}) is "
                f"{facts['status']}. {NEXT[options['verb']]}"
            )
            if not key_ring.reaches_the_database():
                self.stdout.write(AWAY)
            elif key_ring.precedes_the_database():
                self.stdout.write(BEFORE)
        if not key_ring.suits_the_database():
            self.stderr.write(FOREIGN)


def _unwritten(file: Path, error: OSError) -> CommandError:
    if file.is_dir():
        return CommandError(
            f"{file} is a folder: CYBS_JWT['KEYRING_FILE'] names a file in it.", returncode=2
        )
    if isinstance(error, FileExistsError):
        return CommandError(
            f"{file} exists and is left alone: without its keys nothing stored can be read.",
            returncode=1,
        )
    cure = "" if file.parent.exists() else f" Make the folder {file.parent} first."
    return CommandError(f"{file}: {error.strerror}.{cure}", returncode=2)


def _file() -> str:
    return str(conf.current().KEYRING_FILE)
