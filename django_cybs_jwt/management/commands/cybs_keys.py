"""List keys, and take them out of use."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor, find_credential
from django_cybs_jwt.models import Credential, State
from django_cybs_jwt.services import keys, organizations, overlaps, usage, withdrawal

VERBS: Final = {
    "suspend": (withdrawal.suspend, "Stop it for now; nothing signs in its place."),
    "resume": (withdrawal.resume, "Bring a suspended key back."),
    "compromise": (withdrawal.compromise, "Others know it, on every host. There is no way back."),
    "retire": (withdrawal.retire, "Sign no more; replies under its kid still open."),
    "destroy": (withdrawal.destroy, "Overwrite what is sealed; fingerprint and history stay."),
    "release": (withdrawal.release, "Let the next level sign where a destroyed key stops it."),
    "discard": (withdrawal.discard, "Take your own upload back that was never in use."),
}


class Command(CybsCommand):
    """What keys there are, in which state, when they end, when they were used."""

    help = "List keys; suspend, resume, compromise, retire, destroy or release one."

    def add_arguments(self, parser: CommandParser) -> None:
        """`list`, or a verb with the key's id and a reason."""
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="Every key, or those of one organization.")
        listing.add_argument("org_id", nargs="?", help="ORG_ID or ORG_ID@HOST.")
        super().add_arguments(listing)
        for name, (_, help_text) in VERBS.items():
            verb = verbs.add_parser(name, help=help_text)
            verb.add_argument("credential_id")
            verb.add_argument("--reason", required=True)
            super().add_arguments(verb)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        now = timezone.now()
        if options["verb"] == "list":
            found = keys.listing()
            if options["org_id"]:
                found = found.filter(organization=organizations.find(options["org_id"]))
            rows = list(found)
            states = overlaps.states(rows, now)
        else:
            rows = _moved(options, now)
            states = {row.pk: State(row.state) for row in rows}
        use, twins = _use if options["json"] else _use_in_words, usage.twins(rows)
        facts = [{**_facts(row, states[row.pk]), **use(row, twins, now)} for row in rows]
        if options["json"]:
            self.say_json(facts)
        else:
            self.table(facts, empty="No keys yet. `cybs_import` stores one.")


def _moved(options: dict[str, Any], now: datetime) -> list[Credential]:
    """Carry a verb out; the key, and those that a compromise of it moves on other hosts."""
    service, _ = VERBS[options["verb"]]
    row = find_credential(options["credential_id"])
    compromises = service is withdrawal.compromise
    others = [twin.pk for twin in withdrawal.elsewhere(row)] if compromises else []
    moved = service(row, actor=actor(options), now=now, reason=options["reason"])
    return [moved, *keys.listing().filter(pk__in=others)]


def _facts(row: Credential, state: State) -> dict[str, Any]:
    return {
        "id": row.id,
        "organization": row.organization.org_id,
        "host": row.organization.host,
        "purpose": row.slot.purpose,
        "slot": row.slot.name,
        "covers": row.slot.coverage,
        "key_id": row.key_id,
        "kind": row.kind,
        "algorithm": row.algorithm,
        "state": state,
        "ends": row.expires_at,
    }


def _use_in_words(row: Credential, twins: usage.Twins, now: datetime) -> dict[str, str]:
    idle = usage.idle_since(row, twins)
    if idle is None:
        used = f"last used {row.last_used_at:%Y-%m-%d}" if row.last_used_at else "not used yet"
        return {"use": used}
    safe = ", safe to delete" if usage.is_safe_to_delete(row, now=now, others=twins) else ""
    return {"use": f"idle since {idle:%Y-%m-%d}{safe}"}


def _use(row: Credential, twins: usage.Twins, now: datetime) -> dict[str, Any]:
    return {
        "verified": row.verify_outcome or None,
        "uses": row.use_count,
        "last_used": row.last_used_at,
        "idle_since": usage.idle_since(row, twins),
        "safe_to_delete": usage.is_safe_to_delete(row, now=now, others=twins),
    }
