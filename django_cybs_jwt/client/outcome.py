"""Did bytes leave? Read from the connection's own trace events, not from an exception's name."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from enum import StrEnum
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
# Whose trace events are of a request; the others are of the connection.
_EXCHANGE = ("http11.", "http2.")


class Phase(StrEnum):
    """How far an exchange came."""

    WAITING = "waiting"  # for a connection; nothing has happened yet
    CONNECTING = "connecting"
    TLS = "tls"
    CERTIFICATE = "certificate"  # the peer's was refused
    SENDING = "sending"  # bytes leave; the body is not out
    SENT = "sent"  # all of it is out, no answer has begun
    ANSWERING = "answering"  # a status came, the body not whole


class Trace:
    """Collects what happened on the connection for one request; *watch* is told each event."""

    def __init__(self, watch: Callable[[str], None] | None = None) -> None:
        self.events: list[str] = []
        self.status: int | None = None
        self._watch = watch
        self._answered = False
        self._tunnelling = False
        self._refused_certificate = False

    def record(self, name: str, info: Mapping[str, Any]) -> None:
        """The trace callback for a synchronous client."""
        if self._is_of_tunnel(name, info):
            return
        self.events.append(name)
        if name.endswith("receive_response_headers.complete"):
            self.answered(_status(info.get("return_value")))
        if self._watch is not None:
            self._watch(name)

    async def arecord(self, name: str, info: Mapping[str, Any]) -> None:
        """The trace callback for an asynchronous client."""
        self.record(name, info)

    def answered(self, status: int | None) -> None:
        """Note that an answer has begun, also where a transport reports no events."""
        self._answered = True
        self.status = status

    @property
    def sent(self) -> bool:
        """True when at least the first byte of a request may have left."""
        return self._answered or self._saw("send_request_headers.started")

    @property
    def phase(self) -> Phase:
        """How far it came."""
        if self._answered:
            return Phase.ANSWERING
        if self._saw("send_request_body.complete"):
            return Phase.SENT
        if self.sent:
            return Phase.SENDING
        if self._refused_certificate:
            return Phase.CERTIFICATE
        if self._saw("start_tls.started"):
            return Phase.TLS
        return Phase.CONNECTING if self.events else Phase.WAITING

    @property
    def reused(self) -> bool:
        """True when the request went out on a connection that was open already."""
        return self.sent and bool(self.events) and not self._saw("connect_tcp.started")

    def proves_not_sent(self, error: BaseException | None = None) -> bool:
        """True where it is proved that nothing left; *error* counts where no events are told."""
        return not self.sent and (bool(self.events) or isinstance(error, _BEFORE_SENDING))

    def classify(self, error: Exception) -> SendError:
        """NotSent where it is proved that nothing left, else OutcomeUnknown."""
        kind = type(error).__name__
        if self.proves_not_sent(error):
            self._refused_certificate = _is_of_certificate(error)
            return NotSent(f"Nothing was sent ({kind}); sending again is safe.", error=kind)
        return OutcomeUnknown(
            f"The request left and no usable answer came back ({kind}). "
            "Look the transaction up before sending it again.",
            error=kind,
        )

    def _is_of_tunnel(self, name: str, info: Mapping[str, Any]) -> bool:
        """True for CONNECT, which goes to the proxy, and for what it answers: none is ours."""
        if not name.startswith(_EXCHANGE):
            return False
        if "request" in info:  # told where a step starts, not where it is complete
            self._tunnelling = info["request"].method == b"CONNECT"
        return self._tunnelling

    def _saw(self, event: str) -> bool:
        return any(name.endswith(event) for name in self.events)


def _status(result: Any) -> int | None:
    """HTTP/1.1 reports (version, status, ...), HTTP/2 (status, ...)."""
    members = result if isinstance(result, tuple) else ()
    return next((member for member in members if isinstance(member, int)), None)


def _is_of_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
