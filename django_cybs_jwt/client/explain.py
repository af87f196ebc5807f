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

    def __str__(self) -> str:
        marks = {True: "ok  ", False: "BAD ", None: "?   "}
        lines = [f"HTTP {self.status_code}, correlation id {self.correlation_id or 'none'}"]
        for finding in self.findings:
            line = f"  {marks[finding.ok]} {finding.what}: {finding.sent}"
            if finding.ok is False:
                line += f" (expected {finding.expected})"
            lines.append(f"{line}  {finding.hint}".rstrip())
        return "\n".join(lines)


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
        _compare("iss", claims["iss"], key.owner, "The organization that created the key."),
        _compare("v-c-merchant-id", claims["v-c-merchant-id"], exchange.keys.merchant),
        _compare("kid", exchange.kid, key.kid),
    ]
    if common_name:
        findings.append(
            Finding(
                what="certificate CN",
                sent=common_name,
                expected=key.owner,
                ok=True if common_name.lower() == key.owner.lower() else None,
                hint="A gateway's P12 names its organization; your own certificate need not.",
            )
        )
    if claims["iss"] != claims["v-c-merchant-id"]:
        findings.append(
            _unknown("meta key", str(claims["iss"]), "Is it assigned to this merchant there?")
        )
    return findings


def _request(exchange: Exchange, request: httpx.Request) -> list[Finding]:
    claims = exchange.sealed.claims
    body = request.content
    return [
        _host(claims.get("request-host"), request.url.host),
        _compare("request-method", str(claims["request-method"]), request.method.lower()),
        _path(str(claims["request-resource-path"]), request.url.raw_path.decode("ascii")),
        _compare(
            "digest", str(claims.get("digest", "none")), body_digest(body) if body else "none"
        ),
        _unknown(
            "response MLE kid",
            exchange.sealed.response_kid or "none",
            "Is it the same owner's key?",
        ),
    ]


def _host(claimed: str | None, called: str) -> Finding:
    if claimed is None:
        return _unknown("request-host", "none", "Some hosts ask for this claim: see PROFILES.")
    if claimed != called and called not in PRESETS:
        hint = f"Sent to {called} by BASE_URLS: does that pass it on to this host?"
        return _unknown("request-host", claimed, hint)
    hint = "" if claimed == called else "BASE_URLS sends it to another host of the gateway."
    return _compare("request-host", claimed, called, hint)


def _path(claimed: str, target: str) -> Finding:
    if claimed == target.partition("?")[0] != target:
        hint = "The query is left out. Most hosts want it: see PROFILES."
        return _unknown("request-resource-path", claimed, hint)
    is_prefixed = claimed != target and target.endswith(claimed)
    hint = "BASE_URLS puts a path in front: what stands there must take it off." * is_prefixed
    return _compare("request-resource-path", claimed, target, hint)


def _clock(date: str | None, received_at: datetime) -> Finding:
    if date is None:
        return _unknown("clock", "no Date header came back", "")
    try:
        offset = (received_at.astimezone(UTC) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):
        return _unknown("clock", "the Date header is unreadable", "")
    return Finding(
        what="clock",
        sent=f"{offset:+.0f} s against the gateway",
        expected=f"within {CLOCK_TOLERANCE:.0f} s",
        ok=abs(offset) <= CLOCK_TOLERANCE,
        hint="" if abs(offset) <= CLOCK_TOLERANCE else "Synchronise this machine's clock (NTP).",
    )


def _key(exchange: Exchange, key: KeyFacts, now: datetime, *, is_stored: bool) -> list[Finding]:
    ends = key.not_after
    return [
        Finding(
            what="key state",
            sent=key.state or "not stored",
            expected="ACTIVE",
            ok=_GOOD.get(key.state),
            hint="" if is_stored or not key.state else "As it was when this was signed.",
        ),
        Finding(
            what="key ends",
            sent=ends.astimezone(UTC).isoformat() if ends else "not known",
            expected=f"after {now.astimezone(UTC):%Y-%m-%d}",
            ok=ends > now if ends else None,
        ),
        _unknown("key at the gateway", exchange.kid, "Is it still listed there, for this owner?"),
    ]


def _compare(what: str, sent: str, expected: str, hint: str = "") -> Finding:
    return Finding(what=what, sent=sent, expected=expected, ok=sent == expected, hint=hint)


def _unknown(what: str, sent: str, hint: str) -> Finding:
    return Finding(what=what, sent=sent, expected="", ok=None, hint=hint)
