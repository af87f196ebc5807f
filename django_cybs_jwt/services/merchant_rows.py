"""What signing reads of a merchant whose keys are not in memory: three statements.

Put together by hand, as Django takes three times as long to build such a query as the database to
answer it. `organizations.find`, `resolution.candidates` and `gateway_certificates.candidates` ask
for the same; tests hold the two ways against each other.
"""

# ruff: noqa: S608, SLF001  # names of our own tables; _meta and _state tell a model's columns
from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

from django.db import connection
from django.db.models import Model

from django_cybs_jwt.models import (
    Credential,
    Epoch,
    GatewayCertificate,
    KeySlot,
    Organization,
    State,
)
from django_cybs_jwt.services import organizations, resolution, statements

Row = TypeVar("Row", bound=Model)

_ABOVE: Final = ("id", "org_id", "kind", "parent_id", "host", "live", "active")
_SLOT: Final = ("id", "organization_id", "purpose", "name", "coverage")
_KEY: Final = (
    "id",
    "slot_id",
    "organization_id",
    "kind",
    "key_id",
    "algorithm",
    "state",
    "sealed_secret",
    "fingerprint",
    "common_name",
    "expires_at",
    "activated_at",
    "retiring_at",
    "retired_at",
    "suspended_at",
    "compromised_at",
    "overlap_until",
    "activate_at",
    "lock_version",
)
_COUNTS: Final = (
    f"(c.state <> '{State.DESTROYED}' OR (c.activated_at IS NOT NULL AND c.retired_at IS NULL"
    " AND (c.suspended_at IS NOT NULL OR c.compromised_at IS NOT NULL)))"
)
"""`resolution.COUNTS`."""


def merchant(name: str) -> tuple[Organization, int]:
    """`organizations.find`, and the epoch at that moment: all that is read next is newer."""
    org_id, host = organizations.parts(name)
    told = [org_id, host] if host else [org_id]
    found = organizations.only(
        name, Organization.objects.raw(_merchant(connection.vendor, bool(host)), told)
    )
    facts = vars(found)
    found.parent = _above(facts, "p")
    if found.parent is not None:
        found.parent.parent = _above(facts, "g")
    return found, facts["epoch"] or 0


def keys(merchant: Organization) -> list[Credential]:
    """`resolution.candidates` of what `merchant` found."""
    if vars(merchant)["selected"]:  # by a stranger's slot, perhaps: the rare case, asked for whole
        return resolution.candidates(merchant)
    owners = {row.pk: row for row in merchant.chain()}
    text = _keys(connection.vendor, len(owners))
    found = list(Credential.objects.raw(text, _prepared(owners)))
    for row in found:
        row.organization = owners[row.organization_id]
        row.slot = _beside(KeySlot, _SLOT, vars(row), "s")
        row.selects = False  # type: ignore[attr-defined]
    return found


def certificates(owner: Organization, signing: Credential) -> list[GatewayCertificate]:
    """`gateway_certificates.candidates`."""
    told = [*_prepared([signing.pk, owner.pk]), owner.host]
    return list(GatewayCertificate.objects.raw(_certificates(connection.vendor), told))


@cache
def _merchant(_vendor: str, with_host: bool) -> str:
    table = statements.table(Organization)
    selecting = statements.table(KeySlot.merchants.through)
    return (
        f"SELECT {statements.columns(Organization, 'o')},"
        f" {_named(_ABOVE, 'p')}, {_named(_ABOVE, 'g')},"
        f" (SELECT e.value FROM {statements.table(Epoch)} e WHERE e.id = 1) AS epoch,"
        f" EXISTS(SELECT 1 FROM {selecting} m WHERE m.organization_id = o.id) AS selected"
        f" FROM {table} o LEFT JOIN {table} p ON p.id = o.parent_id"
        f" LEFT JOIN {table} g ON g.id = p.parent_id"
        f" WHERE o.org_id = %s{' AND o.host = %s' if with_host else ''}"
        f" LIMIT {organizations.MANY}"
    )


@cache
def _keys(_vendor: str, owners: int) -> str:
    return (
        f"SELECT {', '.join(f'c.{name}' for name in _KEY)}, {_named(_SLOT, 's')}"
        f" FROM {statements.table(Credential)} c JOIN {statements.table(KeySlot)} s"
        f" ON s.id = c.slot_id WHERE c.organization_id IN ({', '.join(['%s'] * owners)})"
        f" AND {_COUNTS}"
    )


@cache
def _certificates(_vendor: str) -> str:
    return (
        f"SELECT {statements.columns(GatewayCertificate, 'c')}"
        f" FROM {statements.table(GatewayCertificate)} c WHERE (c.in_use OR c.credential_id = %s)"
        " AND (c.organization_id = %s OR (c.organization_id IS NULL AND c.host = %s))"
    )


def _named(columns: tuple[str, ...], of: str) -> str:
    return ", ".join(f"{of}.{name} AS {of}_{name}" for name in columns)


def _above(told: Mapping[str, Any], of: str) -> Organization | None:
    return None if told[f"{of}_id"] is None else _beside(Organization, _ABOVE, told, of)


def _beside(model: type[Row], columns: tuple[str, ...], told: Mapping[str, Any], of: str) -> Row:
    """The row of another table that a statement told of beside its own."""
    fields = [field for field in model._meta.concrete_fields if field.attname in columns]
    values = [field.to_python(told[f"{of}_{field.attname}"]) for field in fields]
    return model.from_db(connection.alias, [field.attname for field in fields], values)


def _prepared(keys: Iterable[Any]) -> list[Any]:
    return [Organization._meta.pk.get_db_prep_value(key, connection) for key in keys]
