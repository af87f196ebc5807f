"""Read a table in pages: short queries, bounded memory, nothing held open between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


def pages(rows: QuerySet[Row], *, by: str = "pk", size: int = 500) -> Iterator[list[Row]]:
    """Lists of at most *size* rows in the order of the unique column *by*.

    Rows that come in behind the page are not seen; an open cursor would lock writers out of
    SQLite for as long as it is read.
    """
    ordered = rows.order_by(by)
    page = list(ordered[:size])
    while page:
        yield page
        page = list(ordered.filter(**{f"{by}__gt": getattr(page[-1], by)})[:size])
