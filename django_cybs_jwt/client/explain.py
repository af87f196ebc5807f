"""Why a 401 came back: what was sent, held against what the gateway checks. Redacted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from django_cybs_jwt.client.exchange import Exchange
from django_cybs_jwt.protocol.claims import body_digest

# The token is back-dated 5 s and lives 120 s; a clock further off than this is a first suspect.
CLOCK_TOLERANCE: Final = 15.0


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
    target: str,
    received_at: datetime,
) -> Explanation:
    """Compare claims, key and clock; *target* is the raw path that went on the wire."""
    findings = (
        *_names(exchange),
        *_request(exchange, target),
        _clock(date, received_at),
        *_key(exchange, received_at),
    )
    return Explanation(
        status_code=status_code, correlation_id=exchange.correlation_id, findings=findings
    )


def _names(exchange: Exchange) -> list[Finding]:
    claims, signing = exchange.sealed.claims, exchange.keys.signing
    findings = [
        _compare("iss", claims["iss"], signing.owner, "The organization that created the key."),
        _compare("v-c-merchant-id", claims["v-c-merchant-id"], exchange.keys.merchant),
        _compare("kid", exchange.kid, signing.kid),
    ]
    if signing.common_name:
        findings.append(
            Finding(
                what="certificate CN",
                sent=signing.common_name,
                expected=signing.owner,
                ok=True if signing.common_name.lower() == signing.owner.lower() else None,
                hint="A gateway's P12 names its organization; your own certificate need not.",
            )
        )
    if claims["iss"] != claims["v-c-merchant-id"]:
        findings.append(
            _unknown("meta key", str(claims["iss"]), "Is it assigned to this merchant there?")
        )
    return findings


def _request(exchange: Exchange, target: str) -> list[Finding]:
    sealed = exchange.sealed
    claims = sealed.claims
    digest = str(claims.get("digest", "none"))
    return [
        _host(exchange),
        _compare("request-method", str(claims["request-method"]), sealed.method.lower()),
        _path(str(claims["request-resource-path"]), target),
        _compare("digest", digest, body_digest(sealed.body) if sealed.body else "none"),
        _unknown("response MLE kid", sealed.response_kid or "none", "Is it the same owner's key?"),
    ]


def _host(exchange: Exchange) -> Finding:
    claimed = exchange.sealed.claims.get("request-host")
    if claimed is None:
        return _unknown("request-host", "none", "Some hosts ask for this claim: see PROFILES.")
    return _compare("request-host", str(claimed), exchange.keys.host)


def _path(claimed: str, target: str) -> Finding:
    if claimed == target.partition("?")[0] != target:
        hint = "The query is left out. Most hosts want it: see PROFILES."
        return _unknown("request-resource-path", claimed, hint)
    return _compare("request-resource-path", claimed, target)


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


def _key(exchange: Exchange, now: datetime) -> list[Finding]:
    signing = exchange.keys.signing
    ends = signing.not_after
    return [
        Finding(
            what="key state",
            sent=signing.state or "not stored",
            expected="ACTIVE",
            ok={"ACTIVE": True, "SUSPENDED": False, "COMPROMISED": False}.get(signing.state),
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
