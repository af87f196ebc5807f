"""The table of what a try comes to, row by row; and a verdict for whatever else may happen."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.client import Phase
from django_cybs_jwt.models import Safety
from django_cybs_jwt.services.queue import outcomes
from django_cybs_jwt.services.queue.outcomes import Facts, Then, Verdict, judge

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MONEY = (Safety.GUARDED, Safety.UNGUARDED)
OTHERS = (Safety.SAFE, Safety.REPEATABLE)


def facts(safety: str = Safety.GUARDED, **changes: Any) -> Facts:
    known: dict[str, Any] = {"safety": safety, "phase": Phase.ANSWERING, "sent": True}
    return Facts(**(known | changes))


def reply(status: int, body: Any = None, **changes: Any) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    return {"status": status, "body": content, **changes}


def unsent(phase: Phase, error: str) -> dict[str, Any]:
    return {"phase": phase, "sent": False, "error": error}


def lost(phase: Phase, error: str, **changes: Any) -> dict[str, Any]:
    return {"phase": phase, "error": error, **changes}


def words(status: str = "", reason: str = "", **more: Any) -> dict[str, Any]:
    known = {"status": status, "reason": reason}
    return {name: word for name, word in known.items() if word} | more


INVALID = words("INVALID_REQUEST", "INVALID_DATA")
TWIN = INVALID | {
    "details": [{"field": "clientReferenceInformation.transactionId", "reason": "INVALID_DATA"}]
}

# name: what is known, class, what follows for money, for the others, the reason
ROWS: dict[str, tuple[dict[str, Any], str, str, str, str]] = {
    "refused": (unsent(Phase.CONNECTING, "ConnectError"), "not-sent", "retry", "retry", "not_sent"),
    "connect time-out": (
        unsent(Phase.CONNECTING, "ConnectTimeout"), "not-sent", "retry", "retry", "not_sent"
    ),
    "tls": (unsent(Phase.TLS, "ConnectError"), "not-sent", "retry", "retry", "not_sent"),
    "certificate": (
        unsent(Phase.CERTIFICATE, "ConnectError"), "not-sent", "park", "park", "certificate_refused"
    ),
    "no connection free": (
        unsent(Phase.WAITING, "PoolTimeout"), "not-sent", "retry", "retry", "no_connection_free"
    ),
    "our mistake": (
        unsent(Phase.CONNECTING, "LocalProtocolError"),
        "not-sent", "park", "park", "cannot_be_sent",
    ),
    "body half out": (
        lost(Phase.SENDING, "WriteTimeout"), "maybe", "doubt", "doubt", "incomplete"
    ),
    "no answer, reused": (
        lost(Phase.SENT, "RemoteProtocolError", reused=True), "maybe", "doubt", "doubt", "no_answer"
    ),
    "no answer, fresh": (lost(Phase.SENT, "ReadError"), "maybe", "doubt", "doubt", "no_answer"),
    "read time-out": (lost(Phase.SENT, "ReadTimeout"), "maybe", "doubt", "doubt", "no_answer"),
    "half a body": (
        lost(Phase.ANSWERING, "RemoteProtocolError", status=201),
        "maybe", "doubt", "doubt", "reply_lost",
    ),
    "half a refusal": (
        lost(Phase.ANSWERING, "RemoteProtocolError", status=400),
        "maybe", "doubt", "doubt", "reply_lost",
    ),
    "garbage for a status line": (
        lost(Phase.SENT, "RemoteProtocolError"), "maybe", "doubt", "doubt", "no_answer"
    ),
    # Interrupted: by how far it came, whoever it was that interrupted it.
    **{
        f"{error} {where}": (facts_of(phase, error), kind, *follows)
        for error in ("CancelledError", "SoftTimeLimitExceeded", "SystemExit")
        for where, facts_of, phase, kind, follows in (
            ("before", unsent, Phase.TLS, "not-sent", ("retry", "retry", "not_sent")),
            ("in the body", lost, Phase.SENDING, "maybe", ("doubt", "doubt", "incomplete")),
            ("after it", lost, Phase.SENT, "maybe", ("doubt", "doubt", "no_answer")),
        )
    },
    "in the answer": (
        lost(Phase.ANSWERING, "SystemExit", status=201), "maybe", "doubt", "doubt", "reply_lost"
    ),
    "does not open": (
        lost(Phase.ANSWERING, "MLEDecryptError", status=201),
        "maybe", "doubt", "doubt", "unreadable",
    ),
    "authorized": (reply(201, words("AUTHORIZED")), "answered", "end", "end", ""),
    "declined": (
        reply(201, words("DECLINED", errorInformation={"reason": "PROCESSOR_DECLINED"})),
        "answered", "end", "end", "",
    ),
    "pending": (reply(202, words("PENDING")), "answered", "end", "end", ""),
    "201 in time-out": (
        reply(201, words("SERVER_ERROR", "PROCESSOR_TIMEOUT")),
        "maybe", "doubt", "doubt", "processor_timeout",
    ),
    "too large, before the body was out": (
        reply(413, phase=Phase.SENDING), "answered", "end", "end", ""
    ),
    "invalid": (
        reply(400, words("INVALID_REQUEST", "MISSING_FIELD")), "answered", "end", "end", ""
    ),
    "invalid data": (reply(400, INVALID), "answered", "end", "end", ""),
    "invalid data again": (
        reply(400, INVALID, earlier=True), "maybe", "doubt", "end", "duplicate"
    ),
    "its twin": (reply(400, TWIN), "maybe", "doubt", "end", "duplicate"),
    "duplicate": (
        reply(400, words("INVALID_REQUEST", "DUPLICATE_REQUEST")),
        "maybe", "doubt", "end", "duplicate",
    ),
    "processor unavailable": (
        reply(400, words("SERVER_ERROR", "PROCESSOR_UNAVAILABLE")),
        "not-processed", "retry", "retry", "processor_unavailable",
    ),
    "401": (reply(401, {"response": {}}), "not-processed", "retry", "retry", "unauthorized"),
    "408": (reply(408), "maybe", "doubt", "doubt", "http_408"),
    "429": (reply(429), "not-processed", "retry", "retry", "too_many_requests"),
    "500": (
        reply(500, words("SERVER_ERROR", "SYSTEM_ERROR")), "maybe", "doubt", "doubt", "system_error"
    ),
    "502 time-out": (
        reply(502, words("SERVER_ERROR", "SERVER_TIMEOUT")),
        "maybe", "doubt", "doubt", "server_timeout",
    ),
    "502 service": (
        reply(502, words("SERVER_ERROR", "SERVICE_TIMEOUT")),
        "maybe", "doubt", "doubt", "service_timeout",
    ),
    "502 configuration": (
        reply(502, words("SERVER_ERROR", "INVALID_OR_MISSING_CONFIG")),
        "not-processed", "park", "park", "gateway_configuration",
    ),
    "502 page": (reply(502, b"<html>"), "maybe", "doubt", "doubt", "http_502"),
    "503 page": (reply(503, b"<html>"), "maybe", "doubt", "doubt", "http_503"),
    "504 page": (reply(504, b"<html>"), "maybe", "doubt", "doubt", "http_504"),
    "redirect": (reply(307), "not-processed", "park", "park", "redirected"),
    "teapot": (reply(418), "maybe", "doubt", "doubt", "http_418"),
    **{
        f"{status}": (reply(status), "answered", "end", "end", "")
        for status in (403, 404, 405, 406, 409, 412, 413, 415, 424)
    },
}  # fmt: skip


@pytest.mark.parametrize("safety", Safety)
@pytest.mark.parametrize("name", ROWS)
def test_table(name: str, safety: str) -> None:
    known, kind, money, other, reason = ROWS[name]
    verdict = judge(facts(safety, **known), now=NOW)
    follows = money if safety in MONEY else other
    assert verdict.then == follows
    if follows == money:
        assert (verdict.kind, verdict.reason) == (kind, reason)
    else:
        assert (verdict.kind, verdict.reason) == ("answered", "")


# name: a 2xx, and the reason of the doubt by safety; none where it is an answer
SUCCESSES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "without a word": (reply(201), {"GUARDED": "unreadable"}),
    "a list": (reply(200, []), {"GUARDED": "unreadable"}),
    "a number for a status": (reply(201, {"status": 1}), {"GUARDED": "unreadable"}),
    "no word of the gateway's": (reply(201, words("authorised")), {"GUARDED": "unreadable"}),
    "a word that nobody knows": (reply(201, words("BAKED")), {"GUARDED": "unknown_status"}),
    # Of what is not known to be money the words cannot be known either.
    "a subscription": (reply(201, words("ACTIVE")), {"GUARDED": "unknown_status"}),
    "204": (reply(204, b""), {"GUARDED": "unreadable"}),
    "an empty 200": (reply(200, b""), {"GUARDED": "unreadable"}),
    # A report that is read may be CSV; all else that is no JSON is not the gateway's.
    "a page": (
        reply(200, b"<html>login</html>"),
        dict.fromkeys(("GUARDED", "UNGUARDED", "REPEATABLE"), "unreadable"),
    ),
    "in time-out": (
        reply(201, words("SERVER_ERROR", "SERVICE_TIMEOUT")),
        dict.fromkeys(Safety.values, "service_timeout"),
    ),
    "an error without a reason": (
        reply(201, words("SERVER_ERROR")), dict.fromkeys(Safety.values, "server_error")
    ),
}  # fmt: skip


@pytest.mark.parametrize("safety", Safety)
@pytest.mark.parametrize("name", SUCCESSES)
def test_a_2xx_is_an_answer_only_where_it_says_what_became_of_it(name: str, safety: str) -> None:
    known, doubts = SUCCESSES[name]
    verdict = judge(facts(safety, **known), now=NOW)
    assert verdict.reason == doubts.get(safety, "")
    assert verdict.then == ("doubt" if safety in doubts else "end")


def test_every_word_for_money_ends_it() -> None:
    for status in outcomes._WORDS_FOR_MONEY:
        assert judge(facts(**reply(201, words(status))), now=NOW).outcome == status
        assert judge(facts(**reply(201, words(status))), now=NOW).then == Then.END


def test_the_gateways_words_and_nothing_else_come_into_clear_columns() -> None:
    told = {"status": "AUTHORIZED", "id": "7654321", "reason": "4111111111111111"}
    verdict = judge(facts(**reply(201, told)), now=NOW)
    assert (verdict.outcome, verdict.gateway_id) == ("AUTHORIZED", "7654321")
    for word in ("4111 1111 1111 1111", "Jane Doe", "x" * 70, 7, None, ["A"]):
        hostile = judge(facts(**reply(400, {"status": word, "reason": word, "id": word})), now=NOW)
        assert (hostile.outcome, hostile.gateway_id) == ("", "")


def wait(retry_after: str | None) -> float:
    return judge(facts(**reply(429, retry_after=retry_after)), now=NOW).after


def test_a_moment_in_a_zone_that_cannot_be_says_nothing() -> None:
    """The sentence "never raises" holds for a header too that no calendar can hold."""
    for zone in ("+99999999999999999", "-9999999999999"):
        assert wait(f"Mon, 01 Jan 2024 00:00:00 {zone}") == 60


def test_retry_after_in_either_form_from_a_second_to_an_hour() -> None:
    assert wait("7") == 7
    assert wait(format_datetime(NOW + timedelta(seconds=90), usegmt=True)) == 90
    assert wait(format_datetime(NOW - timedelta(seconds=90), usegmt=True)) == 1
    assert wait("0") == 1
    assert wait("99999999") == 3600
    for nonsense in (None, "", "soon", "-5", "1e3", "٣"):
        assert wait(nonsense) == 60


def test_what_says_nothing_against_the_gateway_does_not_count() -> None:
    for name in ("429", "no connection free"):
        assert not judge(facts(**ROWS[name][0]), now=NOW).counts
    assert judge(facts(**ROWS["refused"][0]), now=NOW).counts


def test_processor_unavailable_waits_a_minute_at_least() -> None:
    assert judge(facts(**ROWS["processor unavailable"][0]), now=NOW).after == 60


@given(
    st.builds(
        Facts,
        safety=st.sampled_from(list(Safety)),
        phase=st.sampled_from(list(Phase)),
        sent=st.booleans(),
        reused=st.booleans(),
        error=st.sampled_from(["", "ReadError", "PoolTimeout", "SystemExit", "LocalProtocolError"]),
        status=st.one_of(st.none(), st.integers(100, 999)),
        body=st.one_of(
            st.none(),
            st.binary(max_size=8),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=9),
                lambda each: (
                    st.lists(each, max_size=2)
                    | st.dictionaries(st.sampled_from(["status", "reason", "details", "id"]), each)
                ),
                max_leaves=5,
            ).map(lambda value: json.dumps(value).encode()),
        ),
        retry_after=st.one_of(
            st.none(),
            st.text(max_size=6),
            st.integers().map(lambda zone: f"Mon, 01 Jan 2024 00:00:00 {zone:+05d}"),
        ),
        earlier=st.booleans(),
    )
)
def test_there_is_a_verdict_for_everything_and_bytes_that_left_are_never_called_unsent(
    known: Facts,
) -> None:
    verdict: Verdict = judge(known, now=NOW)
    assert 0 <= verdict.after <= 3600
    assert len(verdict.reason) <= 40
    if known.sent and (known.status is None or known.body is None):
        assert verdict.kind == "maybe"
    if verdict.kind == "maybe":
        assert verdict.then == Then.DOUBT
