"""explain() names the suspect of a 401 that really came back, and shows no secret."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from django_cybs_jwt.client import Client, Explanation, Finding, KeyFacts, Reply, Route
from django_cybs_jwt.client.explain import explain
from django_cybs_jwt.client.pools import SharedTransport
from django_cybs_jwt.protocol import PROFILES, MerchantKeys, Profile, SigningKey
from django_cybs_jwt.simulator import Fault, FaultKind, Gateway, Refusal
from django_cybs_jwt.simulator.server import running
from django_cybs_jwt.simulator.transport import SimulatorTransport
from django_cybs_jwt.testing import material
from tests.unit.client.merchants import CARD_NUMBER, HOST, PAYMENT, SECRET, config, gateway
from tests.unit.client.merchants import merchant_keys as keys_of


def pay(
    keys: MerchantKeys, known: Gateway, *, over: httpx.BaseTransport | None = None, **options: Any
) -> Reply:
    transport = over or SimulatorTransport(known)
    with Client(lambda: keys, config(**options), transport=transport) as client:
        response = client.post("/pts/v2/payments?a=1", json=PAYMENT)
    return Reply.of(response, received_at=datetime.now(UTC))


def refusal(known: Gateway) -> Any:
    return known.refusals.as_json()[-1]["refusal"]


def finding(explanation: Explanation, what: str) -> Finding:
    (found,) = [each for each in explanation.findings if each.what == what]
    return found


def suspects(explanation: Explanation) -> list[str]:
    return [each.what for each in explanation.suspects]


def signing(**changes: Any) -> SigningKey:
    values: dict[str, Any] = {
        "owner": "acme",
        "kid": "1111",
        "algorithm": "HS256",
        "material": SECRET,
        "state": "ACTIVE",
    }
    return SigningKey(**{**values, **changes})


def test_an_accepted_request_has_no_suspect() -> None:
    keys = keys_of(p12=True)
    reply = pay(keys, gateway(keys))
    assert reply.status_code == 201
    assert suspects(reply.explain()) == []


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [(-150.0, Refusal.NOT_YET_VALID), (150.0, Refusal.EXPIRED), (3600.0, Refusal.EXPIRED)],
)
def test_a_wrong_clock_is_the_suspect(seconds: float, reason: Refusal) -> None:
    keys = keys_of()
    known = gateway(keys)
    known.faults.add(Fault(kind=FaultKind.CLOCK_SKEW, seconds=seconds))
    reply = pay(keys, known)
    assert (reply.status_code, refusal(known)) == (401, reason)
    explanation = reply.explain()
    assert suspects(explanation) == ["clock"]
    (clock,) = explanation.suspects
    assert float(clock.sent.split()[0]) == pytest.approx(-seconds, abs=2)
    assert "NTP" in clock.hint


def test_a_key_that_the_gateway_does_not_know_is_left_as_the_one_question() -> None:
    """Nothing here can tell, so nothing is called wrong: the key's line asks to look there."""
    keys = keys_of()
    known = gateway()
    reply = pay(keys, known)
    assert (reply.status_code, refusal(known)) == (401, Refusal.UNKNOWN_KEY)
    explanation = reply.explain()
    assert suspects(explanation) == []
    question = finding(explanation, "key at the gateway")
    assert (question.ok, question.sent) == (None, "1111")
    assert "listed" in question.hint


def test_a_wrong_owner_of_a_p12_is_asked_about() -> None:
    """`iss` follows the row; a certificate of one's own making need not name it."""
    keys = keys_of(p12=True)
    known = gateway(keys)
    own = keys.signing
    tampered = keys_of(
        signing=SigningKey(
            owner="mallory",
            kid=own.kid,
            algorithm=own.algorithm,
            material=own.material,
            common_name="acme",
            state="ACTIVE",
        ),
        response_keys={},
        response_kid=None,
    )
    reply = pay(tampered, known)
    assert (reply.status_code, refusal(known)) == (401, Refusal.UNKNOWN_KEY)
    explanation = reply.explain()
    assert suspects(explanation) == []
    question = finding(explanation, "certificate CN")
    assert (question.ok, question.sent, question.expected) == (None, "acme", "mallory")
    assert finding(explanation, "meta key").ok is None


def test_a_common_name_differs_by_case_only() -> None:
    keys = keys_of(p12=True)
    own = keys.signing
    shouting = keys_of(
        signing=SigningKey(
            owner="acme", kid=own.kid, algorithm="RS256", material=own.material, common_name="ACME"
        )
    )
    assert suspects(pay(shouting, gateway(keys)).explain()) == []


def test_a_meta_key_that_does_not_cover_the_merchant_is_asked_about() -> None:
    keys = keys_of("stranger", signing=signing(), response_keys={}, response_kid=None)
    known = gateway(keys_of())
    reply = pay(keys, known)
    assert (reply.status_code, refusal(known)) == (401, Refusal.UNKNOWN_MERCHANT)
    question = finding(reply.explain(), "meta key")
    assert (question.ok, question.sent) == (None, "acme")


@pytest.mark.parametrize(
    ("changes", "suspect"),
    [
        ({"state": "SUSPENDED"}, "key state"),
        ({"state": "COMPROMISED"}, "key state"),
        ({"not_after": datetime.now(UTC) - timedelta(days=1)}, "key ends"),
    ],
)
def test_what_is_wrong_with_the_key_is_the_suspect(changes: dict[str, Any], suspect: str) -> None:
    explanation = pay(keys_of(signing=signing(**changes)), gateway()).explain()
    assert suspects(explanation) == [suspect]


# What is wrong on the way


@pytest.mark.parametrize("live", [True, False], ids=["live", "test"])
def test_another_host_of_the_gateway_is_the_suspect(live: bool) -> None:
    """BASE_URLS points at a neighbour: the token names one host, the other one reads it."""
    keys = keys_of()
    known = gateway(keys)
    called = "api.cybersource.com" if live else "apitest.visaacceptance.com"
    reply = pay(keys, known, base_url=f"https://{called}")
    assert (reply.status_code, refusal(known)) == (401, Refusal.WRONG_HOST)
    explanation = reply.explain()
    assert suspects(explanation) == ["request-host"]
    (host,) = explanation.suspects
    assert (host.sent, host.expected) == (HOST, called)
    assert "BASE_URLS" in host.hint


def test_an_egress_proxy_is_asked_about_and_no_suspect() -> None:
    """What stands there may well pass it on."""
    keys = keys_of()
    reply = pay(keys, gateway(), base_url="https://egress.example.com")
    assert reply.status_code == 401
    explanation = reply.explain()
    assert suspects(explanation) == []
    host = finding(explanation, "request-host")
    assert (host.ok, host.sent) == (None, HOST)
    assert "egress.example.com" in host.hint


@pytest.mark.parametrize("over_a_socket", [True, False], ids=["socket", "in process"])
def test_a_prefix_that_nobody_takes_off_is_the_suspect(over_a_socket: bool) -> None:
    keys = keys_of()
    known = gateway(keys)
    if over_a_socket:
        with running(known) as address:
            shared = SharedTransport(Route())
            reply = pay(keys, known, over=shared, base_url=f"{address.base_url}/gw")
    else:
        reply = pay(keys, known, base_url=f"https://{HOST}/gw")
    assert (reply.status_code, refusal(known)) == (401, Refusal.WRONG_PATH)
    explanation = reply.explain()
    assert suspects(explanation) == ["request-resource-path"]
    (path,) = explanation.suspects
    assert (path.sent, path.expected) == ("/pts/v2/payments?a=1", "/gw/pts/v2/payments?a=1")
    assert "BASE_URLS" in path.hint


class Meddling(httpx.BaseTransport):
    """Changes the request behind the signature's back, like a hook of the project's own."""

    def __init__(self, known: Gateway, change: Callable[[httpx.Request], object]) -> None:
        self._gateway, self._change = SimulatorTransport(known), change

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._change(request)
        return self._gateway.handle_request(request)


def other_method(request: httpx.Request) -> None:
    request.method = "PUT"


def other_path(request: httpx.Request) -> None:
    request.url = request.url.copy_with(path="/pts/v2/refunds")


def other_body(request: httpx.Request) -> None:
    request._content = b'{"encryptedRequest":"another"}'


@pytest.mark.parametrize(
    ("change", "reason", "suspect"),
    [
        (other_method, Refusal.WRONG_METHOD, "request-method"),
        (other_path, Refusal.WRONG_PATH, "request-resource-path"),
        (other_body, Refusal.WRONG_DIGEST, "digest"),
    ],
)
def test_what_was_changed_after_it_was_signed_is_the_suspect(
    change: Callable[[httpx.Request], object], reason: Refusal, suspect: str
) -> None:
    keys = keys_of()
    known = gateway(keys)
    reply = pay(keys, known, over=Meddling(known, change))
    assert (reply.status_code, refusal(known)) == (401, reason)
    assert suspects(reply.explain()) == [suspect]
    assert f"BAD  {suspect}: " in str(reply.explain())


# What is stored by now


@pytest.mark.parametrize(
    ("changes", "suspect"),
    [
        ({"owner": "mallory"}, "iss"),
        ({"kid": "9999"}, "kid"),
        ({"state": "SUSPENDED"}, "key state"),
        ({"state": "DESTROYED"}, "key state"),
        ({"not_after": datetime.now(UTC) - timedelta(days=1)}, "key ends"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_the_key_is_compared_with_what_is_stored_when_it_is_asked(
    changes: dict[str, Any], suspect: str
) -> None:
    keys = keys_of(signing=signing(reference="row 1"))
    stored = [KeyFacts(owner="acme", kid="1111", state="ACTIVE", not_after=None)]
    asked: list[str] = []

    def key_now(reference: str) -> KeyFacts:
        asked.append(reference)
        return stored[0]

    reply = pay(keys, gateway(), key_now=key_now)
    assert suspects(reply.explain()) == []
    stored[0] = replace(stored[0], **changes)
    assert suspects(reply.explain()) == [suspect]
    assert set(asked) == {"row 1"}


def test_what_cannot_be_asked_again_says_of_when_it_is() -> None:
    state = finding(pay(keys_of(), gateway()).explain(), "key state")
    assert (state.sent, state.ok) == ("ACTIVE", True)
    assert state.hint == "As it was when this was signed."


@pytest.mark.parametrize(
    ("profile", "reason", "what"),
    [
        (PROFILES["without-request-host"], Refusal.BAD_CLAIM, "request-host"),
        (Profile(query_in_path=False), Refusal.WRONG_PATH, "request-resource-path"),
    ],
)
def test_what_a_profile_leaves_out_is_asked_about(
    profile: Profile, reason: Refusal, what: str
) -> None:
    """It may be right for this host, so it is no suspect, but it must not be called good."""
    keys = keys_of()
    known = gateway(keys)
    reply = pay(keys, known, profiles={HOST: profile})
    assert (reply.status_code, refusal(known)) == (401, reason)
    explanation = reply.explain()
    assert suspects(explanation) == []
    assert finding(explanation, what).ok is None
    assert "PROFILES" in finding(explanation, what).hint


def with_unsynchronised_clock(keys: MerchantKeys) -> Gateway:
    known = gateway(keys)
    known.faults.add(Fault(kind=FaultKind.CLOCK_SKEW, seconds=600))
    return known


@pytest.mark.parametrize("p12", [True, False], ids=["p12", "shared secret"])
@pytest.mark.parametrize(
    "known", [gateway, with_unsynchronised_clock, lambda _: gateway()], ids=["ok", "clock", "key"]
)
def test_no_token_secret_or_body_is_in_the_report(
    p12: bool, known: Callable[[MerchantKeys], Gateway]
) -> None:
    keys = keys_of(p12=p12)
    reply = pay(keys, known(keys))
    token = dict(reply.exchange.sealed.headers)["authorization"].removeprefix("Bearer ")
    explanation = reply.explain()
    shown = f"{explanation}{explanation!r}{reply.exchange!r}{reply!r}"
    assert "acme" in shown
    for secret in (
        token,
        *token.split("."),
        CARD_NUMBER,
        "encryptedRequest",
        reply.exchange.sealed.body.decode()[:60],
        SECRET.hex(),
        base64.b64encode(SECRET).decode(),
        repr(SECRET),
    ):
        assert secret not in shown


@pytest.mark.parametrize(
    ("date", "said"),
    [
        (None, "no Date"),
        ("yesterday", "unreadable"),
        ("Tue, 02 Jan 2024 03:04:05 -0000", "unread"),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999", "unreadable"),
    ],
)
def test_a_date_that_does_not_help_is_no_suspect(date: str | None, said: str) -> None:
    keys = keys_of()
    reply = pay(keys, gateway(keys))
    explanation = explain(
        reply.exchange,
        status_code=401,
        date=date,
        request=reply.request,
        received_at=reply.received_at,
    )
    clock = finding(explanation, "clock")
    assert clock.ok is None
    assert said in clock.sent


def test_the_report_reads_from_top_to_bottom() -> None:
    keys = keys_of(p12=True)
    reply = pay(keys, with_unsynchronised_clock(keys))
    lines = str(reply.explain()).splitlines()
    assert lines[0] == f"HTTP 401, correlation id {reply.correlation_id}"
    assert lines[1].startswith("  ok   iss: acme")
    assert sum(line.startswith("  BAD ") for line in lines) == 1
    names = [line[7:].partition(":")[0] for line in lines[1:]]
    assert names == [
        "iss",
        "v-c-merchant-id",
        "kid",
        "certificate CN",
        "request MLE kid",
        "request-host",
        "request-method",
        "request-resource-path",
        "digest",
        "response MLE kid",
        "clock",
        "key state",
        "key ends",
        "key at the gateway",
    ]


def test_a_key_without_state_and_end_is_not_called_wrong() -> None:
    """Keys made by hand have neither."""
    own = SigningKey(
        owner="acme", kid="1111", algorithm="RS256", material=material.rsa_key(name="explain")
    )
    explanation = pay(keys_of(signing=own), gateway()).explain()
    assert finding(explanation, "key state").ok is None
    assert finding(explanation, "key ends").ok is None
