"""The endpoints: from an authenticated, decrypted request to an answer and a ledger entry."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from . import bodies
from .calls import CODE, CURRENCY, TRANSACTION_ID, Call
from .ledger import MONEY, UNDOES, Entry, Ledger, Operation
from .refusals import Refusal, RefusalError

NEWEST_FIRST: Final = "submitTimeUtc:desc"
DECLINED_AMOUNT: Final = Decimal("13.13")
"""A payment of this amount, in any currency, is declined."""

_COLLECTIONS: Final[Mapping[str, frozenset[Operation]]] = {
    "payments": frozenset({Operation.AUTHORIZATION, Operation.SALE}),
    "captures": frozenset({Operation.CAPTURE}),
    "refunds": frozenset({Operation.REFUND}),
    "credits": frozenset({Operation.CREDIT}),
}
# What may follow what, and the gateway's word when it may not.
_FOLLOWS: Final[Mapping[Operation, tuple[frozenset[Operation], str]]] = {
    Operation.CAPTURE: (frozenset({Operation.AUTHORIZATION}), "MISSING_AUTH"),
    Operation.REFUND: (frozenset({Operation.SALE, Operation.CAPTURE}), "INVALID_DATA"),
    Operation.REVERSAL: (frozenset({Operation.AUTHORIZATION}), "MISSING_AUTH"),
    Operation.VOID: (
        frozenset({Operation.SALE, Operation.CAPTURE, Operation.REFUND, Operation.CREDIT}),
        "NOT_VOIDABLE",
    ),
}
_STATUSES: Final = {
    Operation.AUTHORIZATION: "AUTHORIZED",
    Operation.SALE: "AUTHORIZED",
    Operation.CAPTURE: "PENDING",
    Operation.REFUND: "PENDING",
    Operation.CREDIT: "PENDING",
    Operation.REVERSAL: "REVERSED",
    Operation.VOID: "VOIDED",
    Operation.TOKENIZE: "COMPLETED",
    Operation.ACCOUNT_VALIDATION: "COMPLETED",
}
_QUERY = re.compile(
    re.escape(CODE) + r':(?:"([^"\\]*)"|([^\s"\\]+))(?: AND submitTimeUtc:[\[{].*[\]}])?'
)

Reply = tuple[int, dict[str, Any]]


def perform(call: Call, ledger: Ledger) -> Reply:
    """Process *call* and return status and document, or raise RefusalError."""
    try:
        return _HANDLERS[call.operation](call, ledger)
    except RefusalError as error:
        if call.operation in MONEY | UNDOES:
            _show_refused(call, ledger, error)
        raise


def _show_refused(call: Call, ledger: Ledger, error: RefusalError) -> None:
    flag = "DMISSINGFIELD" if error.refusal is Refusal.MISSING_FIELD else "DINVALIDDATA"
    # What is not even text has no reference to be found by.
    with contextlib.suppress(RefusalError):
        ledger.refuse(_entry(replace(call, flag=flag), status="INVALID_REQUEST"))


def _pay(call: Call, ledger: Ledger) -> Reply:
    amount = call.amount()
    declined = Decimal(amount) == DECLINED_AMOUNT
    entry = _entry(call, amount=amount, status="DECLINED" if declined else "")
    ledger.record(entry)
    reply = _reply(entry, bodies.amount_details(entry), "orderInformation")
    if declined:
        reply["errorInformation"] = {
            "reason": "PROCESSOR_DECLINED",
            "message": "Decline - General decline of the card.",
        }
    return 201, reply


def _credit(call: Call, ledger: Ledger) -> Reply:
    entry = _entry(call, amount=call.amount())
    ledger.record(entry)
    amounts = {"creditAmount": entry.amount, "currency": entry.currency}
    return 201, _reply(entry, amounts, "creditAmountDetails")


def _capture(call: Call, ledger: Ledger) -> Reply:
    entry = _entry(call, amount=call.amount(), original=_original(call, ledger))
    ledger.record(entry)
    return 201, _reply(entry, bodies.amount_details(entry), "orderInformation")


def _refund(call: Call, ledger: Ledger) -> Reply:
    entry = _entry(call, amount=call.amount(), original=_original(call, ledger))
    ledger.record(entry)
    amounts = {"refundAmount": entry.amount, "currency": entry.currency}
    return 201, _reply(entry, amounts, "refundAmountDetails")


def _undo(call: Call, ledger: Ledger) -> Reply:
    original = _original(call, ledger)
    entry = _entry(call, amount=original.amount, original=original)
    ledger.record(entry)
    word, name = (
        ("reversedAmount", "reversalAmountDetails")
        if call.operation is Operation.REVERSAL
        else ("voidAmount", "voidAmountDetails")
    )
    return 201, _reply(entry, {word: entry.amount, "currency": entry.currency}, name)


def _search(call: Call, ledger: Ledger) -> Reply:
    query = call.value("query")
    found = _QUERY.fullmatch(query)
    if found is None:
        raise RefusalError(
            Refusal.INVALID_DATA, f'the simulator searches {CODE}:"..." only', field="query"
        )
    hits = ledger.search(call.caller.merchant, found[1] or found[2] or "", call.now)
    if call.value("sort", NEWEST_FIRST) == NEWEST_FIRST:
        hits.reverse()
    limit, offset = call.whole("limit", 20), call.whole("offset", 0)
    page = [bodies.summary(entry) for entry in hits[offset : offset + limit]]
    return 201, {
        "searchId": bodies.new_id(),
        "save": False,
        "query": query,
        "offset": offset,
        "limit": limit,
        "count": len(page),
        "totalCount": len(hits),
        "submitTimeUtc": bodies.utc(call.now),
        "_embedded": {"transactionSummaries": page},
    }


def _transaction(call: Call, ledger: Ledger) -> Reply:
    entry = ledger.find_shown(call.caller.merchant, call.resource)
    if entry is None or not ledger.is_indexed(entry, call.now):
        raise RefusalError(Refusal.NOT_FOUND, "no such transaction, or it is not indexed yet")
    return 200, bodies.details(entry, undone=ledger.is_undone(entry))


def _tokenize(call: Call, ledger: Ledger) -> Reply:
    ledger.record(_entry(call))
    token = {"resource": "instrumentIdentifier", "httpStatus": 200, "id": bodies.new_id()}
    return 200, {"responses": [token]}


def _validate_account(call: Call, ledger: Ledger) -> Reply:
    entry = _entry(call)
    ledger.record(entry)
    return 201, {
        **bodies.reference(entry),
        "requestId": entry.id,
        "submitTimeUtc": bodies.utc(call.now),
        "bankAccountValidation": {"resultCode": "00", "resultMessage": "Valid"},
    }


_HANDLERS: Final[Mapping[Operation, Callable[[Call, Ledger], Reply]]] = {
    Operation.AUTHORIZATION: _pay,
    Operation.SALE: _pay,
    Operation.CAPTURE: _capture,
    Operation.REFUND: _refund,
    Operation.CREDIT: _credit,
    Operation.REVERSAL: _undo,
    Operation.VOID: _undo,
    Operation.SEARCH: _search,
    Operation.TRANSACTION: _transaction,
    Operation.TOKENIZE: _tokenize,
    Operation.ACCOUNT_VALIDATION: _validate_account,
}


def _original(call: Call, ledger: Ledger) -> Entry:
    """The entry named in the path, or by transactionId where a reply was lost."""
    merchant = call.caller.merchant
    allowed, reason = _FOLLOWS[call.operation]
    if call.collection:
        allowed &= _COLLECTIONS[call.collection]
        entry = ledger.find(merchant, call.resource)
    else:
        entry = ledger.find_by_transaction_id(merchant, call.required(TRANSACTION_ID))
        if entry is None and call.operation is Operation.VOID:
            # The guide's own example of a time-out void that is declined; it names no field.
            reason = "INVALID_DATA"
    if entry is None or entry.operation not in allowed or not entry.succeeded:
        raise RefusalError(
            Refusal.NO_SUCH_ORIGINAL,
            f"nothing there that a {call.operation} can follow",
            reason=reason,
        )
    return entry


def _entry(
    call: Call, *, amount: str = "", status: str = "", original: Entry | None = None
) -> Entry:
    return Entry(
        id=bodies.new_id(),
        org_id=call.caller.merchant,
        operation=call.operation,
        status=status or _STATUSES[call.operation],
        processed_at=call.now,
        code=call.value(CODE),
        transaction_id=call.value(TRANSACTION_ID),
        amount=amount,
        currency=call.value(CURRENCY, original.currency if original else ""),
        original=original.id if original else "",
        flag=call.flag,
        request_encrypted=call.request_encrypted,
        response_encrypted=call.response_encrypted,
        signed_by=call.caller.issuer,
        kid=call.caller.kid,
        jti=call.caller.jti,
    )


def _reply(entry: Entry, amounts: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        "id": entry.id,
        "submitTimeUtc": bodies.utc(entry.processed_at),
        "status": entry.status,
        "reconciliationId": entry.id,
        **bodies.reference(entry),
        name: dict(amounts),
    }
