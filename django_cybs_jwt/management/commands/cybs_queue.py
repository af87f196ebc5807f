"""Look at the queue, and decide what it leaves to a person.

Exit code 0: all well. 1: over a threshold, or refused. 2: usage or configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.management.base import CybsCommand, actor, count, whole_number
from django_cybs_jwt.models import OPEN, Attempt, Organization, OutboundRequest, RequestState
from django_cybs_jwt.services import organizations
from django_cybs_jwt.services.queue import database_clock, metrics, numbers, operating, parking
from django_cybs_jwt.services.queue.numbers import Numbers

LIMITS: Final[dict[str, tuple[str, Callable[[Numbers], float]]]] = {
    "depth": ("requests to be sent", lambda found: found.depth),
    "age": ("seconds that a due request waits", lambda found: found.oldest(RequestState.QUEUED)),
    "in_doubt": ("requests in doubt", lambda found: found.counts[RequestState.IN_DOUBT]),
    "doubt_age": ("seconds in doubt", lambda found: found.oldest(RequestState.IN_DOUBT)),
    "parked": ("requests parked", lambda found: found.counts[RequestState.PARKED]),
}
DECIDING: Final = ("retry", "cancel", "reconcile", "settle")


class Command(CybsCommand):
    """Without a verb: the numbers. No verb shows what was sent or what came back."""

    help = "Count what waits, list it, and retry, cancel, reconcile or settle what stands."

    def add_arguments(self, parser: CommandParser) -> None:
        """Thresholds, and verbs."""
        super().add_arguments(parser)
        parser.add_argument("--host", help="Only requests for this host.")
        parser.add_argument("--organization", help="Only requests of this merchant.")
        parser.add_argument("--prometheus", action="store_true", help="Print metrics.")
        for name, (what, _) in LIMITS.items():
            option = f"--max-{name.replace('_', '-')}"
            parser.add_argument(option, type=whole_number, metavar="N", help=f"At most N {what}.")
        verbs = parser.add_subparsers(dest="verb")
        listing = verbs.add_parser("list", help="What has not ended, or what is in a state.")
        listing.add_argument("--state", choices=RequestState.values)
        listing.add_argument("--limit", type=count, default=100, metavar="N")
        show = verbs.add_parser("show", help="One request with its attempts.")
        show.add_argument("id")
        deciding = [verbs.add_parser(name, help=f"{name.capitalize()} one.") for name in DECIDING]
        for verb in deciding:
            verb.add_argument("id")
            verb.add_argument("--reason", required=True, help="Why, for the audit trail.")
        for verb in deciding[:2]:
            verb.add_argument("--force", action="store_true", help="You looked at the gateway.")
        deciding[3].add_argument("--outcome", required=True, help="The gateway's word for it.")
        deciding[3].add_argument("--gateway-id", default="", help="The transaction's id there.")
        for verb in (listing, show, *deciding):
            super().add_arguments(verb)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        verb = options["verb"]
        if verb in DECIDING:
            self._decide(verb, options)
        elif verb == "show":
            self._show(_find(options["id"]), options)
        elif verb == "list":
            self._list(options)
        elif options["prometheus"]:
            _check_unnarrowed(options)
            self.stdout.write(metrics.render(database_clock.now()), ending="")
        else:
            self._numbers(options)

    def _numbers(self, options: dict[str, Any]) -> None:
        found = numbers.of(_chosen(options), database_clock.now())
        if options["json"]:
            self.say_json(_facts(found))
        else:
            self._tell(found)
        over = [
            f"{value:g} {what}, more than {options[f'max_{name}']}"
            for name, (what, value_of) in LIMITS.items()
            if options[f"max_{name}"] is not None
            and (value := value_of(found)) > options[f"max_{name}"]
        ]
        if over:
            raise CybsError("{over}.", over="; ".join(over))

    def _tell(self, found: Numbers) -> None:
        self.table(_by_state(found), empty="")
        self.stdout.write("")
        if found.held:
            self.table(_by_reason(found), empty="")
            self.stdout.write("")
        self.table(_by_merchant(found), empty="Nothing waits.")

    def _list(self, options: dict[str, Any]) -> None:
        state = options["state"]
        rows = _chosen(options).filter(state__in=[state] if state else OPEN)
        shown = [_row(row) for row in rows[: options["limit"]]]
        if options["json"]:
            self.say_json(shown)
            return
        names = ("id", "state", "organization", "operation", "idempotency_key", "reason")
        self.table([{name: row[name] for name in names} for row in shown], empty="Nothing waits.")

    def _show(self, row: OutboundRequest, options: dict[str, Any]) -> None:
        attempts = [_attempt(each) for each in row.attempts.all()]
        if options["json"]:
            self.say_json(_row(row) | {"advice": parking.advice(row), "attempts": attempts})
            return
        for name, value in _row(row).items():
            self.stdout.write(f"{name}: {'-' if value in ('', None) else value}")
        if advice := parking.advice(row):
            self.stdout.write(f"\n{advice}")
        self.stdout.write("")
        lean = [{k: v for k, v in each.items() if k not in ("report", "jti")} for each in attempts]
        self.table(lean, empty="It was never sent.")
        for each in attempts:
            if each["report"]:
                self.stdout.write(f"\n{each['report']}")

    def _decide(self, verb: str, options: dict[str, Any]) -> None:
        row = _find(options["id"])
        names = {"settle": ("outcome", "gateway_id"), "reconcile": ()}.get(verb, ("force",))
        getattr(operating, verb)(
            row,
            actor=actor(options),
            now=database_clock.now(),
            reason=options["reason"],
            **{name: options[name] for name in names},
        )
        if options["json"]:
            self.say_json(_row(row))
        else:
            self.stdout.write(f"{row.pk} is {row.state}.")


def _check_unnarrowed(options: dict[str, Any]) -> None:
    narrowing = ["host", "organization", *(f"max_{name}" for name in LIMITS)]
    if given := [name for name in narrowing if options[name] is not None]:
        raise CommandError(
            f"--prometheus prints all of it; leave out --{given[0].replace('_', '-')}.",
            returncode=2,
        )


def _find(text: str) -> OutboundRequest:
    row = operating.find(text)
    if row is None:
        raise CommandError(
            f"No request {text[:80]!r}. `cybs_queue list` shows the ids.", returncode=2
        )
    return row


def _chosen(options: dict[str, Any]) -> Any:
    rows = operating.listing()
    if options["host"]:
        rows = rows.filter(host=_known_host(options["host"]))
    if options["organization"]:
        rows = rows.filter(organization=organizations.find(options["organization"]))
    return rows


def _known_host(name: str) -> str:
    host = name.lower()
    if not Organization.objects.filter(host=host).exists():
        raise CommandError(f"No organization is on the host {name[:80]!r}.", returncode=2)
    return host


def _facts(found: Numbers) -> dict[str, Any]:
    return {
        "at": found.at,
        "counts": found.counts,
        "depth": found.depth,
        "oldest_seconds": round(found.oldest(RequestState.QUEUED), 3),
        "oldest_seconds_by_state": {state: round(found.oldest(state), 3) for state in OPEN},
        "reasons": _by_reason(found),
        "hosts": _grouped(found, ("host",)),
        "merchants": _grouped(found, ("organization", "host")),
    }


def _by_state(found: Numbers) -> list[dict[str, Any]]:
    return [
        {
            "state": state,
            "requests": number,
            "oldest": f"{found.oldest(state):.0f} s" if state in OPEN and number else "",
        }
        for state, number in found.counts.items()
    ]


def _by_reason(found: Numbers) -> list[dict[str, Any]]:
    return [
        {"state": each.state, "reason": each.reason, "requests": each.count} for each in found.held
    ]


def _by_merchant(found: Numbers) -> list[dict[str, Any]]:
    groups = _grouped(found, ("organization", "host"))
    return [{**row, "oldest_seconds": f"{row['oldest_seconds']:.0f}"} for row in groups]


def _grouped(found: Numbers, by: Iterable[str]) -> list[dict[str, Any]]:
    """One entry for each merchant or host that waits, with its count in every open state.

    Its oldest is that of all of them: who has only a question open does not wait 0 seconds.
    """
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    for each in found.waits:
        key = tuple(getattr(each, name) for name in by)
        named = dict(zip(by, key, strict=True))
        group = groups.setdefault(key, named | dict.fromkeys(OPEN, 0) | {"oldest_seconds": 0.0})
        group[each.state] += each.count
        if each.since is not None:
            waited = round((found.at - each.since).total_seconds(), 3)
            group["oldest_seconds"] = max(group["oldest_seconds"], waited)
    return list(groups.values())


def _row(row: OutboundRequest) -> dict[str, Any]:
    names = (
        *("operation", "idempotency_key", "transaction_id", "state", "reason", "attempt"),
        *("failures", "looks", "maybe_sent", "outcome", "http_status", "found", "gateway_id"),
        *("correlation_id", "caller_id", "priority", "deadline", "due_at", "fence_at", "owner"),
        *("waiting_since", "created_at", "sent_at", "finished_at"),
    )
    named = {"id": row.pk, "organization": str(row.organization)}
    return named | {name: getattr(row, name) for name in names}


def _attempt(row: Attempt) -> dict[str, Any]:
    names = (
        *("number", "started_at", "elapsed_ms", "kind", "phase", "reused", "http_status"),
        *("request_encrypted", "reply_encrypted"),
        *("reason", "error", "key_id", "correlation_id", "owner", "jti", "report"),
    )
    return {name: getattr(row, name) for name in names}
