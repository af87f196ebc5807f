"""Which operation a request asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .ledger import Operation
from .refusals import Refusal, RefusalError

_ROUTES: Final = tuple(
    (method, re.compile(pattern + "/?", re.ASCII), operation)
    for method, pattern, operation in (
        ("POST", r"/pts/v2/payments", Operation.AUTHORIZATION),
        ("POST", r"/pts/v2/(payments)/([^/]+)/captures", Operation.CAPTURE),
        ("POST", r"/pts/v2/(payments|captures)/([^/]+)/refunds", Operation.REFUND),
        ("POST", r"/pts/v2/(payments)/([^/]+)/reversals", Operation.REVERSAL),
        ("POST", r"/pts/v2/(payments|captures|refunds|credits)/([^/]+)/voids", Operation.VOID),
        ("POST", r"/pts/v2/reversals", Operation.REVERSAL),
        ("POST", r"/pts/v2/voids", Operation.VOID),
        ("POST", r"/pts/v2/credits", Operation.CREDIT),
        ("POST", r"/tss/v2/searches", Operation.SEARCH),
        ("GET", r"/tss/v2/(transactions)/([^/]+)", Operation.TRANSACTION),
        ("POST", r"/tms/v2/tokenize", Operation.TOKENIZE),
        ("POST", r"/bavs/v1/account-validations", Operation.ACCOUNT_VALIDATION),
    )
)
MLE_MANDATORY: Final = frozenset({Operation.TOKENIZE, Operation.ACCOUNT_VALIDATION})


def match(method: str, path: str) -> tuple[Operation, str, str]:
    """The operation behind a path, with the collection and id in it, or RefusalError."""
    for known, pattern, operation in _ROUTES:
        found = pattern.fullmatch(path)
        if found and known == method.upper():
            collection, resource = found.groups() if pattern.groups else ("", "")
            return operation, collection, resource
    raise RefusalError(Refusal.NOT_FOUND, "the simulator has no such endpoint")


def refine(operation: Operation, body: Mapping[str, Any]) -> Operation:
    """An authorization that captures at once is a sale."""
    processing = body.get("processingInformation")
    captures = isinstance(processing, Mapping) and processing.get("capture") is True
    return Operation.SALE if operation is Operation.AUTHORIZATION and captures else operation
