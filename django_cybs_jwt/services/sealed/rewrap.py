"""Move every sealed secret to the ring's primary key: the way to rotate a key-encryption key.

Only the wrapped data key of a blob changes, so versions, approvals and opened keys stay good.
Cut off anywhere it leaves every row readable; running it again goes on where it stopped. Several
at once share the work, and an import or a destroyed key beside it is never overwritten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import SealingError
from django_cybs_jwt.sealing import KeyRing, kek_id_of, needs_rewrap, rewrap
from django_cybs_jwt.services import audit
from django_cybs_jwt.services.sealed import columns as sealed_columns
from django_cybs_jwt.services.sealed.columns import TABLES, SealedTable, one_line

BATCH: Final = 500

if TYPE_CHECKING:
    from django.db.models import Field

    _Field = Field[Any, Any]


@dataclass(slots=True, kw_only=True)
class Report:
    """How far it came: *total* rows were not under *primary* when it began, *moved* are now.

    *failed* says why a secret stays where it is; *remaining* counts the rows left in the end.
    """

    primary: str
    total: int
    moved: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    remaining: int = 0

    @property
    def failed_rows(self) -> int:
        """How many rows *failed* speaks of: one may hold two secrets."""
        return len({subject.rpartition(" ")[0] for subject in self.failed})


def run(
    *,
    actor: str,
    now: datetime,
    size: int = BATCH,
    limit: int | None = None,
    dry_run: bool = False,
    after_batch: Callable[[Report], None] = lambda _report: None,
) -> Report:
    """Move at most *limit* rows in transactions of *size*; with *dry_run* only try it.

    A secret that does not open is reported and passed over.
    """
    ring = conf.keyring()
    total = sealed_columns.count_not_under(ring.primary_id)
    report = Report(primary=ring.primary_id, total=total)
    if not dry_run:
        _record("rewrap-begin", report, actor=actor, now=now)
    for table in TABLES:
        work = _Work(table, ring, report, limit, dry_run)
        for _ in work.batches(size):
            after_batch(report)
    if not dry_run:
        report.remaining = sealed_columns.count_not_under(ring.primary_id)
        _record("rewrap-end", report, actor=actor, now=timezone.now())
    return report


@dataclass(slots=True)
class _Work:
    """One table on its way to the primary key."""

    table: SealedTable
    ring: KeyRing
    report: Report
    limit: int | None
    dry_run: bool

    def batches(self, size: int) -> Iterator[None]:
        yield from self._pass_over(size, waiting=False)
        if not self.dry_run:
            # What somebody had locked: row by row, so that nothing is held while waiting.
            yield from self._pass_over(1, waiting=True)

    def _pass_over(self, size: int, *, waiting: bool) -> Iterator[None]:
        """Go through the rows in the order of their primary key, a batch per transaction."""
        last: Any = None
        while self.limit is None or self.report.moved < self.limit:
            left = size if self.limit is None else min(size, self.limit - self.report.moved)
            with transaction.atomic():
                rows = self._take(last, left, waiting=waiting)
                moved = self._move(rows)
            if not rows:
                return
            last = rows[-1].pk
            self.report.moved += moved
            yield

    def _take(self, last: Any, size: int, *, waiting: bool) -> list[Any]:
        due = self.table.not_under(self.ring.primary_id).order_by("pk")
        if last is not None:
            due = due.filter(pk__gt=last)
        ids = list(self._locked(due, waiting=waiting).values_list("pk", flat=True)[:size])
        return list(self.table.rows().filter(pk__in=ids).order_by("pk"))

    def _locked(self, due: QuerySet[Any], *, waiting: bool) -> QuerySet[Any]:
        if self.dry_run:
            return due
        # Whoever holds some rows and waits for others can be waited for: pass over what is taken.
        skips = connection.features.has_select_for_update_skip_locked
        return due.select_for_update(skip_locked=skips and not waiting)

    def _move(self, rows: Sequence[Any]) -> int:
        changes = [(row, moved) for row in rows if (moved := self._rewrapped(row))]
        if self.dry_run:
            return len(changes)
        # Rows differ in which columns are filled, and NULL equals nothing: a statement for each.
        alike = defaultdict(list)
        for row, moved in changes:
            alike[tuple(moved)].append((row, moved))
        return sum(self._write(names, some) for names, some in alike.items())

    def _rewrapped(self, row: Any) -> dict[str, bytes]:
        """New blobs for the columns of *row* that have an old one which opens."""
        moved = {}
        for name in self.table.proofs:
            subject, blob = f"{self.table.model.__name__} {row.pk} {name}", getattr(row, name)
            try:
                if blob is not None and needs_rewrap(blob, self.ring):
                    # Of a key added since this run began: a newer run has moved it there.
                    self.ring.status(kek_id_of(blob))
                    context = self.table.context(row, name)
                    moved[name] = rewrap(blob, context=context, ring=self.ring)
                    self.report.failed.pop(subject, None)
            except SealingError as error:
                self.report.failed[subject] = f"{type(error).__name__}: {one_line(error)}"
        return moved

    def _write(self, names: Sequence[str], changes: Iterable[tuple[Any, dict[str, bytes]]]) -> int:
        """Replace blobs that still are what was read; nothing newer is lost.

        In SQL: one round trip for all, where the ORM takes one for each.
        """
        meta = self.table.model._meta  # noqa: SLF001  # public, for all its name
        columns = [column for column in meta.concrete_fields if column.name in names]
        parameters = [
            (
                *(column.get_db_prep_value(moved[column.name], connection) for column in columns),
                meta.pk.get_db_prep_value(row.pk, connection),
                *(
                    column.get_db_prep_value(column.value_from_object(row), connection)
                    for column in columns
                ),
            )
            for row, moved in changes
        ]
        statement = _compare_and_set(meta.db_table, meta.pk, columns)
        with connection.cursor() as cursor:
            cursor.executemany(statement, parameters)
            return int(cursor.rowcount)


def _compare_and_set(table: str, pk: _Field, columns: Sequence[_Field]) -> str:
    quote = connection.ops.quote_name
    values = [f"{quote(str(column.column))} = %s" for column in columns]
    same = " AND ".join([f"{quote(str(pk.column))} = %s", *values])
    return f"UPDATE {quote(table)} SET {', '.join(values)} WHERE {same}"  # noqa: S608


def _record(action: str, report: Report, *, actor: str, now: datetime) -> None:
    told = f"to {report.primary}: {report.total} to move"
    if action == "rewrap-end":
        told = (
            f"to {report.primary}: {report.moved} moved, "
            f"{report.failed_rows} failed, {report.remaining} remain"
        )
    audit.record(audit.Entry(action=action, actor=actor, organization="", reason=told), now=now)
