"""How requests leave: frozen, comparable, usable without Django."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django_cybs_jwt.protocol import DEFAULT, Operations, Profile, default_operations
from django_cybs_jwt.protocol.keys import ResponseMLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """Seconds. *connect*, *write*, *read* and *pool* bound one step each.

    *total* bounds the exchange, from the wait for a connection to the reply's last byte. A call
    that is given a longer timeout of its own may take that. Only the name resolution of the
    system, and further addresses of a host that does not answer, come on top: before any byte
    leaves.
    """

    connect: float = 3.0
    write: float = 10.0
    read: float = 65.0
    pool: float = 1.0
    total: float = 90.0

    @property
    def steps(self) -> dict[str, float]:
        """What httpx bounds by itself, under its names."""
        return {
            "connect": self.connect,
            "read": self.read,
            "write": self.write,
            "pool": self.pool,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The part of the configuration that connections are shared by."""

    proxy: str | None = field(default=None, repr=False)
    proxy_auth: tuple[str, str] | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    max_connections: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What is stored of a signing key at one moment; *owner* is the `iss` of its tokens."""

    owner: str
    kid: str
    state: str
    not_after: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Config:
    """Everything a client needs besides keys.

    *base_urls* points a gateway host at another origin, such as the simulator or an egress
    proxy; the signed `request-host` stays the gateway's.
    *longest_reply* is in bytes; *signed* and *opened* are told each use of a key's reference,
    *key_now* reads what is stored under one to explain a refusal: None where it cannot be asked.
    """

    operations: Operations = field(default_factory=default_operations)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    response_mle: ResponseMLE = "ask"
    base_urls: Mapping[str, str] = field(default_factory=dict)
    timeout: Timeout = field(default_factory=Timeout)
    route: Route = field(default_factory=Route)
    longest_reply: int = 16 * 1024 * 1024
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    signed: Callable[[str, datetime], None] = field(default=lambda _reference, _moment: None)
    opened: Callable[[str, datetime], None] = field(default=lambda _reference, _moment: None)
    key_now: Callable[[str], KeyFacts | None] = field(default=lambda _reference: None)
    new_jti: Callable[[], str] = field(default=lambda: str(uuid.uuid4()))

    def profile(self, host: str) -> Profile:
        """The wire dialect of *host*."""
        return self.profiles.get(host, DEFAULT)

    def origin(self, host: str) -> str:
        """Where requests for *host* really go."""
        return self.base_urls.get(host, f"https://{host}").rstrip("/")
