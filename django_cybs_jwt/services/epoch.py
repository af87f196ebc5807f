"""The epoch: bumped in the transaction of every change that signing must see."""

from __future__ import annotations

import secrets
from typing import Final

from django.db import connection

from django_cybs_jwt.models import Epoch

_STATEMENT_BY_STATEMENT: Final = ("read committed", "read uncommitted")


def bump() -> None:
    """Tell every process to look again; call it inside the change's transaction."""
    # Drawn, not counted: what a rolled back change showed to its own process never comes again.
    value = secrets.randbelow(2**63)
    _, made = Epoch.objects.get_or_create(pk=1, defaults={"value": value})
    if not made:
        Epoch.objects.filter(pk=1).update(value=value)


def is_of_now() -> bool:
    """False in a transaction that keeps to a snapshot: what others changed since is not in it."""
    if not connection.in_atomic_block:
        return True
    if connection.vendor == "sqlite":
        # What began IMMEDIATE keeps all others from writing; DEFERRED reads what was.
        return getattr(connection, "transaction_mode", None) in ("IMMEDIATE", "EXCLUSIVE")
    level = getattr(connection, "isolation_level", None)
    return str(getattr(level, "name", level)).lower().replace("_", " ") in _STATEMENT_BY_STATEMENT


def value() -> int:
    """The epoch now: one query."""
    return next(iter(Epoch.objects.filter(pk=1).values_list("value", flat=True)), 0)
