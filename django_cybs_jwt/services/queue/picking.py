"""The row that a worker was rung for, and what it must know to begin: one statement."""

# ruff: noqa: SLF001  # _meta and _state are how Django tells a model's columns
from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from uuid import UUID

from django.db import connection

from django_cybs_jwt.models import Organization, OutboundRequest
from django_cybs_jwt.services import statements
from django_cybs_jwt.services.queue import bulkheads
from django_cybs_jwt.services.queue.bulkheads import Beside

_OF_OWNER: Final = ("org_id", "host", "live")
"""What stays as it is once an organization has a key; nothing else of it is needed here."""


def pick(request_id: UUID | str) -> tuple[OutboundRequest, Beside] | None:
    """The row with its organization, and how many of its own are on the wire at this moment."""
    key = OutboundRequest._meta.pk.get_db_prep_value(request_id, connection)
    text = _text(connection.vendor, bulkheads.columns("r"))
    for row in OutboundRequest.objects.raw(text, [key]):
        told = vars(row)
        row.organization = _owner(row, told)
        return row, Beside(of_merchant=told["of_merchant"], of_host=told["of_host"])
    return None


@cache
def _text(_vendor: str, beside: str) -> str:
    own = statements.columns(OutboundRequest, "r")
    of_owner = ", ".join(f"o.{name} AS owner_{name}" for name in _OF_OWNER)
    rows, owners = statements.table(OutboundRequest), statements.table(Organization)
    return (
        f"SELECT {own}, {of_owner}, {beside} "  # noqa: S608
        f"FROM {rows} r JOIN {owners} o ON o.id = r.organization_id WHERE r.id = %s"
    )


def _owner(row: OutboundRequest, told: Mapping[str, Any]) -> Organization:
    names = [field.attname for field in Organization._meta.concrete_fields]
    facts = {"id": told["organization_id"]} | {n: told[f"owner_{n}"] for n in _OF_OWNER}
    facts["live"] = bool(facts["live"])
    known = [name for name in names if name in facts]  # in the order of the model's columns
    return Organization.from_db(row._state.db, known, [facts[name] for name in known])
