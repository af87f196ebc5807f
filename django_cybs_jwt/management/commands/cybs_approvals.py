"""Ask for, grant and turn down what takes two people."""

from __future__ import annotations

import uuid
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.management.base import (
    CybsCommand,
    account,
    actor,
    find_credential,
    how_to_approve,
)
from django_cybs_jwt.models import Approval
from django_cybs_jwt.services import approvals
from django_cybs_jwt.services.alerts import paging

COLUMNS: Final = (
    "id",
    "status",
    "action",
    "organization",
    "key_id",
    "requested_by",
    "expires_at",
    "detail",
    "reason",
)


class Command(CybsCommand):
    """Requests for a second person, and their answers."""

    help = "Four eyes: request, list, approve, reject; break-glass for one person alone."

    def add_arguments(self, parser: CommandParser) -> None:
        """Verbs: list, request, approve, reject, break-glass."""
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="What waits for a decision or for its use.")
        listing.add_argument("--all", action="store_true", help="What is over, too.")
        request = verbs.add_parser("request", help="Ask for a second person.")
        request.add_argument("credential_id")
        request.add_argument("action", choices=[str(action) for action in approvals.ACTIONS])
        request.add_argument("--reason", required=True)
        approve = verbs.add_parser("approve", help="Grant what somebody else asked for.")
        approve.add_argument("approval_ids", nargs="+", metavar="ID")
        reject = verbs.add_parser("reject", help="Turn a request down, or take a grant back.")
        alone = verbs.add_parser("break-glass", help="Grant alone, for one hour; pages everyone.")
        for verb, needed in ((reject, False), (alone, True)):
            verb.add_argument("approval_ids", nargs=1, metavar="ID")
            verb.add_argument("--reason", required=needed, default="")
        for verb in (listing, request, approve, reject, alone):
            super().add_arguments(verb)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        rows = self._list(options) if options["verb"] == "list" else self._change(options)
        facts = [_facts(row) for row in rows]
        if options["verb"] == "break-glass" and not paging.finds_somebody():
            self.stderr.write(f"Nobody was paged: there is no recipient. {paging.ADD_SOMEBODY}")
        if options["json"]:
            self.say_json(facts)
        elif options["verb"] == "list":
            columns = [{name: fact[name] for name in COLUMNS} for fact in facts]
            self.table(columns, empty="Nothing waits for a second person.")
        elif options["verb"] == "request":
            self.stdout.write(how_to_approve(rows))
        else:
            for row in rows:
                until = f", valid until {row.expires_at:%Y-%m-%d %H:%M} UTC"
                ends = until if row.status == Approval.Status.GRANTED else ""
                self.stdout.write(
                    f"{row.status}: {row.action} of {row.credential.key_id} "
                    f"({row.credential.organization}){ends}."
                )

    def _list(self, options: dict[str, Any]) -> list[Approval]:
        found = approvals.listing() if options["all"] else approvals.usable(now=timezone.now())
        return list(found)

    def _change(self, options: dict[str, Any]) -> list[Approval]:
        who, now, verb = actor(options), timezone.now(), options["verb"]
        if verb == "request":
            row = find_credential(options["credential_id"])
            reason = options["reason"]
            return [approvals.request(options["action"], row, actor=who, now=now, reason=reason)]
        found = [_find(text) for text in options["approval_ids"]]
        if verb == "approve":
            return [_approve(row, options) for row in found]
        decide = approvals.reject if verb == "reject" else approvals.break_glass
        return [decide(row.pk, actor=who, now=now, reason=options["reason"]) for row in found]


def _approve(row: Approval, options: dict[str, Any]) -> Approval:
    if conf.current().FOUR_EYES and not options["user"]:
        raise CommandError("Approving takes --user NAME: say which person you are.", returncode=2)
    # A name is typed, the account is not: the audit trail keeps both.
    reason = f"on the account {account()}"
    return approvals.approve(row.pk, actor=actor(options), now=timezone.now(), reason=reason)


def _find(text: str) -> Approval:
    try:
        return approvals.listing().get(pk=uuid.UUID(text))
    except (Approval.DoesNotExist, ValueError):
        raise CommandError(
            f"No request {text[:80]!r}. `cybs_approvals list --all` shows the ids.", returncode=2
        ) from None


def _facts(row: Approval) -> dict[str, Any]:
    key = row.credential
    return {
        "id": row.id,
        "status": row.status,
        "action": row.action,
        "detail": row.detail,
        "organization": key.organization.org_id,
        "host": key.organization.host,
        "purpose": key.slot.purpose,
        "key_id": key.key_id,
        "credential": key.id,
        "fingerprint": row.fingerprint,
        "requested_by": row.requested_by,
        "requested_at": row.requested_at,
        "expires_at": row.expires_at,
        "decided_by": row.decided_by,
        "decided_at": row.decided_at,
        "break_glass": row.break_glass,
        "reason": row.reason,
    }
