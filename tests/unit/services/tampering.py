"""What somebody with SQL does to the audit chain; the model itself refuses all of it."""

from __future__ import annotations

from typing import Any

from django.db.models import F, QuerySet

from django_cybs_jwt.models import AuditHead, KeyEvent


def table(**where: Any) -> QuerySet[KeyEvent]:
    """The table as SQL sees it: the model's own manager refuses to change a row."""
    return QuerySet(KeyEvent).filter(**where)


def set_head(seq: int) -> None:
    """Back to an older row, as if nothing had followed."""
    AuditHead.objects.update(seq=seq, digest=table(seq=seq).get().digest if seq else "")


def shift(after: int, by: int) -> None:
    rows = table(seq__gt=after).order_by("seq" if by < 0 else "-seq")
    for pk in list(rows.values_list("pk", flat=True)):
        table(pk=pk).update(seq=F("seq") + by)


def exchange(one: int, other: int) -> None:
    first, second = table(seq=one).get().pk, table(seq=other).get().pk
    table(pk=first).update(seq=9999)
    table(pk=second).update(seq=one)
    table(pk=first).update(seq=other)


def move(source: int, target: int) -> None:
    """Take a row out and put it in elsewhere; the others close up."""
    moved = table(seq=source).get().pk
    table(pk=moved).update(seq=9999)
    shift_between(source, target)
    table(pk=moved).update(seq=target)


def shift_between(source: int, target: int) -> None:
    step = 1 if target > source else -1
    for seq in range(source + step, target + step, step):
        table(seq=seq).update(seq=seq - step)
