"""Ask a test account what the gateway's documents leave open; the careful default needs no answer.

Never a live host. Questions that need a payment are asked only when that is wanted; each payment
is an authorization of a test card, reversed afterwards.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.client import Client, Parcel, Reply
from django_cybs_jwt.exceptions import CybsError, LiveRefused
from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import organizations, sending, signing
from django_cybs_jwt.services.verification import PROBE

_SEARCHES: Final = "/tss/v2/searches"
_PAYMENTS: Final = "/pts/v2/payments"
_REVERSALS: Final = "/pts/v2/reversals"
_VOIDS: Final = "/pts/v2/voids"
_LATE: Final = timedelta(minutes=10)
_POLLS: Final = 1.0  # seconds
_LENGTHS: Final = (26, 50, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the gateway said to one question: a word, and what it was read from."""

    name: str
    question: str
    answer: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds that the slow questions may take; 0 leaves one out."""

    idle: float = 0.0
    lag: float = 15.0


def ask(org_id: str, *, money: bool, patience: Patience) -> Iterator[Answer]:
    """Each answer as it comes. Raises LiveRefused for a live host before anything is sent."""
    organization = organizations.find(org_id)
    if organization.live:
        raise LiveRefused("A live account is never probed. Name a test account.")
    for name, (question, asking) in _harmless(patience).items():
        yield _answered(name, question, asking, organization)
    for name, (question, asking) in _moving_money(patience).items() if money else ():
        yield _answered(name, question, asking, organization)


Asking = Callable[[Organization], tuple[str, str]]
Questions = dict[str, tuple[str, Asking]]


def _harmless(patience: Patience) -> Questions:
    found: Questions = {
        "clock": ("How far is this machine's clock from the gateway's?", _clock),
        "correlation-id": ("Does a reply name its correlation id?", _correlation),
        "late-token": ("Is a token refused that ended minutes ago?", _late),
        "replayed-token": ("Is a token refused the second time?", _replayed),
        "search": ("May this account search by its own code?", partial(_search, "code")),
        "search-by-id": ("And by transactionId?", partial(_search, "transactionId")),
    }
    if patience.idle:
        asking = partial(_idle, patience.idle)
        found["idle-connection"] = ("Is an idle connection still open after a pause?", asking)
    return found


def _moving_money(patience: Patience) -> Questions:
    return {
        "reversal-of-nothing": ("What comes of reversing what never was?", _reverse_nothing),
        "void-of-nothing": ("And of voiding it?", _void_nothing),
        "twin": ("What comes of one transactionId twice?", _twin),
        "long-id": ("How long may a transactionId be?", _longest),
        "search-lag": (
            "After how long does the search show a payment?",
            partial(_lag, patience.lag),
        ),
    }


def _answered(name: str, question: str, asking: Asking, organization: Organization) -> Answer:
    try:
        answer, detail = asking(organization)
    except CybsError as error:
        answer, detail = "no answer", type(error).__name__
    return Answer(name=name, question=question, answer=answer, detail=detail)


def _clock(organization: Organization) -> tuple[str, str]:
    reply = _call(organization, "GET", PROBE)
    try:
        told = parsedate_to_datetime(reply.headers.get("date", ""))
    except ValueError:
        return "it does not say", _said(reply)
    # One without a zone is in UTC, as all of them are.
    ahead = (timezone.now() - (told if told.tzinfo else told.replace(tzinfo=UTC))).total_seconds()
    return f"{ahead:+.0f} s", _said(reply)


def _correlation(organization: Organization) -> tuple[str, str]:
    reply = _call(organization, "GET", PROBE)
    return ("yes" if reply.correlation_id else "no"), _said(reply)


def _late(organization: Organization) -> tuple[str, str]:
    def before() -> datetime:
        return datetime.now(UTC) - _LATE

    config = replace(conf.client_config(), clock=before)
    with Client(partial(signing.keys_for, str(organization)), config) as http:
        reply = Reply.of(http.get(PROBE), received_at=timezone.now())
    return _refused(reply), _said(reply)


def _replayed(organization: Organization) -> tuple[str, str]:
    with sending.client(str(organization)) as http:
        first = http.seal(http.build_request("GET", PROBE))
        again = Parcel(
            config=first.config, keys=first.keys, sealed=first.sealed, request=first.request
        )
        http.dispatch(first)
        reply = Reply.of(http.dispatch(again), received_at=timezone.now())
    return _refused(reply), _said(reply)


def _search(member: str, organization: Organization) -> tuple[str, str]:
    reply = _find(organization, member, uuid.uuid4().hex)
    return ("yes" if reply.is_success else "no"), _said(reply)


def _idle(seconds: float, organization: Organization) -> tuple[str, str]:
    with sending.client(str(organization)) as http:
        http.get(PROBE)
        time.sleep(seconds)
        parcel = http.seal(http.build_request("GET", PROBE))
        http.dispatch(parcel)
    return ("yes" if parcel.trace.reused else "no"), f"after {seconds:g} s"


def _reverse_nothing(organization: Organization) -> tuple[str, str]:
    reply = _reverse(organization, uuid.uuid4().hex)
    return _word(reply), _said(reply)


def _void_nothing(organization: Organization) -> tuple[str, str]:
    body = {"clientReferenceInformation": {"transactionId": uuid.uuid4().hex}}
    reply = _call(organization, "POST", _VOIDS, body)
    return _word(reply), _said(reply)


def _twin(organization: Organization) -> tuple[str, str]:
    named = uuid.uuid4().hex
    _pay(organization, named)
    reply = _pay(organization, named)
    _reverse(organization, named)
    return _word(reply), _said(reply)


def _longest(organization: Organization) -> tuple[str, str]:
    taken, said = 0, ""
    for length in _LENGTHS:
        named = (uuid.uuid4().hex * 2)[:length]
        reply = _pay(organization, named)
        said = _said(reply)
        if not reply.is_success:
            break
        taken = length
        _reverse(organization, named)
    return f"{taken} characters or more" if taken else "none", said


def _lag(longest: float, organization: Organization) -> tuple[str, str]:
    named, started = uuid.uuid4().hex, time.monotonic()
    _pay(organization, named)
    try:
        while (waited := time.monotonic() - started) <= longest:
            reply = _find(organization, "code", named)
            if reply.is_success and _document(reply).get("totalCount"):
                return f"{waited:.1f} s", _said(reply)
            time.sleep(_POLLS)
    finally:
        _reverse(organization, named)
    return f"more than {longest:g} s", ""


def _call(organization: Organization, method: str, path: str, json: Any = None) -> Reply:
    return sending.send(str(organization), method, path, json=json)


def _find(organization: Organization, member: str, value: str) -> Reply:
    query = f'clientReferenceInformation.{member}:"{value}"'
    body = {"save": False, "query": query, "limit": 1, "offset": 0}
    return _call(organization, "POST", _SEARCHES, body)


def _pay(organization: Organization, named: str) -> Reply:
    card = {"number": "4111111111111111", "expirationMonth": "12", "expirationYear": "2031"}
    body = {
        "clientReferenceInformation": {"code": named[:32], "transactionId": named},
        "paymentInformation": {"card": card},
        "orderInformation": {
            "amountDetails": {"totalAmount": "1.00", "currency": "USD"},
            "billTo": {
                "firstName": "Test",
                "lastName": "Account",
                "address1": "1 Market St",
                "locality": "San Francisco",
                "administrativeArea": "CA",
                "postalCode": "94105",
                "country": "US",
                "email": "test@example.com",
            },
        },
    }
    return _call(organization, "POST", _PAYMENTS, body)


def _reverse(organization: Organization, named: str) -> Reply:
    body = {
        "clientReferenceInformation": {"code": named[:32], "transactionId": named},
        "reversalInformation": {"amountDetails": {"totalAmount": "1.00", "currency": "USD"}},
    }
    return _call(organization, "POST", _REVERSALS, body)


def _refused(reply: Reply) -> str:
    return "yes" if reply.status_code == 401 else "no"


def _word(reply: Reply) -> str:
    words = _document(reply)
    word = words.get("reason") or words.get("status")
    return str(word)[:64] if isinstance(word, str) else "no word"


def _said(reply: Reply) -> str:
    return f"HTTP {reply.status_code} {_word(reply)}, correlation id {reply.correlation_id or '-'}"


def _document(reply: Reply) -> dict[str, Any]:
    try:
        found = reply.json()
    except (CybsError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
