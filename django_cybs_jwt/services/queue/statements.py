"""The statements that every send costs, put together by hand.

Django builds each anew at every call, and takes five times as long for it as the database does.
Only for columns of the default database; whatever is asked now and then is a QuerySet.
"""

# ruff: noqa: SLF001  # _meta and _state are how Django tells a model's columns
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.db.models import Model
from django.db.models.constants import OnConflict


def update(model: type[Model], where: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """True where a row that is as *where* says was changed."""
    conditions, sought = _equations(model, where)
    changes, given = _equations(model, values)
    changed = ", ".join(changes)
    text = f"UPDATE {table(model)} SET {changed} WHERE {' AND '.join(conditions)}"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(text, [*given, *sought])
        return bool(cursor.rowcount)


def insert(row: Model, *, unless_there: bool = False) -> bool:
    """Store a new row. With *unless_there*, False where a unique column has its value already.

    An IntegrityError would spoil the caller's transaction on PostgreSQL, a savepoint around it
    costs two round trips, and `bulk_create(ignore_conflicts=True)` does not say what it did.
    """
    conflict = OnConflict.IGNORE if unless_there else None
    key = row._meta.pk
    fields = [f for f in row._meta.concrete_fields if f is not key or row.pk is not None]
    values = [_value(field, field.pre_save(row, add=True)) for field in fields]
    begin = connection.ops.insert_statement(on_conflict=conflict)
    names = ", ".join(map(_name, fields))
    marks = ", ".join(map(_mark, fields, values))
    end = connection.ops.on_conflict_suffix_sql(fields, conflict, [], [])
    with connection.cursor() as cursor:
        cursor.execute(f"{begin} {table(type(row))} ({names}) VALUES ({marks}) {end}", values)
        stored = bool(cursor.rowcount)
    row._state.adding = not stored
    row._state.db = connection.alias
    return stored


def table(model: type[Model]) -> str:
    """The name of its table in a statement."""
    return connection.ops.quote_name(model._meta.db_table)


def columns(model: type[Model], of: str) -> str:
    """All its columns, where its table is called *of* in the statement."""
    return ", ".join(f"{of}.{_name(field)}" for field in model._meta.concrete_fields)


def _equations(model: type[Model], values: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    fields = [model._meta.get_field(name) for name in values]
    given = list(map(_value, fields, values.values()))
    marks = map(_mark, fields, given)
    return [f"{_name(field)} = {mark}" for field, mark in zip(fields, marks, strict=True)], given


def _name(field: Any) -> str:
    return connection.ops.quote_name(field.column)


def _value(field: Any, value: Any) -> Any:
    return field.get_db_prep_save(value, connection)


def _mark(field: Any, value: Any) -> str:
    # A binary column has one of its own on MySQL.
    placeholder = getattr(field, "get_placeholder", None)
    return "%s" if placeholder is None else str(placeholder(value, None, connection))
