"""The answer of the one-call form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Self

import httpx

from django_cybs_jwt.client.exchange import Exchange
from django_cybs_jwt.client.explain import Explanation, explain
from django_cybs_jwt.exceptions import GatewayRefused, ReplyUnreadable
from django_cybs_jwt.texts import Text

# The gateway's reasons are words in capitals; anything else may quote the request.
_REASON: Final = re.compile(r"[A-Z][A-Z_]{1,63}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A gateway's answer, decrypted.

    *key_id* signed the request; *request_encrypted* and *encrypted* tell the two directions apart.
    *elapsed* is from sealing to the last byte, *request* what went out. The repr shows no body.
    """

    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    key_id: str
    request_encrypted: bool
    encrypted: bool
    correlation_id: str | None
    elapsed: timedelta
    exchange: Exchange = field(repr=False)
    received_at: datetime = field(repr=False)
    request: httpx.Request = field(repr=False)

    @classmethod
    def of(cls, response: httpx.Response, *, received_at: datetime) -> Self:
        """Read what Client and AsyncClient return."""
        exchange: Exchange = response.extensions["cybs"]
        return cls(
            status_code=response.status_code,
            headers=response.headers,
            content=response.content,
            key_id=exchange.kid,
            request_encrypted=exchange.request_encrypted,
            encrypted=exchange.encrypted,
            correlation_id=exchange.correlation_id,
            elapsed=response.elapsed,
            exchange=exchange,
            received_at=received_at,
            request=response.request,
        )

    @property
    def is_success(self) -> bool:
        """True for 2xx, which a decline is too: read `status` in the body."""
        return 200 <= self.status_code < 300

    def json(self) -> Any:
        """The body as data; ReplyUnreadable when it is not JSON."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            raise ReplyUnreadable("The answer is not JSON.") from None

    def raise_for_status(self) -> Self:
        """Return self for 2xx, else raise GatewayRefused with the gateway's own reason."""
        if self.is_success:
            return self
        reason = self._reason()
        told = Text("{told}.", told=f"HTTP {self.status_code} {reason}".rstrip())
        if self.status_code == 401:
            told = Text("{told} explain() compares what was signed.", told=told)
        raise GatewayRefused(
            told,
            status_code=self.status_code,
            reason=reason,
            correlation_id=self.correlation_id,
        )

    def explain(self) -> Explanation:
        """Compare claims, wire, key and clock as the gateway does; no secret in it.

        Where keys are stored the key is read again; `cybs.aexplain` does so in an event loop.
        """
        return explain(
            self.exchange,
            status_code=self.status_code,
            date=self.headers.get("date"),
            request=self.request,
            received_at=self.received_at,
        )

    def _reason(self) -> str:
        try:
            reason = json.loads(self.content)["reason"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""
        return reason if isinstance(reason, str) and _REASON.match(reason) else ""
