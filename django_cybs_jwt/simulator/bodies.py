"""The gateway's own answers, word for word where the words are known."""

from __future__ import annotations

import http
import secrets
from datetime import UTC, datetime
from typing import Any

from .ledger import Entry, Operation
from .messages import SimAnswer, json_answer
from .refusals import RefusalError

_APPLICATIONS = {
    Operation.AUTHORIZATION: "ics_auth",
    Operation.SALE: "ics_bill",
    Operation.CAPTURE: "ics_bill",
    Operation.REFUND: "ics_credit",
    Operation.CREDIT: "ics_credit",
    Operation.REVERSAL: "ics_auth_reversal",
    Operation.VOID: "ics_void",
}


# What the search says of a transaction: reasonCode and rCode by flag. An E is an error, after
# which nobody knows; a D may be a decline, a refusal, or an authorization that was held back.
FLAGS = {
    "SOK": ("100", "1"),
    "DCARDREFUSED": ("203", "0"),
    "DAVSNO": ("200", "0"),
    "DMISSINGFIELD": ("101", "0"),
    "DINVALIDDATA": ("102", "0"),
    "ESYSTEM": ("150", "-1"),
    "ETIMEOUT": ("151", "-1"),
}
_SHOWN = {"SOK": "TRANSMITTED", "DCARDREFUSED": "DECLINED"}


def new_id() -> str:
    """A request id as the gateway makes them: 22 digits."""
    return str(10**21 + secrets.randbelow(9 * 10**21))


def utc(now: datetime) -> str:
    """A time as the gateway writes it, in whole seconds and with a Z."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def refused(error: RefusalError, now: datetime) -> SimAnswer:
    """What the gateway answers when it refuses: never the typed reason."""
    if error.status == 401:
        document = authentication_failed()
    elif error.status == 404:
        document = not_found()
    else:
        document = invalid_request(error.reason, now, field=error.field)
    return json_answer(error.status, document, refusal=error.refusal)


def authentication_failed() -> dict[str, Any]:
    """The body of a 401."""
    return {"response": {"rmsg": "Authentication Failed"}}


def not_found() -> dict[str, Any]:
    """The body of a 404."""
    return {"message": "The requested resource does not exist"}


def invalid_request(reason: str, now: datetime, *, field: str = "") -> dict[str, Any]:
    """The body of a 400."""
    if reason == "MISSING_FIELD":
        message = "Declined - The request is missing one or more fields"
    else:
        message = "Declined - One or more fields in the request contains invalid data"
    document = {
        "id": new_id(),
        "submitTimeUtc": utc(now),
        "status": "INVALID_REQUEST",
        "reason": reason,
        "message": message,
    }
    details = [{"field": field, "reason": reason}]
    return document | ({"details": details} if field else {})


def server_error(reason: str, now: datetime) -> dict[str, Any]:
    """The body of a 502, and of a 201 that hides a processor's time-out."""
    return {
        "id": new_id(),
        "submitTimeUtc": utc(now),
        "status": "SERVER_ERROR",
        "reason": reason,
        "message": "Error - General system failure.",
    }


def edge_page(status: int) -> SimAnswer:
    """What a load balancer says in the gateway's place: a page, not JSON."""
    phrase = http.HTTPStatus(status).phrase
    page = f"<html><head><title>{status} {phrase}</title></head><body>{phrase}</body></html>"
    return SimAnswer(status, {"content-type": "text/html"}, page.encode())


def summary(entry: Entry) -> dict[str, Any]:
    """One hit of a transaction search; it carries no status, as the gateway's carries none."""
    verdict = _verdict(entry)
    application = {"name": _APPLICATIONS.get(entry.operation, ""), **verdict}
    return {
        "id": entry.id,
        "submitTimeUtc": utc(entry.processed_at),
        "merchantId": entry.org_id,
        "applicationInformation": verdict | {"applications": [application]},
        **reference(entry),
        "orderInformation": amount_details(entry),
    }


def details(entry: Entry, *, undone: bool) -> dict[str, Any]:
    """One transaction in full."""
    found = summary(entry)
    found["submitTimeUTC"] = found.pop("submitTimeUtc")
    status = "VOIDED" if undone else _SHOWN.get(_flag(entry))
    if status is not None:
        found["applicationInformation"]["status"] = status
    return found


def reference(entry: Entry) -> dict[str, Any]:
    """The caller's own reference, echoed as far as it was given."""
    members = {"code": entry.code, "transactionId": entry.transaction_id}
    return {"clientReferenceInformation": {k: v for k, v in members.items() if v}}


def amount_details(entry: Entry) -> dict[str, Any]:
    """An order's amount."""
    return {"amountDetails": {"totalAmount": entry.amount, "currency": entry.currency}}


def _verdict(entry: Entry) -> dict[str, Any]:
    reason, code = FLAGS[_flag(entry)]
    return {"reasonCode": reason, "rCode": code, "rFlag": _flag(entry)}


def _flag(entry: Entry) -> str:
    return entry.flag or ("SOK" if entry.succeeded else "DCARDREFUSED")
