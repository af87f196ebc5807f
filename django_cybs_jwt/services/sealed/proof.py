"""Open every sealed secret where it stands, and say which do not and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet

from django_cybs_jwt.exceptions import KeyBlocked, KeyMismatch, KeyUnavailable, SecretIntegrityError
from django_cybs_jwt.models import KeyEvent
from django_cybs_jwt.sealing import kek_id_of
from django_cybs_jwt.services import keys, keyset
from django_cybs_jwt.services.sealed.columns import TABLES, SealedTable, one_line
from django_cybs_jwt.texts import Text


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, with what, and the cure."""

    finding: str
    subject: str
    detail: str
    organization: str = ""


@dataclass(slots=True)
class Proof:
    """What came of it: how many secrets opened per key-encryption key, and what is wrong."""

    opened: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    blocked: Counter[str] = field(default_factory=Counter)
    unwrapped: dict[str, list[Finding]] = field(default_factory=dict)
    rows: list[Finding] = field(default_factory=list)

    def findings(self) -> Iterator[Finding]:
        """By key-encryption key where it explains many rows, else row by row."""
        for kek_id, count in self.missing.items():
            cure = Text("Put it back from the ring's backup, or restore the database of this ring.")
            yield Finding(
                "kek-missing",
                kek_id,
                Text("{count} secrets need it. {cure}", count=count, cure=cure),
            )
        for kek_id, count in self.blocked.items():
            cure = Text(
                "`manage.py cybs_keyring unblock {kek_id}`, then `manage.py cybs_rewrap`.",
                kek_id=kek_id,
            )
            yield Finding(
                "kek-blocked",
                kek_id,
                Text("{count} secrets are sealed under it. {cure}", count=count, cure=cure),
            )
        for kek_id, rows in self.unwrapped.items():
            if len(rows) > 1 and not self.opened[kek_id]:
                detail = Text(
                    "None of its {count} secrets opens: another key has its name. "
                    "Put the right one back from a backup.",
                    count=len(rows),
                )
                yield Finding("kek-wrong", kek_id, detail)
            else:
                yield from rows
        yield from self.rows


def prove(*, sample: int | None = None) -> Proof:
    """Open every secret, or those of *sample* rows drawn at random; nothing is cached or kept."""
    proof = Proof()
    for table in TABLES:
        for page in _pages(table, sample):
            told = _told_at_import(page)
            for row in page:
                for column in table.proofs:
                    if getattr(row, column) is not None:
                        _prove(proof, table, row, column, told.get(row.pk, ""))
    return proof


def _pages(table: SealedTable, sample: int | None) -> Iterator[list[Any]]:
    rows = table.rows()
    if sample is None:
        yield from keyset.pages(rows)
        return
    drawn = list(rows.order_by("?").values_list("pk", flat=True)[:sample])
    for start in range(0, len(drawn), 500):
        yield list(rows.filter(pk__in=drawn[start : start + 500]))


def _told_at_import(page: Sequence[Any]) -> dict[Any, str]:
    told: QuerySet[KeyEvent] = KeyEvent.objects.filter(
        credential__in=[row.pk for row in page], action="import", outcome=KeyEvent.Outcome.DONE
    )
    return dict(told.values_list("credential", "reason"))


def _prove(proof: Proof, table: SealedTable, row: Any, column: str, told: str) -> None:
    blob = getattr(row, column)
    try:
        table.proofs[column](row)
    except (KeyUnavailable, KeyBlocked) as error:
        counter = proof.missing if isinstance(error, KeyUnavailable) else proof.blocked
        counter[error.facts["kek_id"]] += 1
    except SecretIntegrityError as error:
        found = _finding("damaged", row, column, f"{one_line(error)} ({error.facts.get('part')})")
        if error.facts.get("part") == "data key":
            proof.unwrapped.setdefault(error.facts["kek_id"], []).append(found)
        else:
            proof.rows.append(found)
    except KeyMismatch as error:
        detail = Text(
            "{error} If all shared secrets say so, the ring's index_key was replaced.",
            error=one_line(error),
        )
        proof.rows.append(_finding("mismatch", row, column, detail))
    else:
        proof.opened[kek_id_of(blob)] += 1
        if not keys.is_as_imported(column, blob, told):
            detail = Text("It opens, and it is not what was imported: an older one was put back.")
            proof.rows.append(_finding("replayed", row, column, detail))


def _finding(name: str, row: Any, column: str, detail: str) -> Finding:
    return Finding(name, f"{type(row).__name__} {row.pk} {column}", detail, str(row.organization))
