"""Ask the gateway what became of a request: search, look closer, undo."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from django_cybs_jwt.client import Reply
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import OutboundRequest
from django_cybs_jwt.services import sending
from django_cybs_jwt.services.queue import safety

_PAGE: Final = 20
_UNDOING: Final = frozenset({"ics_void", "ics_auth_reversal"})
_UNDONE: Final = frozenset({"VOIDED", "REVERSED"})
_ALREADY: Final = frozenset({"AUTH_ALREADY_REVERSED", "CAPTURE_ALREADY_VOIDED"})


class LookupFailedError(CybsError):
    """The gateway did not say; that is never the same as 'nothing there'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One transaction that bears our transactionId; *details* is what the gateway says of it."""

    id: str
    undoes: bool
    succeeded: bool
    details: dict[str, Any] = field(repr=False)

    @property
    def undone(self) -> bool:
        """True where it was voided or reversed since."""
        return self.status in _UNDONE

    @property
    def status(self) -> str:
        """The gateway's word for it, DECLINED for money that did not move."""
        found = _information(self.details).get("status")
        return found if isinstance(found, str) else "" if self.succeeded else "DECLINED"

    @property
    def content(self) -> bytes:
        """What stands in for the lost reply."""
        return json.dumps(self.details, separators=(",", ":")).encode()


def hits(request: OutboundRequest, document: dict[str, Any]) -> list[Hit]:
    """What the gateway has under our transactionId; LookupFailedError where it does not say."""
    code = safety.reference_of(request, document)
    if not code or set(code) & set('"\\'):
        raise LookupFailedError("Its reference cannot be searched for.")
    found = _search(request, code)
    return list(_own(request, found, generated=code == request.transaction_id))


def undo(request: OutboundRequest, document: dict[str, Any]) -> bool:
    """True when the gateway undid it, False when it says there is nothing to undo.

    Raises LookupFailedError, or SendError when no answer came.
    """
    wanted = safety.undo(request, document)
    reply = sending.send(_name(request), "POST", wanted.path, json=wanted.body)
    words = _document(reply)
    if reply.is_success and words.get("status") in _UNDONE:
        return True
    if reply.status_code == 400 and words.get("reason") in _ALREADY:
        return True
    if reply.status_code in (400, 404):
        return False
    raise LookupFailedError(f"Undoing it was answered with HTTP {reply.status_code}.")


def _search(request: OutboundRequest, code: str) -> list[dict[str, Any]]:
    query = {
        "save": False,
        "query": f'clientReferenceInformation.code:"{code}"',
        "sort": "submitTimeUtc:desc",
        "limit": _PAGE,
        "offset": 0,
    }
    reply = sending.send(_name(request), "POST", "/tss/v2/searches", json=query)
    words = _document(reply)
    total = words.get("totalCount")
    if not reply.is_success or not isinstance(total, int) or isinstance(total, bool):
        raise LookupFailedError(f"The search was answered with HTTP {reply.status_code}.")
    embedded = words.get("_embedded")
    found = embedded.get("transactionSummaries", []) if isinstance(embedded, dict) else []
    summaries = [each for each in found if isinstance(each, dict)]
    if len(summaries) != total:
        raise LookupFailedError("More bear its reference than one page of the search shows.")
    return summaries


def _own(
    request: OutboundRequest, found: list[dict[str, Any]], *, generated: bool
) -> Iterator[Hit]:
    for summary in found:
        named = _transaction_id(summary)
        if named and named != request.transaction_id:
            continue
        details = _details(request, summary)
        named = named or _transaction_id(details)
        if not named and not generated:
            raise LookupFailedError("The gateway does not say whose transaction it is.")
        if named in ("", request.transaction_id):
            yield _hit(summary, details)


def _details(request: OutboundRequest, summary: dict[str, Any]) -> dict[str, Any]:
    gateway_id = summary.get("id")
    if not isinstance(gateway_id, str) or not gateway_id.isalnum():
        raise LookupFailedError("A hit of the search has no id.")
    reply = sending.send(_name(request), "GET", f"/tss/v2/transactions/{gateway_id}")
    if not reply.is_success:
        raise LookupFailedError(f"Its details were answered with HTTP {reply.status_code}.")
    return _document(reply)


def _hit(summary: dict[str, Any], details: dict[str, Any]) -> Hit:
    information = _information(summary)
    applications = information.get("applications")
    each = applications if isinstance(applications, list) else []
    names = {one.get("name") for one in each if isinstance(one, dict)}
    return Hit(
        id=str(summary["id"]),
        undoes=bool(names & _UNDOING),
        succeeded=information.get("rFlag") == "SOK",
        details=details,
    )


def _information(document: dict[str, Any]) -> dict[str, Any]:
    found = document.get("applicationInformation")
    return found if isinstance(found, dict) else {}


def _transaction_id(document: dict[str, Any]) -> str:
    information = document.get("clientReferenceInformation")
    found = information.get("transactionId") if isinstance(information, dict) else None
    return found if isinstance(found, str) else ""


def _document(reply: Reply) -> dict[str, Any]:
    try:
        found = reply.json()
    except CybsError:
        return {}
    return found if isinstance(found, dict) else {}


def _name(request: OutboundRequest) -> str:
    return str(request.organization)
