"""Why a 401 came back: what was signed, held against what went out and is stored. Redacted.

The gateway holds the claims against the request that reaches it and against the key it knows. So
does this, with the request as it left and the key as it is stored now; never with a copy of what
the claims were made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from django_cybs_jwt.client.config import KeyFacts
from django_cybs_jwt.client.exchange import Exchange
from django_cybs_jwt.protocol.claims import body_digest
from django_cybs_jwt.protocol.hosts import PRESETS
from django_cybs_jwt.protocol.keys import SigningKey
from django_cybs_jwt.texts import Text, listed

# The token is back-dated 5 s and lives 120 s; a clock further off than this is a first suspect.
CLOCK_TOLERANCE: Final = 15.0

# One that was rotated out is still known at the gateway for as long as nobody deletes it there.
_GOOD: Final = {"ACTIVE": True, "SUSPENDED": False, "COMPROMISED": False, "DESTROYED": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was compared; *ok* is None where only the gateway can tell."""

    what: str
    sent: str
    expected: str
    ok: bool | None
    hint: str = ""

    @property
    def text(self) -> Text:
        """One line, marked."""
        mark = {True: "ok  ", False: "BAD ", None: "?   "}[self.ok]
        parts = [listed([f"  {mark} ", self.what, ": ", self.sent], "")]
        if self.ok is False:
            parts.append(Text(" (expected {expected})", expected=self.expected))
        return listed([*parts, *(["  ", self.hint] if self.hint else [])], "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Every finding of one exchange, suspects first in `suspects`."""

    status_code: int
    correlation_id: str | None
    findings: tuple[Finding, ...]

    @property
    def suspects(self) -> tuple[Finding, ...]:
        """What is wrong for sure."""
        return tuple(finding for finding in self.findings if finding.ok is False)

    @property
    def text(self) -> Text:
        """All of it, a line each: English where it is stored, else as its reader speaks."""
        head = Text(
            "HTTP {status_code}, correlation id {correlation_id}",
            status_code=self.status_code,
            correlation_id=self.correlation_id or "none",
        )
        return listed([head, *(finding.text for finding in self.findings)], "\n")

    def __str__(self) -> str:
        return str(self.text)


def explain(
    exchange: Exchange,
    *,
    status_code: int,
    date: str | None,
    request: httpx.Request,
    received_at: datetime,
) -> Explanation:
    """Compare claims, key and clock; *request* is the one that went out."""
    stored = exchange.key_now()
    key = stored or _as_signed(exchange.keys.signing)
    findings = (
        *_names(exchange, key),
        *_request(exchange, request),
        _clock(date, received_at),
        *_key(exchange, key, received_at, is_stored=stored is not None),
    )
    return Explanation(
        status_code=status_code, correlation_id=exchange.correlation_id, findings=findings
    )


def _as_signed(key: SigningKey) -> KeyFacts:
    return KeyFacts(owner=key.owner, kid=key.kid, state=key.state, not_after=key.not_after)


def _names(exchange: Exchange, key: KeyFacts) -> list[Finding]:
    claims, common_name = exchange.sealed.claims, exchange.keys.signing.common_name
    findings = [
        _compare("iss", claims["iss"], key.owner, Text("The organization that created the key.")),
        _compare("v-c-merchant-id", claims["v-c-merchant-id"], exchange.keys.merchant),
        _compare("kid", exchange.kid, key.kid),
    ]
    if common_name:
        findings.append(
            Finding(
                what=Text("certificate CN"),
                sent=common_name,
                expected=key.owner,
                ok=True if common_name.lower() == key.owner.lower() else None,
                hint=Text("A gateway's P12 names its organization; your own certificate need not."),
            )
        )
    if claims["iss"] != claims["v-c-merchant-id"]:
        findings.append(
            _unknown(
                Text("meta key"), str(claims["iss"]), Text("Is it assigned to this merchant there?")
            )
        )
    return findings


def _request(exchange: Exchange, request: httpx.Request) -> list[Finding]:
    claims = exchange.sealed.claims
    body = request.content
    return [
        *_encryption(exchange.sealed.request_mle_kid),
        _host(claims.get("request-host"), request.url.host),
        _compare("request-method", str(claims["request-method"]), request.method.lower()),
        _path(str(claims["request-resource-path"]), request.url.raw_path.decode("ascii")),
        _compare(
            "digest", str(claims.get("digest", "none")), body_digest(body) if body else "none"
        ),
        _unknown(
            Text("response MLE kid"),
            exchange.sealed.response_kid or "none",
            Text("Is it the same owner's key?"),
        ),
    ]


def _encryption(kid: str | None) -> list[Finding]:
    if kid is None:
        return []
    hint = Text("Is it the gateway's current certificate for this host?")
    return [_unknown(Text("request MLE kid"), kid, hint)]


def _host(claimed: str | None, called: str) -> Finding:
    if claimed is None:
        return _unknown(
            "request-host", "none", Text("Some hosts ask for this claim: see PROFILES.")
        )
    if claimed != called and called not in PRESETS:
        hint = Text(
            "Sent to {called} by BASE_URLS: does that pass it on to this host?", called=called
        )
        return _unknown("request-host", claimed, hint)
    elsewhere = Text("BASE_URLS sends it to another host of the gateway.")
    return _compare("request-host", claimed, called, "" if claimed == called else elsewhere)


def _path(claimed: str, target: str) -> Finding:
    if claimed == target.partition("?")[0] != target:
        hint = Text("The query is left out. Most hosts want it: see PROFILES.")
        return _unknown("request-resource-path", claimed, hint)
    is_prefixed = claimed != target and target.endswith(claimed)
    hint = Text("BASE_URLS puts a path in front: what stands there must take it off.")
    return _compare("request-resource-path", claimed, target, hint if is_prefixed else "")


def _clock(date: str | None, received_at: datetime) -> Finding:
    if date is None:
        return _unknown("clock", Text("no Date header came back"), "")
    try:
        offset = (received_at.astimezone(UTC) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError, OverflowError):  # the last for a zone of a million years
        return _unknown("clock", Text("the Date header is unreadable"), "")
    is_right = abs(offset) <= CLOCK_TOLERANCE
    return Finding(
        what="clock",
        sent=Text("{offset:+.0f} s against the gateway", offset=offset),
        expected=Text("within {most:.0f} s", most=CLOCK_TOLERANCE),
        ok=is_right,
        hint="" if is_right else Text("Synchronise this machine's clock (NTP)."),
    )


def _key(exchange: Exchange, key: KeyFacts, now: datetime, *, is_stored: bool) -> list[Finding]:
    ends = key.not_after
    return [
        Finding(
            what=Text("key state"),
            sent=key.state or Text("not stored"),
            expected="ACTIVE",
            ok=_GOOD.get(key.state),
            hint="" if is_stored or not key.state else Text("As it was when this was signed."),
        ),
        Finding(
            what=Text("key ends"),
            sent=ends.astimezone(UTC).isoformat() if ends else Text("not known"),
            expected=Text("after {now:%Y-%m-%d}", now=now.astimezone(UTC)),
            ok=ends > now if ends else None,
        ),
        _unknown(
            Text("key at the gateway"),
            exchange.kid,
            Text("Is it still listed there, for this owner?"),
        ),
    ]


def _compare(what: str, sent: str, expected: str, hint: str = "") -> Finding:
    return Finding(what=what, sent=sent, expected=expected, ok=sent == expected, hint=hint)


def _unknown(what: str, sent: str, hint: str) -> Finding:
    return Finding(what=what, sent=sent, expected="", ok=None, hint=hint)
