"""What one try came to: sent or not, processed or not. Pure; docs/queue.md has the whole table.

A status alone is no verdict: a 201 may carry PROCESSOR_TIMEOUT, and then nobody knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

from django_cybs_jwt.client import Phase
from django_cybs_jwt.models import Attempt, Safety

Kind = Attempt.Kind


class Then(StrEnum):
    """What follows from a verdict."""

    END = "end"
    RETRY = "retry"
    DOUBT = "doubt"
    PARK = "park"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about one try.

    *phase* is how far it came, *error* the class name of what failed, *status* and *body* the
    answer; *body* is None where it did not come or did not open. *earlier* is True where an
    attempt before this one may have been processed.
    """

    safety: str
    phase: Phase
    sent: bool
    reused: bool = False
    error: str = ""
    status: int | None = None
    body: bytes | None = None
    retry_after: str | None = None
    earlier: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The class of a try, what follows, and at least how many seconds later.

    *counts* is False for what says nothing against the gateway; *ails* is True where the gateway
    itself failed, as it would whoever asked.
    """

    kind: Kind
    then: Then
    reason: str
    after: float = 0.0
    counts: bool = True
    outcome: str = ""
    gateway_id: str = ""
    ails: bool = False


_WORD: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}\Z")
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}\Z")

_UNDECIDED: Final = frozenset(
    {"PROCESSOR_TIMEOUT", "SERVER_TIMEOUT", "SERVICE_TIMEOUT", "SYSTEM_ERROR"}
)
_DEFINITE: Final = frozenset({400, 402, 403, 404, 405, 406, 409, 410, 412, 413, 415, 422, 424})
# What a 2xx says of a payment, capture, refund or credit; all of it ends the request.
_WORDS_FOR_MONEY: Final = frozenset(
    {
        *("AUTHORIZED", "PARTIAL_AUTHORIZED", "AUTHORIZED_PENDING_REVIEW"),
        *("AUTHORIZED_RISK_DECLINED", "PENDING_AUTHENTICATION", "PENDING_REVIEW", "PENDING"),
        *("TRANSMITTED", "ACCEPTED", "COMPLETED", "DECLINED", "REJECTED", "INVALID_REQUEST"),
    }
)
UNREADABLE: Final = "unreadable"
UNKNOWN_STATUS: Final = "unknown_status"
REPLY_LOST: Final = "reply_lost"
UNREAD: Final = (UNREADABLE, REPLY_LOST)
"""Of a try whose reply may be kept as it was on the wire."""
TAKEN: Final = (UNREADABLE, UNKNOWN_STATUS)
"""After such a 2xx it was processed, whatever it came to: neither sent again nor undone."""
UNAUTHORIZED: Final = "unauthorized"
TOO_MANY: Final = "too_many_requests"
_A_MINUTE: Final = 60.0
_SHORTEST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 3600.0
_OUR_OWN_MISTAKES: Final = frozenset({"LocalProtocolError", "UnsupportedProtocol", "InvalidURL"})


def judge(facts: Facts, *, now: datetime) -> Verdict:
    """The verdict; never raises, and says MAYBE where it does not know."""
    if facts.status is None or facts.body is None:
        return _without_answer(facts)
    words = _words(facts.body)
    verdict = _by_status(facts, words, now)
    return replace(
        verdict,
        outcome=word(words.get("status")) or word(words.get("reason")),
        gateway_id=identifier(words.get("id")),
    )


def word(told: object) -> str:
    """One of the gateway's own words; nothing that could quote the request gets into a column."""
    return told if isinstance(told, str) and _WORD.match(told) else ""


def identifier(told: object) -> str:
    """An id of the gateway's, empty for what is none."""
    return told if isinstance(told, str) and _ID.match(told) else ""


def maybe(reason: str) -> Verdict:
    """It may have been processed."""
    return Verdict(kind=Kind.MAYBE, then=Then.DOUBT, reason=reason)


def _without_answer(facts: Facts) -> Verdict:
    if not facts.sent:
        return _not_sent(facts)
    if facts.status is not None:
        lost = facts.error not in ("MLEDecryptError", "ReplyNotEncrypted", "ReplyUnreadable")
        took_it = 200 <= facts.status < 300 and facts.phase == Phase.ANSWERING
        return replace(maybe(UNREADABLE if took_it and not lost else REPLY_LOST), ails=lost)
    return maybe({Phase.SENDING: "incomplete"}.get(facts.phase, "no_answer"))


def _not_sent(facts: Facts) -> Verdict:
    retry = Verdict(kind=Kind.NOT_SENT, then=Then.RETRY, reason="not_sent")
    if facts.phase == Phase.CERTIFICATE:
        # Trying again would show the token to whoever stands in between.
        return replace(retry, then=Then.PARK, reason="certificate_refused")
    if facts.error in _OUR_OWN_MISTAKES:
        return replace(retry, then=Then.PARK, reason="cannot_be_sent")
    if facts.error == "PoolTimeout":
        return replace(retry, reason="no_connection_free", after=0.1, counts=False)
    return retry


_ANSWERED: Final = Verdict(kind=Kind.ANSWERED, then=Then.END, reason="")


def _by_status(facts: Facts, words: Mapping[str, Any], now: datetime) -> Verdict:
    status = facts.status or 0
    reason = word(words.get("reason"))
    if 200 <= status < 300:
        return _of_success(facts, words, reason) or _ANSWERED
    if status == 400:
        return _of_400(facts, words, reason) or _ANSWERED
    if (refused := _refused(facts, reason, now)) is not None:
        return refused
    if status in _DEFINITE:
        return _ANSWERED
    return replace(maybe(reason.lower()[:40] or f"http_{status}"), ails=True)


def _refused(facts: Facts, reason: str, now: datetime) -> Verdict | None:
    """Refused before anything was processed, or None."""
    status = facts.status or 0
    refused = Verdict(kind=Kind.NOT_PROCESSED, then=Then.RETRY, reason=UNAUTHORIZED)
    if status == 401:
        # A minute and more: a key just switched may not be known there yet. Never a hammer.
        return replace(refused, after=_A_MINUTE)
    if status == 429:
        wait = _seconds(facts.retry_after, now)
        return replace(refused, reason=TOO_MANY, after=wait, counts=False)
    if 300 <= status < 400:
        return replace(refused, then=Then.PARK, reason="redirected")
    if status == 502 and reason == "INVALID_OR_MISSING_CONFIG":
        return replace(refused, then=Then.PARK, reason="gateway_configuration")
    return None


def _of_success(facts: Facts, words: Mapping[str, Any], reason: str) -> Verdict | None:
    status = words.get("status")
    if status == "SERVER_ERROR" or reason in _UNDECIDED:
        return maybe((reason or "SERVER_ERROR").lower()[:40])
    if facts.safety == Safety.GUARDED:
        # Money without a word on what became of it, or with one that may mean anything.
        known = word(status) in _WORDS_FOR_MONEY
        return None if known else maybe(UNKNOWN_STATUS if word(status) else UNREADABLE)
    body = (facts.body or b"").strip()
    if facts.safety != Safety.SAFE and body and _parsed(body) is None:
        # Not the gateway's: a page of somebody in between. A report, which is read, may be no JSON.
        return maybe(UNREADABLE)
    return None


def _of_400(facts: Facts, words: Mapping[str, Any], reason: str) -> Verdict | None:
    if reason == "PROCESSOR_UNAVAILABLE":
        # Under the same transactionId: a new one would let a try that landed before be paid twice.
        return Verdict(
            kind=Kind.NOT_PROCESSED,
            then=Then.RETRY,
            reason="processor_unavailable",
            after=_A_MINUTE,
        )
    twin = reason == "DUPLICATE_REQUEST" or (
        reason == "INVALID_DATA" and (facts.earlier or _names_transaction_id(words))
    )
    if twin and facts.safety in (Safety.GUARDED, Safety.UNGUARDED):
        return maybe("duplicate")
    return None


def _names_transaction_id(words: Mapping[str, Any]) -> bool:
    details = words.get("details")
    if not isinstance(details, list):
        return False
    named = {"field": "clientReferenceInformation.transactionId"}
    return any(isinstance(each, dict) and named.items() <= each.items() for each in details)


def _seconds(retry_after: str | None, now: datetime) -> float:
    """What Retry-After asks for, in either of its forms; a minute where it says nothing.

    Never less than a second: "0" from a gateway that has had enough would be a hammer.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(max(float(text), _SHORTEST_WAIT), _LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):  # the last for a zone of a million years
        return _A_MINUTE
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), _SHORTEST_WAIT), _LONGEST_WAIT)


def _words(body: bytes) -> Mapping[str, Any]:
    found = _parsed(body)
    return found if isinstance(found, dict) else {}


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
