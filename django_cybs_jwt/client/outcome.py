"""Did bytes leave? Read from the connection's own trace events, not from an exception's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from django_cybs_jwt.exceptions import NotSent, OutcomeUnknown, SendError

# Without trace events, as with a transport of the caller's own, only these prove it.
_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
)


class Trace:
    """Collects what happened on the connection for one request."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._answered = False

    def record(self, name: str, info: Mapping[str, Any]) -> None:
        """The trace callback for a synchronous client."""
        # CONNECT goes to the proxy and carries nothing of the request.
        if getattr(info.get("request"), "method", None) != b"CONNECT":
            self.events.append(name)

    async def arecord(self, name: str, info: Mapping[str, Any]) -> None:
        """The trace callback for an asynchronous client."""
        self.record(name, info)

    def answered(self) -> None:
        """Note that an answer has begun, also where a transport reports no events."""
        self._answered = True

    @property
    def sent(self) -> bool:
        """True when at least the first byte of a request may have left."""
        return self._answered or any(
            name.endswith("send_request_headers.started") for name in self.events
        )

    def classify(self, error: Exception) -> SendError:
        """NotSent where it is proved that nothing left, else OutcomeUnknown."""
        kind = type(error).__name__
        if not self.sent and (self.events or isinstance(error, _BEFORE_SENDING)):
            return NotSent(f"Nothing was sent ({kind}); sending again is safe.", error=kind)
        return OutcomeUnknown(
            f"The request left and no usable answer came back ({kind}). "
            "Look the transaction up before sending it again.",
            error=kind,
        )
