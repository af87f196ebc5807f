"""Why a request stands, and what a person does about it: for the page, the command, the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django_cybs_jwt.models import OutboundRequest, RequestState, Safety
from django_cybs_jwt.texts import Text, listed

_LOOK: Final = Text("Look it up at the gateway, then settle it, or force another end.")
_RETRY: Final = Text("Then retry it, or cancel it.")

_ADVICE: Final[Mapping[str, str]] = {
    "in_doubt": Text(
        "It may have been processed, and cannot be looked up by itself. {cure}", cure=_LOOK
    ),
    "processed_twice": Text("The gateway has it twice. Void one of the two, then reconcile it."),
    "undoing": Text(
        "Undoing it was begun, and nobody knows whether it was done. {cure}", cure=_LOOK
    ),
    "unclear:UndecidedError": Text(
        "The gateway has it, and does not say what became of it. {cure}", cure=_LOOK
    ),
    "unclear:ContradictedError": Text(
        "The gateway answered that it took it, and shows nothing of it. {cure}", cure=_LOOK
    ),
    "unreadable": Text(
        "The gateway took it, and its answer cannot be read. Import the response key, "
        "then reconcile it; or look it up at the gateway and settle it."
    ),
    "unknown_status": Text(
        "The gateway took it, and its answer has a word unknown here. {cure}", cure=_LOOK
    ),
    "deadline_passed": Text(
        "Its deadline passed after it may have been processed. Look it up at the "
        "gateway, then settle it, or cancel it by force."
    ),
    "unauthorized": Text(
        "The gateway refuses the key: read the attempt's report. {cure}", cure=_RETRY
    ),
    "redirected": Text(
        "The answer was a redirect: the host or BASE_URLS is wrong. {cure}", cure=_RETRY
    ),
    "certificate_refused": Text(
        "The peer's TLS certificate is not trusted: see CA_BUNDLE. {cure}", cure=_RETRY
    ),
    "gateway_configuration": Text(
        "The gateway says that the merchant is not set up for this. {cure}", cure=_RETRY
    ),
    "cannot_be_sent": Text("The HTTP client refused the message. {cure}", cure=_RETRY),
    "too_many_requests": Text("The gateway slows this merchant down. {cure}", cure=_RETRY),
    "processor_unavailable": Text("The processor is away. {cure}", cure=_RETRY),
    "not_sent": Text("The gateway was not reachable at any try. {cure}", cure=_RETRY),
}
_NAMES_ITS_CURE: Final = _ADVICE.keys() - {"unreadable", "in_doubt"}
"""Of what is repeated, never reconciled."""
HELD: Final[Mapping[str, str]] = {
    "LiveRefused": Text("Its host is live, and CYBS_JWT['LIVE'] is not True for the workers."),
    "ConfigurationError": Text("The workers' CYBS_JWT cannot be used: see `manage.py check`."),
    "KeyRingError": Text("The workers have no key ring that can be used: see `manage.py check`."),
    "KeyUnavailable": Text("What seals it is not in the workers' key ring: put that key back."),
    "KeyBlocked": Text("What seals it is blocked in the key ring: unblock that key."),
    "NoKey": Text("The merchant has no key that signs: import one, or activate it."),
    "KeyNotUsable": Text("The key that signs may not be used: see the merchant's page."),
    "OrganizationInactive": Text("The merchant, or whose key signs for it, is disabled."),
    "EncryptionImpossible": Text(
        "The certificate or the key that encrypts it is missing or has ended: import it."
    ),
}
"""Nothing is wrong with the request, so it waits until it can be prepared: for ever, or until
its deadline."""
_TRIED: Final = Text("Nothing was sent. It is tried again every minute: mend that, or cancel it.")
_UNSENT: Final = Text("Nothing was sent. Mend what the reason names. {cure}", cure=_RETRY)
_AGAIN: Final = Text(
    "It does no harm a second time, and no try came to an end. {cure}", cure=_RETRY
)
_UNCLEAR: Final = Text("It may have been processed, and looking it up failed. Reconcile it later.")


def advice(request: OutboundRequest) -> str:
    """A sentence for whoever has to decide, or to mend something; empty where nobody has to."""
    if request.state == RequestState.QUEUED and request.reason in HELD:
        return listed((HELD[request.reason], _TRIED), " ")
    if request.state != RequestState.PARKED:
        return ""
    is_repeated = request.maybe_sent and request.safety in (Safety.SAFE, Safety.REPEATABLE)
    if is_repeated and request.reason not in _NAMES_ITS_CURE:
        return _AGAIN
    return _ADVICE.get(request.reason) or (_UNCLEAR if request.maybe_sent else _UNSENT)
