"""Every column that holds a sealed secret: what a rewrap must move and the doctor must open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import BinaryField, F, Func, Model, Q, QuerySet

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import Credential, OutboundRequest
from django_cybs_jwt.sealing import Context, beginnings, open_blob
from django_cybs_jwt.services.keys import sealing_context
from django_cybs_jwt.services.opened_keys import open_anew
from django_cybs_jwt.services.queue import payloads


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A model with sealed columns, what binds their blobs, and the relations that takes.

    *proofs* maps each column to what opens a row's blob and holds it against the row.
    """

    model: type[Model]
    context: Callable[[Any, str], Context]
    related: tuple[str, ...]
    proofs: Mapping[str, Callable[[Any], object]]

    def rows(self) -> QuerySet[Any]:
        """All rows, past any manager of the model, with what `context` takes."""
        rows: QuerySet[Any] = QuerySet(self.model)
        return rows.select_related(*self.related)

    def under(self, kek_id: str, field: str) -> QuerySet[Any]:
        """The rows with a secret in *field* that is sealed under this key-encryption key."""
        return self._starting(kek_id).filter(self._begins(kek_id, field))

    def not_under(self, kek_id: str) -> QuerySet[Any]:
        """The rows with a secret sealed under another, or damaged so far that it names none."""
        other = Q()
        for field in self.proofs:
            # Of a blob without a byte there is no beginning: NULL on some databases.
            elsewhere = ~self._begins(kek_id, field) | Q(**{f"{field}_start__isnull": True})
            other |= Q(**{f"{field}__isnull": False}) & elsewhere
        return self._starting(kek_id).filter(other)

    def _begins(self, kek_id: str, field: str) -> Q:
        return Q(**{f"{field}_start__in": beginnings(kek_id)})

    def _starting(self, kek_id: str) -> QuerySet[Any]:
        # In the database: a table that is done is passed over without reading its blobs.
        length = len(beginnings(kek_id)[0])
        starts = {
            f"{field}_start": Func(
                F(field), 1, length, function="SUBSTR", output_field=BinaryField()
            )
            for field in self.proofs
        }
        starting: QuerySet[Any] = self.rows().alias(**starts)
        return starting


def _open_original(credential: Credential) -> bytes:
    context = sealing_context(credential, "sealed_p12")
    return open_blob(credential.sealed_p12, context=context, ring=conf.keyring())


TABLES: Final = (
    SealedTable(
        model=Credential,
        context=sealing_context,
        related=("organization",),
        proofs={"sealed_secret": open_anew, "sealed_p12": _open_original},
    ),
    SealedTable(
        model=OutboundRequest,
        context=payloads.context,
        related=("organization",),
        proofs={"sealed_payload": payloads.open_payload, "sealed_reply": payloads.open_reply},
    ),
)


def count_under(kek_id: str) -> int:
    """How many secrets are sealed under this key-encryption key."""
    return sum(table.under(kek_id, field).count() for table in TABLES for field in table.proofs)


def count_not_under(kek_id: str) -> int:
    """How many rows have a secret under any other."""
    return sum(table.not_under(kek_id).count() for table in TABLES)


def one_line(error: CybsError) -> str:
    """The message of an error that speaks of one row of many, in English."""
    return " ".join(error.english.split())
