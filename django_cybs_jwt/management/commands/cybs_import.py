"""Import a key: a P12 or PEM file, or a shared secret."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_cybs_jwt.management.base import CybsCommand, actor, read_file, read_secret
from django_cybs_jwt.models import Coverage, Credential, Organization, Purpose
from django_cybs_jwt.services import importing, inspection, keys, organizations
from django_cybs_jwt.services.inspection import Inspection, Wanted


class Command(CybsCommand):
    """Inspect, print, seal, and with --activate put into use."""

    help = "Import a signing key or a Response MLE key of an organization."

    def add_arguments(self, parser: CommandParser) -> None:
        """Passwords never come as arguments."""
        super().add_arguments(parser)
        parser.add_argument("org_id", help="ORG_ID or ORG_ID@HOST.")
        parser.add_argument("file", nargs="?", help="A .p12 or .pem file; - for standard input.")
        parser.add_argument("--purpose", choices=Purpose.values, default=Purpose.SIGNING)
        parser.add_argument("--shared-secret", action="store_true", help="Instead of a file.")
        parser.add_argument("--password-env", metavar="VAR", help="Variable with the password.")
        parser.add_argument("--secret-env", metavar="VAR", help="Variable with the shared secret.")
        parser.add_argument("--key-id", default="", help="Where the file does not carry it.")
        parser.add_argument("--algorithm", default="", help="RS256 and HS256 by default.")
        parser.add_argument("--expires", type=_day, metavar="YYYY-MM-DD", help="Its end, typed.")
        parser.add_argument("--slot", default="", help="Name of the slot; rarely needed.")
        parser.add_argument("--covers", choices=Coverage.values, help="Meta key: all or selected.")
        parser.add_argument(
            "--activate", action="store_true", help="Use it at once: first key only."
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Show what came in, then store it."""
        now = timezone.now()
        organization = organizations.find(options["org_id"])
        with importing.looking(organization, actor=actor(options), now=now):
            inspected = self._inspect(organization, options, now)
        warning = keys.owner_warning(organization, inspected)
        notices = [*inspected.notices, *([warning] if warning else [])]
        if not options["json"]:
            self._show(inspected, notices)
        credential = importing.import_key(
            organization,
            inspected,
            actor=actor(options),
            now=now,
            slot=options["slot"],
            covers=options["covers"],
            activate=options["activate"],
        )
        if options["json"]:
            self.say_json(_facts(credential, inspected, notices))
        else:
            self.stdout.write(
                f"Stored {inspected.purpose} key {credential.key_id} of {organization}: "
                f"{credential.state}."
            )

    def _inspect(
        self, organization: Organization, options: dict[str, Any], now: datetime
    ) -> Inspection:
        wanted = Wanted(
            purpose=options["purpose"],
            owner=organization.org_id,
            key_id=options["key_id"],
            algorithm=options["algorithm"],
            expires_at=options["expires"],
        )
        if options["shared_secret"] == bool(options["file"]):
            raise CommandError("Give either a FILE or --shared-secret.", returncode=2)
        if options["shared_secret"]:
            if not options["key_id"]:
                raise CommandError("--shared-secret takes --key-id too.", returncode=2)
            secret = read_secret(options["secret_env"], "Shared secret: ")
            return inspection.inspect_shared_secret(secret, wanted, now=now)
        data = read_file(options["file"])
        return inspection.inspect_file(data, _password(data, options), wanted, now=now)

    def _show(self, inspected: Inspection, notices: list[str]) -> None:
        self.stdout.write(
            f"{inspected.kind} with key ID {inspected.key_id}, {inspected.algorithm}:"
        )
        for facts in inspected.certificates:
            self.stdout.write(
                f"  {facts.role:<12} {facts.common_name}, kid {facts.kid or '-'}, "
                f"valid {facts.not_before:%Y-%m-%d} to {facts.not_after:%Y-%m-%d}"
            )
        for notice in notices:
            self.stdout.write(f"  note: {notice}")


def _password(data: bytes, options: dict[str, Any]) -> bytes | None:
    if options["password_env"]:
        return read_secret(options["password_env"], "").encode()
    if b"-----BEGIN " in data and b"ENCRYPTED" not in data:
        return None
    if options["file"] == "-":
        raise CommandError(
            "A file from standard input takes its password from --password-env.", returncode=2
        )
    return read_secret(None, "Password of the file: ").encode()


def _facts(credential: Credential, inspected: Inspection, notices: list[str]) -> dict[str, Any]:
    certificates = [
        {
            "role": facts.role,
            "common_name": facts.common_name,
            "key_id": facts.kid,
            "not_before": facts.not_before,
            "not_after": facts.not_after,
        }
        for facts in inspected.certificates
    ]
    return {
        "id": credential.id,
        "organization": credential.organization.org_id,
        "purpose": inspected.purpose,
        "key_id": credential.key_id,
        "kind": credential.kind,
        "algorithm": credential.algorithm,
        "state": credential.state,
        "ends": credential.expires_at,
        "certificates": certificates,
        "notices": notices,
    }


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ArgumentTypeError("give a day like 2027-01-31.") from None
