"""Refuse a database that may forget what it has committed: it would pay a second time."""

from __future__ import annotations

from typing import Final

from django.db import connection

from django_cybs_jwt.exceptions import WeakDurability
from django_cybs_jwt.texts import Text

_FULL: Final = 2  # SQLite's PRAGMA synchronous: 0 OFF, 1 NORMAL, 2 FULL, 3 EXTRA
_FLUSHED: Final = (1, 3)
"""MySQL's innodb_flush_log_at_trx_commit: 0 and 2 flush once a second, 3 is MariaDB's own 1."""
_proved: set[str] = set()
"""Databases that were asked: the setting belongs to the deployment, not to a connection."""


def require() -> None:
    """Ask once in a process; raises WeakDurability."""
    if connection.alias in _proved:
        return
    fault = weakness()
    if fault is not None:
        raise WeakDurability(fault)
    _proved.add(connection.alias)


def weakness() -> str | None:
    """What is wrong with the default database and how to cure it; None where nothing is."""
    if connection.vendor == "postgresql":
        told = _ask("SHOW synchronous_commit")
        if told == "off":
            return Text(
                "PostgreSQL runs with synchronous_commit = off. Set it to on, at least to local."
            )
    elif connection.vendor == "mysql":
        told = _ask("SELECT @@GLOBAL.innodb_flush_log_at_trx_commit")
        if int(told) not in _FLUSHED:
            return Text(
                "MySQL runs with innodb_flush_log_at_trx_commit = {told}. Set it to 1.", told=told
            )
    elif connection.vendor == "sqlite" and not _in_memory():
        told = _ask("PRAGMA synchronous")
        if int(told) < _FULL:
            return Text("SQLite runs with a weak `synchronous`. Set `PRAGMA synchronous = FULL`.")
    return None


def _in_memory() -> bool:
    name = str(connection.settings_dict["NAME"])
    return name == ":memory:" or "mode=memory" in name


def _ask(statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[0])
