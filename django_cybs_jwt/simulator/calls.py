"""One call that passed the gate, and what its body says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from .authentication import Caller
from .ledger import Operation
from .refusals import Refusal, RefusalError

CODE: Final = "clientReferenceInformation.code"
TRANSACTION_ID: Final = "clientReferenceInformation.transactionId"
CURRENCY: Final = "orderInformation.amountDetails.currency"
TOTAL_AMOUNT: Final = "orderInformation.amountDetails.totalAmount"
_AMOUNT = re.compile(r"\d{1,12}(?:\.\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,6}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An operation, who asks for it, and its decrypted body.

    *flag* is what the search is to show of it, where a fault asks for that.
    """

    operation: Operation
    collection: str
    resource: str
    body: Mapping[str, Any] = field(repr=False)
    caller: Caller
    request_encrypted: bool
    response_encrypted: bool
    now: datetime
    flag: str = ""

    def value(self, path: str, default: str = "") -> str:
        """The body's text or number at a dotted *path*, as text."""
        found: Any = self.body
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is None:
            return default
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            raise RefusalError(Refusal.INVALID_DATA, "neither text nor number", field=path)
        return str(found)

    def required(self, path: str) -> str:
        """The value at *path*, which must be there."""
        found = self.value(path)
        if not found:
            raise RefusalError(
                Refusal.MISSING_FIELD, f"{path} is missing", reason="MISSING_FIELD", field=path
            )
        return found

    def amount(self) -> str:
        """The order's total, checked."""
        amount = self.required(TOTAL_AMOUNT)
        if not _AMOUNT.fullmatch(amount):
            raise RefusalError(Refusal.INVALID_DATA, "not an amount", field=TOTAL_AMOUNT)
        return amount

    def whole(self, path: str, default: int) -> int:
        """The whole number at *path*, checked."""
        value = self.value(path, str(default))
        if not _WHOLE.fullmatch(value):
            raise RefusalError(Refusal.INVALID_DATA, "not a whole number", field=path)
        return int(value)
