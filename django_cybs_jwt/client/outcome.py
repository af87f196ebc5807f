"""Did bytes leave, and where did the time go? Read from the connection's own trace events.

Never from an exception's name, which may mean either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from django_cybs_jwt.client.unsent import is_of_certificate, not_sent
from django_cybs_jwt.exceptions import CybsError, OutcomeUnknown, SendError

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Seconds that each step of an exchange took; None where it did not take place or none told.

    *connect* and *tls* are None on a connection that was open already. *request* went until its
    last byte was written, *headers* until those of the answer were there, *body* until its last
    byte. With a proxy, *connect* is to the proxy and what it is asked for counts to none of them.
    """

    connect: float | None = None
    tls: float | None = None
    request: float | None = None
    headers: float | None = None
    body: float | None = None


class Trace:
    """Collects what happened on the connection for one request; *watch* is told each event."""

    def __init__(self, watch: Callable[[str], None] | None = None) -> None:
        self.events: list[str] = []
        self.status: int | None = None
        self._moments: list[float] = []
        self._end: float | None = None
        self._watch = watch
        self._answered = False
        self._tunnelling = False
        self._refused_certificate = False
        self._peer = ""

    def record(self, name: str, info: Mapping[str, Any]) -> None:
        """The trace callback for a synchronous client."""
        if self._is_of_tunnel(name, info):
            return
        self.events.append(name)
        self._moments.append(time.monotonic())
        if name.endswith("connect_tcp.started") and "host" in info:
            self._peer = f"{info['host']}:{info.get('port')}"
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

    def ended(self) -> None:
        """Note that the last byte of the answer is there."""
        self._end = time.monotonic()

    def phases(self) -> Phases:
        """Where the time went."""
        headers = self._moment("receive_response_headers.complete")
        return Phases(
            connect=self._took("connect_tcp.started", "connect_tcp.complete"),
            tls=self._took("start_tls.started", "start_tls.complete"),
            request=self._took("send_request_headers.started", "send_request_body.complete"),
            headers=self._took(
                "receive_response_headers.started", "receive_response_headers.complete"
            ),
            body=self._end - headers if self._end and headers else None,
        )

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

    def classify(self, error: Exception, *, base_url: str = "") -> SendError:
        """NotSent where it is proved that nothing left, else OutcomeUnknown.

        *base_url* is where BASE_URLS sends the host, to be named where nobody listens there.
        """
        if self.proves_not_sent(error):
            self._refused_certificate = is_of_certificate(error)
            return not_sent(error, self._peer, base_url)
        return OutcomeUnknown(
            "The request left and no usable answer came back ({error}). "
            "Look the transaction up before sending it again.",
            error=type(error).__name__,
        )

    @contextmanager
    def classified(self) -> Iterator[None]:
        """Whatever fails inside once a byte may have left is an unknown outcome: a bug, too."""
        try:
            yield
        except CybsError:
            raise
        except Exception as error:
            if self.sent:
                raise self.classify(error) from error
            raise

    def _is_of_tunnel(self, name: str, info: Mapping[str, Any]) -> bool:
        """True for CONNECT, which goes to the proxy, and for what it answers: none is ours."""
        if not name.startswith(_EXCHANGE):
            return False
        if "request" in info:  # told where a step starts, not where it is complete
            self._tunnelling = info["request"].method == b"CONNECT"
        return self._tunnelling

    def _took(self, begin: str, end: str) -> float | None:
        began, ended = self._moment(begin), self._moment(end)
        return ended - began if began is not None and ended is not None else None

    def _moment(self, event: str) -> float | None:
        """When it was told last."""
        told = zip(self.events, self._moments, strict=True)
        return max((moment for name, moment in told if name.endswith(event)), default=None)

    def _saw(self, event: str) -> bool:
        return any(name.endswith(event) for name in self.events)


def _status(result: Any) -> int | None:
    """HTTP/1.1 reports (version, status, ...), HTTP/2 (status, ...)."""
    members = result if isinstance(result, tuple) else ()
    return next((member for member in members if isinstance(member, int)), None)
