"""What is wrong with the database, in one sentence for whoever waits for it."""

from __future__ import annotations

from typing import Final

from django.db import Error, InterfaceError, OperationalError, ProgrammingError, connection
from django.db.migrations.loader import MigrationLoader

from django_cybs_jwt.texts import Text

LABEL: Final = "cybs_jwt"

_TOLD: Final = (OperationalError, InterfaceError, ProgrammingError)
"""What these say names tables and servers; what the others say may quote a value."""


def is_behind() -> bool:
    """True where `migrate` has not made all our tables yet. Raises Error where nobody answers."""
    loader = MigrationLoader(connection)
    return any(leaf not in loader.applied_migrations for leaf in loader.graph.leaf_nodes(LABEL))


def sentence(error: Error) -> str:
    """The database is away, or not migrated, or has refused what was asked: with the cure."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
    try:
        behind = is_behind()
    except (OperationalError, InterfaceError) as away:
        return Text("The database cannot be reached: {told}", told=_first_line(away))
    except Error:  # the caller's transaction is broken
        behind = False
    if behind:
        return Text("The database lacks tables of this version. Run `manage.py migrate` first.")
    told = f": {_first_line(error)}" if isinstance(error, _TOLD) else "."
    return Text("The database refused this, {kind}{told}", kind=type(error).__name__, told=told)


def _first_line(error: Error) -> str:
    return str(error).strip().partition("\n")[0][:300]
