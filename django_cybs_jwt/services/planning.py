"""How PostgreSQL is asked to work on a statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def interpreted() -> Iterator[None]:
    """Without the JIT compiler, which takes seconds over conditions that run in milliseconds.

    The planner takes many alternatives in one condition for work. Holds until the transaction ends.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL jit = off")
        yield
