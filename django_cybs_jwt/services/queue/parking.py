"""Why a request stands, and what a person does about it: for the page, the command, the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django_cybs_jwt.models import OutboundRequest, RequestState

_LOOK: Final = "Look it up at the gateway, then settle it, or force another end."
_RETRY: Final = "Then retry it, or cancel it."

_ADVICE: Final[Mapping[str, str]] = {
    "in_doubt": f"It may have been processed, and cannot be looked up by itself. {_LOOK}",
    "processed_twice": "The gateway has it twice. Void one of the two, then reconcile it.",
    "undoing": f"Undoing it was begun, and nobody knows whether it was done. {_LOOK}",
    "unclear:UndecidedError": f"The gateway has it, and does not say what became of it. {_LOOK}",
    "unreadable": "The gateway took it, and its answer cannot be read. Import the response key, "
    "then reconcile it; or look it up at the gateway and settle it.",
    "unknown_status": f"The gateway took it, and its answer has a word unknown here. {_LOOK}",
    "deadline_passed": "Its deadline passed after it may have been processed. Look it up at the "
    "gateway, then settle it, or cancel it by force.",
    "unauthorized": f"The gateway refuses the key: read the attempt's report. {_RETRY}",
    "redirected": f"The answer was a redirect: the host or BASE_URLS is wrong. {_RETRY}",
    "certificate_refused": f"The peer's TLS certificate is not trusted: see CA_BUNDLE. {_RETRY}",
    "gateway_configuration": f"The gateway says that the merchant is not set up for this. {_RETRY}",
    "cannot_be_sent": f"The HTTP client refused the message. {_RETRY}",
    "too_many_requests": f"The gateway slows this merchant down. {_RETRY}",
    "processor_unavailable": f"The processor is away. {_RETRY}",
    "not_sent": f"The gateway was not reachable at any try. {_RETRY}",
}
_HELD: Final[Mapping[str, str]] = {
    "LiveRefused": "Its host is live, and CYBS_JWT['LIVE'] is not True for the workers.",
    "ConfigurationError": "The workers' CYBS_JWT cannot be used: see `manage.py check`.",
    "KeyRingError": "The workers have no key ring that can be used: see `manage.py check`.",
    "KeyUnavailable": "What seals it is not in the workers' key ring: put that key back.",
    "KeyBlocked": "What seals it is blocked in the key ring: unblock that key.",
}
"""Nothing is wrong with the request, so it waits for a worker that can prepare it, for ever."""
_TRIED: Final = "Nothing was sent. It is tried again every minute: mend that, or cancel it."
_UNSENT: Final = f"Nothing was sent. Mend what the reason names. {_RETRY}"
_UNCLEAR: Final = "It may have been processed, and looking it up failed. Reconcile it later."


def advice(request: OutboundRequest) -> str:
    """A sentence for whoever has to decide, or to mend something; empty where nobody has to."""
    if request.state == RequestState.QUEUED and request.reason in _HELD:
        return f"{_HELD[request.reason]} {_TRIED}"
    if request.state != RequestState.PARKED:
        return ""
    known = _ADVICE.get(request.reason)
    return known or (_UNCLEAR if request.maybe_sent else _UNSENT)
