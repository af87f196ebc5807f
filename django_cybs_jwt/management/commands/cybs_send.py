"""Send one request from the shell.

Exit code 0 for 2xx, declines included; 1 for any other answer; 2 when nothing was sent
(usage, configuration, no connection); 3 when the outcome is unknown.
"""

from __future__ import annotations

import json
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseFault

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import CybsError, OutcomeUnknown
from django_cybs_jwt.management.base import CybsCommand, read_file
from django_cybs_jwt.services import sending

MLE: Final = {"auto": None, "on": True, "off": False}


class Command(CybsCommand):
    """Sign, encrypt, send, decrypt, print."""

    help = "Send one signed request. Exit code: 0 2xx, 1 other answer, 2 nothing sent, 3 unknown."

    def add_arguments(self, parser: CommandParser) -> None:
        """ORG_ID METHOD PATH, like the API reference reads."""
        super().add_arguments(parser)
        parser.add_argument("org_id", help="ORG_ID or ORG_ID@HOST.")
        parser.add_argument("method")
        parser.add_argument("path", help="For example /pts/v2/payments.")
        parser.add_argument("--data", metavar="FILE", help="The JSON body; - for standard input.")
        parser.add_argument("--mle", choices=list(MLE), default="auto")
        parser.add_argument("--dry-run", action="store_true", help="Sign and print, send nothing.")
        parser.add_argument("--explain", action="store_true", help="Compare what was signed.")
        parser.add_argument("--queued", action="store_true", help="Store it; a worker sends it.")
        parser.add_argument("--idempotency-key", metavar="KEY", help="With --queued: your order.")

    def exit_code(self, error: CybsError) -> int:
        """3 where bytes left and no answer came."""
        return 3 if isinstance(error, OutcomeUnknown) else 2

    def handle(self, *_args: Any, **options: Any) -> None:
        """Print the answer; leave its class in the exit code."""
        body = read_file(options["data"]) if options["data"] else b""
        if options["queued"] is not bool(options["idempotency_key"]):
            raise CommandError("--queued and --idempotency-key go together.", returncode=2)
        if options["queued"]:
            self._enqueue(options, body)
            return
        if options["dry_run"]:
            self._dry_run(options, body)
            return
        reply = _send(options, body)
        if options["json"]:
            self.say_json(_facts(reply))
        else:
            self._show(reply)
        if options["explain"]:
            self.stderr.write(_explained(reply))
        if not reply.is_success:
            raise SystemExit(1)

    def _enqueue(self, options: dict[str, Any], body: bytes) -> None:
        if options["dry_run"] or options["explain"]:
            raise CommandError("--queued sends nothing yet: nothing to explain.", returncode=2)
        row = cybs.enqueue(
            options["org_id"],
            options["method"],
            options["path"],
            content=body or None,
            mle=MLE[options["mle"]],
            idempotency_key=options["idempotency_key"],
        )
        facts = {
            "id": row.pk,
            "state": row.state,
            "attempt": row.attempt,
            "outcome": row.outcome,
            "reason": row.reason,
            "http_status": row.http_status,
            "idempotency_key": row.idempotency_key,
            "transaction_id": row.transaction_id,
        }
        if options["json"]:
            self.say_json(facts)
        else:
            self.stdout.write(f"{row.state} {row.outcome} {row.pk}".replace("  ", " "))

    def _dry_run(self, options: dict[str, Any], body: bytes) -> None:
        signed = sending.preview(
            options["org_id"],
            options["method"],
            options["path"],
            body,
            mle=MLE[options["mle"]],
        )
        facts = signed.redacted()
        if options["json"]:
            self.say_json(facts)
            return
        for name, value in facts.items():
            self.stdout.write(f"{name}: {value}")

    def _show(self, reply: cybs.Reply) -> None:
        self.stdout.write(
            f"HTTP {reply.status_code} · key {reply.key_id} · "
            f"request {_lock(reply.request_encrypted)} · reply {_lock(reply.encrypted)} · "
            f"{reply.elapsed.total_seconds() * 1000:.0f} ms · "
            f"correlation id {reply.correlation_id or '-'}"
        )
        body = _body(reply)
        if body is not None:
            self.stdout.write(json.dumps(body, indent=2, ensure_ascii=False))


def _send(options: dict[str, Any], body: bytes) -> cybs.Reply:
    try:
        return cybs.send(
            options["org_id"],
            options["method"],
            options["path"],
            content=body or None,
            mle=MLE[options["mle"]],
        )
    except KeyboardInterrupt:
        raise OutcomeUnknown(
            "Interrupted: it may have been sent. Look the transaction up before sending it again."
        ) from None


def _explained(reply: cybs.Reply) -> str:
    try:
        return str(reply.explain())
    except (CybsError, DatabaseFault) as error:
        # The answer stands: what fails now says nothing about it.
        return f"The answer cannot be explained: {type(error).__name__}."


def _facts(reply: cybs.Reply) -> dict[str, Any]:
    return {
        "status_code": reply.status_code,
        "request_encrypted": reply.request_encrypted,
        "encrypted": reply.encrypted,
        "key_id": reply.key_id,
        "correlation_id": reply.correlation_id,
        "elapsed_ms": round(reply.elapsed.total_seconds() * 1000, 1),
        "body": _body(reply),
    }


def _body(reply: cybs.Reply) -> Any:
    if not reply.content:
        return None
    try:
        return json.loads(reply.content)
    except ValueError:
        return reply.content.decode("utf-8", "replace")


def _lock(encrypted: bool) -> str:
    return "encrypted" if encrypted else "in clear"
