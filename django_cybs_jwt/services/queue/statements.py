"""The statements that every send costs, put together by hand.

Django builds each anew at every call, and takes five times as long for it as the database does.
Only for columns of the default database; whatever is asked now and then is a QuerySet.
"""

# ruff: noqa: SLF001  # _meta and _state are how Django tells a model's columns
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import BinaryField, Model
from django.db.models.constants import OnConflict


def update(model: type[Model], where: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """True where a row that is as *where* says was changed."""
    database = _database()
    conditions, sought = _equations(database, model, where)
    changes, given = _equations(database, model, values)
    changed, named = ", ".join(changes), database.ops.quote_name(model._meta.db_table)
    text = f"UPDATE {named} SET {changed} WHERE {' AND '.join(conditions)}"  # noqa: S608
    with database.cursor() as cursor:
        cursor.execute(text, [*given, *sought])
        return bool(cursor.rowcount)


def insert(row: Model, *, unless_there: bool = False) -> bool:
    """Store a new row. With *unless_there*, False where a unique column has its value already.

    An IntegrityError would spoil the caller's transaction on PostgreSQL, a savepoint around it
    costs two round trips, and `bulk_create(ignore_conflicts=True)` does not say what it did.
    """
    database = _database()
    conflict = OnConflict.IGNORE if unless_there else None
    key = row._meta.pk
    fields = [f for f in row._meta.concrete_fields if f is not key or row.pk is not None]
    values = [f.get_db_prep_save(f.pre_save(row, add=True), database) for f in fields]
    begin = database.ops.insert_statement(on_conflict=conflict)
    named = database.ops.quote_name(row._meta.db_table)
    names = ", ".join(database.ops.quote_name(field.column) for field in fields)
    marks = ", ".join(_mark(database, *pair) for pair in zip(fields, values, strict=True))
    end = database.ops.on_conflict_suffix_sql(fields, conflict, [], [])
    with database.cursor() as cursor:
        cursor.execute(f"{begin} {named} ({names}) VALUES ({marks}) {end}", values)
        stored = bool(cursor.rowcount)
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
