"""The statements that every send costs, put together by hand.

Django builds each anew at every call, and takes five times as long for it as the database does.
Only for columns of the default database; whatever is asked now and then is a QuerySet.
"""

# ruff: noqa: SLF001  # _meta and _state are how Django tells a model's columns
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import BinaryField, Model
from django.db.models.constants import OnConflict


def update(
    model: type[Model],
    where: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    beside: Model | None = None,
) -> bool:
    """True where a row that is as *where* says was changed.

    *beside* is a new row, stored if and only if the other was changed.
    """
    database = _database()
    conditions, sought = _equations(database, model, where)
    changes, given = _equations(database, model, values)
    changed = f"{table(model)} SET {', '.join(changes)} WHERE {' AND '.join(conditions)}"
    if beside is None:
        return _run(database, f"UPDATE {changed}", [*given, *sought])
    if database.vendor == "postgresql":
        # One round trip, where a transaction takes four.
        names, marks, stored = _columns_of(database, beside)
        text = (
            f"WITH changed AS (UPDATE {changed} RETURNING 1) "  # noqa: S608
            f"INSERT INTO {table(type(beside))} ({names}) SELECT {marks} FROM changed"
        )
        return _run(database, text, [*given, *sought, *stored])
    with transaction.atomic(using=database.alias):
        return _run(database, f"UPDATE {changed}", [*given, *sought]) and insert(beside)


def insert(row: Model, *, unless_there: bool = False) -> bool:
    """Store a new row. With *unless_there*, False where a unique column has its value already.

    An IntegrityError would spoil the caller's transaction on PostgreSQL, a savepoint around it
    costs two round trips, and `bulk_create(ignore_conflicts=True)` does not say what it did.
    """
    database = _database()
    conflict = OnConflict.IGNORE if unless_there else None
    names, marks, values = _columns_of(database, row)
    begin = database.ops.insert_statement(on_conflict=conflict)
    end = database.ops.on_conflict_suffix_sql([], conflict, [], [])
    text = f"{begin} {table(type(row))} ({names}) VALUES ({marks}) {end}"
    stored = _run(database, text, values)
    row._state.adding = not stored
    row._state.db = database.alias
    return stored


def table(model: type[Model]) -> str:
    """The name of its table in a statement."""
    return str(_database().ops.quote_name(model._meta.db_table))


def columns(model: type[Model], of: str) -> str:
    """All its columns, where its table is called *of* in the statement."""
    quote = _database().ops.quote_name
    return ", ".join(f"{of}.{quote(field.column)}" for field in model._meta.concrete_fields)


def _database() -> Any:
    # Once a statement: each look through `django.db.connection` finds the thread's own anew.
    return connections[DEFAULT_DB_ALIAS]


def _run(database: Any, text: str, values: Sequence[Any]) -> bool:
    """True where it changed or stored a row."""
    with database.cursor() as cursor:
        cursor.execute(text, values)
        return bool(cursor.rowcount)


def _columns_of(database: Any, row: Model) -> tuple[str, str, list[Any]]:
    """What an INSERT of that row names, its marks, and the values."""
    key = row._meta.pk
    fields = [f for f in row._meta.concrete_fields if f is not key or row.pk is not None]
    values = [f.get_db_prep_save(f.pre_save(row, add=True), database) for f in fields]
    names = ", ".join(database.ops.quote_name(field.column) for field in fields)
    marks = (_mark(database, *pair) for pair in zip(fields, values, strict=True))
    return names, ", ".join(marks), values


def _equations(
    database: Any, model: type[Model], values: Mapping[str, Any]
) -> tuple[list[str], list[Any]]:
    texts, given = [], []
    for name, value in values.items():
        field: Any = model._meta.get_field(name)
        prepared = field.get_db_prep_save(value, database)
        given.append(prepared)
        texts.append(
            f"{database.ops.quote_name(field.column)} = {_mark(database, field, prepared)}"
        )
    return texts, given


def _mark(database: Any, field: Any, value: Any) -> str:
    # MySQL would take bytes for text; Django's own mark for them has changed its name in 6.1.
    is_binary = isinstance(field, BinaryField) and value is not None
    return "_binary %s" if is_binary and database.vendor == "mysql" else "%s"
