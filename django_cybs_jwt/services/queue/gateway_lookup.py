"""Ask the gateway what became of a request: search, look closer, undo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.utils import timezone

from django_cybs_jwt.client import Phase, Reply
from django_cybs_jwt.exceptions import CybsError, NotSent, SendError
from django_cybs_jwt.models import OutboundRequest, Safety
from django_cybs_jwt.services import sending
from django_cybs_jwt.services.queue import breakers, outcomes, payloads, safety
from django_cybs_jwt.services.queue import hits as hitting
from django_cybs_jwt.services.queue.hits import Hit
from django_cybs_jwt.services.queue.outcomes import Facts

_PAGE: Final = 100
_MOST: Final = 1000
_DONE: Final = frozenset({"VOIDED", "REVERSED"})
_ALREADY: Final = frozenset({"AUTH_ALREADY_REVERSED", "CAPTURE_ALREADY_VOIDED"})
_TRANSACTION_ID: Final = "clientReferenceInformation.transactionId"


class LookupFailedError(CybsError):
    """The gateway did not say; that is never the same as 'nothing there'.

    *after* are the seconds that it wants to be left alone.
    """

    @property
    def after(self) -> float:
        """At least so many seconds until the next look."""
        return float(self.facts.get("after", 0.0))


class UndecidedError(LookupFailedError):
    """The gateway has it, and does not know itself what became of it."""


class ContradictedError(LookupFailedError):
    """A try was answered with a 2xx whose body was lost, and the gateway shows nothing of it."""


def hits(request: OutboundRequest, document: dict[str, Any]) -> list[Hit]:
    """What the gateway has under our transactionId; LookupFailedError where it does not say."""
    code = safety.reference_of(request, document)
    if not code or payloads.UNSEARCHABLE & set(code):
        raise LookupFailedError("Its reference cannot be searched for.")
    found = _search(request, code)
    return list(_own(request, found, generated=code == request.transaction_id))


def undo(request: OutboundRequest, document: dict[str, Any]) -> bool:
    """True when the gateway undid it, False when it says that there is nothing of that id.

    Raises LookupFailedError for every other answer, or SendError when none came.
    """
    wanted = safety.undo(request, document)
    reply = _ask(request, "POST", wanted.path, json=wanted.body)
    words = _document(reply)
    reason = words.get("reason")
    if reply.is_success and words.get("status") in _DONE:
        return True
    if reply.status_code == 400 and reason in _ALREADY:
        return True
    if reply.status_code == 400 and _says_nothing_there(words):
        return False
    raise LookupFailedError(
        f"Undoing it was answered with HTTP {reply.status_code} {outcomes.word(reason)}."
    )


def _says_nothing_there(words: dict[str, Any]) -> bool:
    """Only this. NOT_VOIDABLE is also said of what is on its way to the bank, and then stands."""
    about_it = _names_no_other_field(words.get("details"))
    return words.get("reason") == "MISSING_AUTH" or (
        words.get("reason") == "INVALID_DATA" and about_it
    )


def _names_no_other_field(details: object) -> bool:
    if not isinstance(details, list):
        return details is None
    return all(isinstance(each, dict) and each.get("field") == _TRANSACTION_ID for each in details)


def _search(request: OutboundRequest, code: str) -> list[dict[str, Any]]:
    """Every transaction under that code, page by page; what is new comes last and shifts none."""
    found: list[dict[str, Any]] = []
    while True:
        page, total = _page(request, code, offset=len(found))
        found += page
        if len({str(each.get("id")) for each in found}) < len(found):
            raise LookupFailedError("The search changed while it was read.")
        if len(found) == total:
            return found
        if not page or len(found) > total or total > _MOST:
            raise LookupFailedError("More bear its reference than the search shows.")


def _page(request: OutboundRequest, code: str, *, offset: int) -> tuple[list[dict[str, Any]], int]:
    query = {
        "save": False,
        "query": f'clientReferenceInformation.code:"{code}"',
        "sort": "submitTimeUtc:asc",
        "limit": _PAGE,
        "offset": offset,
    }
    reply = _ask(request, "POST", "/tss/v2/searches", json=query)
    words = _document(reply)
    total = words.get("totalCount")
    if not reply.is_success or not isinstance(total, int) or isinstance(total, bool):
        raise LookupFailedError(f"The search was answered with HTTP {reply.status_code}.")
    embedded = words.get("_embedded")
    shown = embedded.get("transactionSummaries", []) if isinstance(embedded, dict) else []
    return [each for each in shown if isinstance(each, dict)], total


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
            yield hitting.read(summary, details)


def _details(request: OutboundRequest, summary: dict[str, Any]) -> dict[str, Any]:
    gateway_id = summary.get("id")
    if not isinstance(gateway_id, str) or not gateway_id.isalnum():
        raise LookupFailedError("A hit of the search has no id.")
    reply = _ask(request, "GET", f"/tss/v2/transactions/{gateway_id}")
    if not reply.is_success:
        raise LookupFailedError(f"Its details were answered with HTTP {reply.status_code}.")
    return _document(reply)


def _ask(request: OutboundRequest, method: str, path: str, *, json: Any = None) -> Reply:
    """One call. The breakers hear what came of it: nobody knocks here whom they would hold up."""
    try:
        reply = sending.send(_name(request), method, path, json=json)
    except SendError as error:
        if error.facts.get("error") != "PoolTimeout":  # that one is ours
            silent = "not_sent" if isinstance(error, NotSent) else "no_answer"
            breakers.learn_of_look(request, outcomes.maybe(silent))
        raise
    verdict = outcomes.judge(
        Facts(
            safety=Safety.SAFE,
            phase=Phase.ANSWERING,
            sent=True,
            status=reply.status_code,
            body=reply.content,
            retry_after=reply.headers.get("retry-after"),
        ),
        now=timezone.now(),
    )
    breakers.learn_of_look(request, verdict)
    if verdict.after:
        raise LookupFailedError(f"Answered with HTTP {reply.status_code}.", after=verdict.after)
    return reply


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
