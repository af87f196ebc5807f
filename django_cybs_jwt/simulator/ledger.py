"""What was processed: the evidence that nobody was charged twice.

Card data never gets here; an entry has no field that could hold it.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

from .refusals import Refusal, RefusalError


class Operation(StrEnum):
    """What a request asks for."""

    AUTHORIZATION = "authorization"
    SALE = "sale"
    CAPTURE = "capture"
    REFUND = "refund"
    CREDIT = "credit"
    REVERSAL = "reversal"
    VOID = "void"
    TOKENIZE = "tokenize"
    ACCOUNT_VALIDATION = "account_validation"
    SEARCH = "search"
    TRANSACTION = "transaction"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"An operation is one of {', '.join(cls)}; {str(value)[:80]!r} is none.")


MONEY = frozenset(
    {
        Operation.AUTHORIZATION,
        Operation.SALE,
        Operation.CAPTURE,
        Operation.REFUND,
        Operation.CREDIT,
    }
)
UNDOES = frozenset({Operation.REVERSAL, Operation.VOID})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One operation. *original* is the id of the entry that it follows.

    *flag* is what the search shows of it, where that is not what its status says.
    """

    id: str
    org_id: str
    operation: Operation
    status: str
    processed_at: datetime
    code: str = ""
    transaction_id: str = ""
    amount: str = ""
    currency: str = ""
    original: str = ""
    flag: str = ""
    request_encrypted: bool
    response_encrypted: bool
    signed_by: str
    kid: str
    jti: str

    @property
    def succeeded(self) -> bool:
        """False for a decline."""
        return self.status != "DECLINED"


class Ledger:
    """Entries in order; *index_lag* is how many seconds the search takes to see one.

    What was refused is no entry, but the search shows it too, as the gateway's does.
    """

    def __init__(self, *, index_lag: float = 0.0) -> None:
        self.index_lag = index_lag
        self._entries: dict[str, Entry] = {}
        self._refused: dict[str, Entry] = {}
        self._codes: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
        self._transaction_ids: dict[tuple[str, str], Entry] = {}
        self._undone: set[str] = set()
        self._lock = threading.Lock()

    def record(self, entry: Entry) -> None:
        """Process *entry*, or raise RefusalError and leave everything as it was."""
        key = (entry.org_id, entry.transaction_id)
        unique = entry.operation in MONEY and bool(entry.transaction_id)
        with self._lock:
            if entry.original in self._undone:
                raise _already_undone(entry.operation)
            if unique and key in self._transaction_ids:
                raise RefusalError(
                    Refusal.REPEATED_TRANSACTION_ID,
                    "this merchant used the transactionId before",
                    field="clientReferenceInformation.transactionId",
                )
            if unique:
                self._transaction_ids[key] = entry
            if entry.operation in UNDOES:
                self._undone.add(entry.original)
            self._entries[entry.id] = entry
            self._codes[entry.org_id, entry.code].append(entry)

    def refuse(self, entry: Entry) -> None:
        """Let the search show *entry*, of which nothing was processed."""
        with self._lock:
            self._refused[entry.id] = entry
            self._codes[entry.org_id, entry.code].append(entry)

    def find(self, org_id: str, entry_id: str) -> Entry | None:
        """The merchant's entry with this id."""
        with self._lock:
            entry = self._entries.get(entry_id)
        return entry if entry is not None and entry.org_id == org_id else None

    def find_shown(self, org_id: str, entry_id: str) -> Entry | None:
        """The same, or what was refused under this id."""
        with self._lock:
            entry = self._entries.get(entry_id) or self._refused.get(entry_id)
        return entry if entry is not None and entry.org_id == org_id else None

    def find_by_transaction_id(self, org_id: str, transaction_id: str) -> Entry | None:
        """The merchant's money call that carried this transactionId."""
        with self._lock:
            return self._transaction_ids.get((org_id, transaction_id))

    def search(self, org_id: str, code: str, now: datetime) -> list[Entry]:
        """The merchant's indexed entries with this reference code, oldest first."""
        with self._lock:
            found = list(self._codes.get((org_id, code), []))
        return [entry for entry in found if self.is_indexed(entry, now)]

    def is_indexed(self, entry: Entry, now: datetime) -> bool:
        """True once the search may see *entry*."""
        return (now - entry.processed_at).total_seconds() >= self.index_lag

    def entries(self) -> list[Entry]:
        """Everything processed, oldest first."""
        with self._lock:
            return list(self._entries.values())

    def is_undone(self, entry: Entry) -> bool:
        """True once *entry* was voided or reversed."""
        with self._lock:
            return entry.id in self._undone

    def as_json(self) -> list[dict[str, object]]:
        """List the entries as JSON objects."""
        with self._lock:
            return [_as_json(e, undone=e.id in self._undone) for e in self._entries.values()]


def _as_json(entry: Entry, *, undone: bool) -> dict[str, object]:
    document = asdict(entry)
    document["transactionId"] = document.pop("transaction_id")
    document["processed_at"] = entry.processed_at.astimezone(UTC).isoformat()
    return document | {"undone": undone}


def _already_undone(operation: Operation) -> RefusalError:
    reason = {
        Operation.VOID: "NOT_VOIDABLE",
        Operation.REFUND: "CAPTURE_ALREADY_VOIDED",
    }.get(operation, "AUTH_ALREADY_REVERSED")
    return RefusalError(
        Refusal.ALREADY_UNDONE, "the original was voided or reversed", reason=reason
    )
