"""One request out, one reply back: the part of both clients that does no waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from math import isfinite
from typing import Any, Final

import httpx

from django_cybs_jwt.client.config import Config, KeyFacts
from django_cybs_jwt.client.deadline import Deadline
from django_cybs_jwt.client.outcome import Phases
from django_cybs_jwt.exceptions import InvalidHost, MessageError, OutcomeUnknown, ReplyUnreadable
from django_cybs_jwt.protocol import (
    MerchantKeys,
    OpenedResponse,
    ReplyKeys,
    SealedRequest,
    open_response,
    seal_request,
)
from django_cybs_jwt.protocol.headers import Headers
from django_cybs_jwt.protocol.keys import ResponseMLE
from django_cybs_jwt.texts import Text

PLACEHOLDER: Final = "gateway.invalid"
"""Stands for the merchant's host until its keys, and with them the host, are known."""

MLE: Final = "cybs_mle"
"""Request extension: True or False overrides the operation's MLE policy."""

# httpcore obeys these over the URL.
_REDIRECTING: Final = frozenset({"target", "sni_hostname"})

# What httpx adds to every request on its own, a caller may have set, and the seal writes itself.
WRITTEN_BY_SEAL: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "user-agent"}
)
# What described the encrypted body and is wrong for the plain one.
_OF_THE_WIRE: Final = frozenset({"content-length", "content-encoding", "transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What is known about one sealed request and its answer; the repr shows no body, no token.

    Found at `response.extensions["cybs"]`; *kid* signed, *response_kid* opened the reply,
    *phases* tells where the time went, *key_now* what is stored of the signing key by now.
    """

    sealed: SealedRequest
    keys: MerchantKeys
    encrypted: bool
    response_kid: str | None
    correlation_id: str | None
    phases: Phases
    key_now: Callable[[], KeyFacts | None] = field(repr=False)

    @property
    def kid(self) -> str:
        """The key ID that signed."""
        return self.sealed.kid

    @property
    def request_encrypted(self) -> bool:
        """True when the request's body went out encrypted."""
        return self.sealed.request_encrypted

    @property
    def jti(self) -> str:
        """The token's unique id."""
        return self.sealed.jti


def seal(
    config: Config, keys: MerchantKeys, request: httpx.Request
) -> tuple[SealedRequest, httpx.Request]:
    """The sealed message, and the httpx request that carries exactly its bytes."""
    if request.url.host not in (PLACEHOLDER, keys.host):
        raise InvalidHost(
            "{merchant} sends to {host}, not to {asked!r}. Give a path.",
            merchant=keys.merchant,
            host=keys.host,
            asked=request.url.host[:253],
        )
    _check_extensions(request.extensions, keys.host)
    headers = [pair for pair in request.headers.multi_items() if pair[0] not in WRITTEN_BY_SEAL]
    sealed = seal_message(
        config,
        keys,
        request.method,
        request.url.raw_path.decode("ascii"),
        request.content,
        mle=request.extensions.get(MLE),
        headers=headers,
    )
    extensions = {name: value for name, value in request.extensions.items() if name != MLE}
    return sealed, carry(config, sealed, extensions)


def _check_extensions(extensions: Mapping[str, Any], host: str) -> None:
    for name in _REDIRECTING & extensions.keys():
        if name == "sni_hostname" and extensions[name] in (host, None):
            continue  # behind an address of BASE_URLS the gateway's certificate is asked for
        raise MessageError(
            "The extension {name!r} would send the message elsewhere than was signed. Leave it "
            "out.",
            name=name,
        )
    if not _are_durations(extensions.get("timeout", {})):
        raise MessageError("A timeout is a finite number of seconds above zero, or left out.")


def _are_durations(steps: object) -> bool:
    return isinstance(steps, Mapping) and all(
        each is None or (isinstance(each, int | float) and isfinite(each) and each > 0)
        for each in steps.values()
    )


def seal_message(
    config: Config,
    keys: MerchantKeys,
    method: str,
    path: str,
    body: bytes,
    *,
    mle: bool | None,
    headers: Headers,
) -> SealedRequest:
    """Seal by the configuration, and count the use of the key."""
    now = config.clock()
    sealed = seal_request(
        keys,
        method,
        path,
        body,
        now=now,
        jti=config.new_jti(),
        operations=config.operations,
        profile=config.profile(keys.host),
        mle=mle,
        response_mle=response_mle(config, keys),
        headers=headers,
    )
    config.signed(keys.signing.reference, now)
    return sealed


def open_message(config: Config, keys: ReplyKeys, body: bytes, *, status: int) -> OpenedResponse:
    """Open by the configuration, and count the use of the key."""
    opened = open_response(keys, body, status=status, response_mle=response_mle(config, keys))
    if opened.kid is not None:
        config.opened(keys.response_keys[opened.kid].reference, config.clock())
    return opened


def carry(config: Config, sealed: SealedRequest, extensions: dict[str, Any]) -> httpx.Request:
    """Put a sealed message into an httpx request for the configured origin."""
    carried = httpx.Request(
        sealed.method,
        config.origin(sealed.host) + sealed.path,
        headers=[
            *sealed.headers,
            ("accept-encoding", "identity"),
            ("user-agent", "django-cybs-jwt"),
        ],
        content=sealed.body or None,
        extensions=extensions,
    )
    if not carried.url.raw_path.endswith(sealed.path.encode("ascii")):
        raise MessageError("The HTTP library would change the signed path. Nothing was sent.")
    return carried


def response_mle(config: Config, keys: ReplyKeys) -> ResponseMLE:
    """The organization's own policy, else the project's."""
    return keys.response_mle or config.response_mle


def open_reply(
    config: Config,
    keys: MerchantKeys,
    sealed: SealedRequest,
    wire: httpx.Response,
    reading: Reading,
    phases: Phases,
) -> httpx.Response:
    """The plain response for the caller; its request stays the sealed one."""
    correlation_id = wire.headers.get("v-c-correlation-id")
    try:
        opened = open_message(config, keys, reading.body(), status=wire.status_code)
    except ReplyUnreadable as error:
        # No response reaches the caller, so what the gateway's support asks for goes with it.
        error.facts |= {"status_code": wire.status_code, "correlation_id": correlation_id}
        if kid := error.facts.get("kid"):
            error.text = Text("{told} Its key ID is {kid!r:.80}.", told=error.text, kid=kid)
        raise
    exchange = Exchange(
        sealed=sealed,
        keys=keys,
        encrypted=opened.encrypted,
        response_kid=opened.kid,
        correlation_id=correlation_id,
        phases=phases,
        key_now=partial(config.key_now, keys.signing.reference),
    )
    response = httpx.Response(
        wire.status_code,
        headers=[pair for pair in wire.headers.multi_items() if pair[0] not in _OF_THE_WIRE],
        content=opened.content,
        request=wire.request,
        extensions={**wire.extensions, "cybs": exchange},
    )
    response.elapsed = timedelta(seconds=time.monotonic() - reading.deadline.began)
    return response


class Reading:
    """Collects a reply within its size and its time."""

    def __init__(self, config: Config, deadline: Deadline, *, patience: float) -> None:
        self.deadline = deadline
        self._parts: list[bytes] = []
        self._left = config.longest_reply
        # Our own connections end the wait themselves. A transport of the caller's knows of no
        # deadline: it may go on for one read more, and a reply that is whole by then counts.
        self._patience = patience

    def take(self, part: bytes) -> None:
        """Keep one part, or raise when the reply is too long or too late."""
        self._left -= len(part)
        if self._left < 0:
            raise ReplyUnreadable("The reply is longer than any the gateway sends; reading ended.")
        if self.deadline.overrun() > self._patience:
            raise OutcomeUnknown("The reply did not end in time. Look the transaction up.")
        self._parts.append(part)

    def body(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)
