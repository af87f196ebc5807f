"""What a second sending of an operation would do, and how one in doubt is cleared up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from django_cybs_jwt import conf
from django_cybs_jwt.models import OutboundRequest, Safety
from django_cybs_jwt.services.queue import payloads

Policy = Literal["repeat", "search", "void", "resend", "manual"]

# Money that the gateway itself undoes when it is given the transactionId of the lost call.
_GUARDED: Final = frozenset(
    {
        "POST /pts/v2/payments",
        "POST /pts/v2/payments/{id}/captures",
        "POST /pts/v2/payments/{id}/refunds",
        "POST /pts/v2/captures/{id}/refunds",
        "POST /pts/v2/credits",
    }
)
# They undo one named thing: the second time there is nothing left to undo.
_UNDOING: Final = frozenset(
    {
        "POST /pts/v2/payments/{id}/reversals",
        "POST /pts/v2/payments/{id}/voids",
        "POST /pts/v2/captures/{id}/voids",
        "POST /pts/v2/refunds/{id}/voids",
        "POST /pts/v2/credits/{id}/voids",
        "POST /pts/v2/reversals",
        "POST /pts/v2/voids",
    }
)
_READING: Final = frozenset({"POST /tss/v2/searches"})


POLICIES: Final[dict[Safety, frozenset[Policy]]] = {
    Safety.SAFE: frozenset(),
    Safety.REPEATABLE: frozenset(),
    # Money that the gateway is not known to undo by transactionId, nor to refuse the twin of.
    Safety.UNGUARDED: frozenset({"search", "manual"}),
    Safety.GUARDED: frozenset({"search", "void", "resend", "manual"}),
}
"""What RESOLVE can choose; for those that are repeated there is nothing to choose."""


SEARCHING: Final[frozenset[Policy]] = frozenset({"search", "void", "resend"})


def of(operation: str) -> Safety:
    """The safety of `METHOD /path/{id}`; what is not known counts as money that nobody guards."""
    method = operation.partition(" ")[0]
    if method == "GET" or operation in _READING:
        return Safety.SAFE
    if operation in _UNDOING or method in ("PUT", "DELETE"):
        return Safety.REPEATABLE
    return Safety.GUARDED if operation in _GUARDED else Safety.UNGUARDED


def policy(request: OutboundRequest) -> Policy:
    """How this request is cleared up when it is in doubt: RESOLVE, else by its safety.

    repeat  send it again; search  look it up, absent is absent
    void    the same, and undo by transactionId before it is called absent
    resend  the same as search, and send it again when it is absent; manual  a person decides

    One that cannot work, as without a transactionId, is left to a person.
    """
    if request.safety in (Safety.SAFE, Safety.REPEATABLE):
        return "repeat"
    default: Policy = "void" if request.safety == Safety.GUARDED else "manual"
    chosen = conf.current().RESOLVE.get(request.operation, default)
    works = request.transaction_id is not None and chosen in POLICIES[Safety(request.safety)]
    return chosen if works else "manual"


@dataclass(frozen=True, slots=True)
class Undo:
    """The call that undoes a lost one by its transactionId."""

    path: str
    body: dict[str, Any]


def undo(request: OutboundRequest, document: dict[str, Any]) -> Undo:
    """A reversal for an authorization, a void for everything that moves money at once."""
    reference = {
        "clientReferenceInformation": {
            "code": reference_of(request, document),
            "transactionId": request.transaction_id,
        }
    }
    order = document.get("orderInformation")
    amounts = order.get("amountDetails") if isinstance(order, dict) else None
    if request.operation != "POST /pts/v2/payments" or _moves_at_once(document):
        return Undo("/pts/v2/voids", reference)
    reversal = {"reversalInformation": {"amountDetails": amounts}} if amounts else {}
    return Undo("/pts/v2/reversals", reference | reversal)


def reference_of(request: OutboundRequest, document: dict[str, Any]) -> str:
    """The code that the gateway's search finds the request by; empty where it was sent without."""
    own = payloads.code_in(document)
    if own or request.safety != Safety.GUARDED:
        return own
    return request.transaction_id or ""


def _moves_at_once(document: dict[str, Any]) -> bool:
    """A sale, or a debit of a bank account, which knows no authorization."""
    processing, means = document.get("processingInformation"), document.get("paymentInformation")
    capture = processing.get("capture") if isinstance(processing, dict) else None
    is_debit = isinstance(means, dict) and bool(means.get("bank"))
    return is_debit or str(capture).lower() == "true"
