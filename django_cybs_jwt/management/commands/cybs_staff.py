"""Groups for staff, and who sees only some portfolios."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.management.base import CommandError, CommandParser

from django_cybs_jwt.management.base import CybsCommand, actor
from django_cybs_jwt.services import organizations, permissions, scope


class Command(CybsCommand):
    """What the host project's staff may do and see in the admin."""

    help = "Make groups with sensible permissions; limit users to some organizations."

    def add_arguments(self, parser: CommandParser) -> None:
        """Verbs: groups, limit, lift, list."""
        super().add_arguments(parser)
        verbs = parser.add_subparsers(dest="verb", required=True)
        groups = verbs.add_parser("groups", help="Make the groups that are missing.")
        groups.add_argument(
            "--reset", action="store_true", help="Put groups that exist back to what they were."
        )
        limit = verbs.add_parser("limit", help="Show a user these organizations, nothing else.")
        limit.add_argument("name", help="The name the user logs in with.")
        limit.add_argument("organizations", nargs="+", metavar="ORG_ID")
        lift = verbs.add_parser("lift", help="Show a user everything again.")
        lift.add_argument("name", help="The name the user logs in with.")
        listing = verbs.add_parser("list", help="Show who is limited to what.")
        for verb in (groups, limit, lift, listing):
            super().add_arguments(verb)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Call one service."""
        rows = getattr(self, f"_{options['verb']}")(options)
        if options["json"]:
            self.say_json(rows)
        else:
            self.table(rows, empty="Nobody is limited: all staff see every organization.")

    def _groups(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        written = permissions.make_groups(reset=options["reset"])
        return [
            {"group": name, "written": new, "permissions": len(permissions.GROUPS[name])}
            for name, new in written.items()
        ]

    def _limit(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        tops = [organizations.find(name) for name in options["organizations"]]
        scope.limit(_user(options["name"]), tops, actor=actor(options))
        return self._list(options)

    def _lift(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        scope.lift(_user(options["name"]), actor=actor(options))
        return self._list(options)

    def _list(self, _options: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "user": row.user.get_username(),
                "organizations": " ".join(sorted(map(str, row.organizations.all()))),
            }
            for row in scope.listing()
        ]


def _user(name: str) -> AbstractBaseUser:
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(name)  # noqa: SLF001
    except model.DoesNotExist:
        raise CommandError(f"No user {name[:80]!r}.", returncode=2) from None
