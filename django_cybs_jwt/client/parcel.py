"""One request between sealing and sending: to be written down before it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from django_cybs_jwt.client.config import Config
from django_cybs_jwt.client.deadline import Deadline
from django_cybs_jwt.client.exchange import Reading, open_reply, seal
from django_cybs_jwt.client.outcome import Trace
from django_cybs_jwt.protocol import MerchantKeys, SealedRequest


@dataclass(slots=True, eq=False, kw_only=True)
class Parcel:
    """A signed message that is sent at most once; *trace* tells how far it came.

    The repr shows no body and no token.
    """

    config: Config = field(repr=False)
    keys: MerchantKeys = field(repr=False)
    sealed: SealedRequest
    request: httpx.Request = field(repr=False)
    trace: Trace = field(default_factory=Trace, repr=False)
    reading: Reading | None = field(default=None, repr=False)

    @classmethod
    def pack(cls, config: Config, keys: MerchantKeys, request: httpx.Request) -> Parcel:
        """Seal *request*; raises MessageError."""
        sealed, carried = seal(config, keys, request)
        return cls(config=config, keys=keys, sealed=sealed, request=carried)

    @property
    def expires_at(self) -> datetime:
        """When the token ends: a gateway that has not received it by then refuses it."""
        return datetime.fromtimestamp(self.sealed.claims["exp"], UTC)

    @property
    def base_url(self) -> str:
        """Where BASE_URLS sends it; empty where it goes to the host itself."""
        return self.config.base_urls.get(self.sealed.host, "")

    @property
    def unread(self) -> bytes:
        """What has arrived of the reply, as it was on the wire."""
        return self.reading.body() if self.reading is not None else b""

    def depart(self, config: Config, trace: Callable[..., object]) -> Reading:
        """Make the request ready for the wire, where *trace* is told each event; time runs."""
        own = self.request.extensions.get("timeout", config.timeout.steps)
        seconds = config.timeout.total
        if own != config.timeout.steps:  # a call that may wait longer than others says so
            seconds = max(seconds, own.get("read") or 0.0)
        bounded = {name: min(each or seconds, seconds) for name, each in own.items()}
        extensions = {"trace": trace, "timeout": bounded}
        self.request.extensions = {**self.request.extensions, **extensions}
        self.reading = Reading(config, Deadline(seconds), patience=bounded.get("read", seconds))
        return self.reading

    def open(self, wire: httpx.Response, reading: Reading) -> httpx.Response:
        """The plain response."""
        phases = self.trace.phases()
        return open_reply(self.config, self.keys, self.sealed, wire, reading, phases)
