"""Reply shows what matters and never the body."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from django_cybs_jwt.client import Reply
from django_cybs_jwt.exceptions import GatewayRefused, OutcomeUnknown, ReplyUnreadable
from django_cybs_jwt.simulator.transport import SimulatorTransport
from tests.unit.client.merchants import CARD_NUMBER, PAYMENT, Call, Sender, config, gateway
from tests.unit.client.merchants import merchant_keys as keys_of
from tests.unit.client.raw_server import RawServer, answers, http, serving

PLANTED = "planted-in-the-body"


def reply_to(sender: Sender, status: int, body: bytes, **headers: str) -> Reply:
    with serving(answers(http(status, body, **headers))) as server:
        (response,) = sender.send(
            keys_of(), config(server.url), [Call("GET", "/tss/v2/transactions/1")]
        )
    return Reply.of(response, received_at=datetime.now(UTC))


def paid(sender: Sender) -> Reply:
    keys = keys_of()
    transport = SimulatorTransport(gateway(keys))
    (response,) = sender.send(
        keys, config(), [Call(options={"json": PAYMENT})], transport=transport
    )
    return Reply.of(response, received_at=datetime.now(UTC))


def test_it_carries_what_the_response_and_the_exchange_know(sender: Sender) -> None:
    reply = paid(sender)
    assert reply.status_code == 201
    assert reply.is_success
    assert reply.json()["status"] == "AUTHORIZED"
    assert json.loads(reply.content) == reply.json()
    assert (reply.key_id, reply.request_encrypted, reply.encrypted) == ("1111", True, True)
    assert reply.correlation_id == reply.headers["v-c-correlation-id"]
    assert reply.elapsed.total_seconds() > 0
    assert reply.request.url.raw_path == b"/pts/v2/payments"
    assert list(json.loads(reply.request.content)) == ["encryptedRequest"]
    assert reply.raise_for_status() is reply


def test_its_repr_shows_no_body_no_header_and_no_key(sender: Sender) -> None:
    body = json.dumps({"name": PLANTED}).encode()
    shown = repr(reply_to(sender, 200, body, x_planted=PLANTED))
    assert "status_code=200" in shown
    assert PLANTED not in shown
    assert "eyJ" not in shown
    assert CARD_NUMBER not in repr(paid(sender))


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, b'{"status":"INVALID_REQUEST","reason":"MISSING_FIELD"}', "MISSING_FIELD"),
        (502, b'{"reason":"SYSTEM_ERROR"}', "SYSTEM_ERROR"),
        (401, b'{"response":{"rmsg":"Authentication Failed"}}', ""),
        (404, b"{}", ""),
        (503, b"<html>planted-in-the-body</html>", ""),
        (500, b"", ""),
        (500, b"[1]", ""),
        (500, b"3", ""),
        (500, b'"reason"', ""),
        (500, b"[" * 100_000, ""),
        (400, b'{"reason":"planted-in-the-body"}', ""),
        (400, b'{"reason":"John_Smith"}', ""),
        (400, b'{"reason":"4111111111111111"}', ""),
        (400, b'{"reason":"' + b"A" * 5000 + b'"}', ""),
        (400, b'{"reason":["A"]}', ""),
        (307, b"", ""),
    ],
)
def test_a_refusal_names_status_and_reason_and_never_the_body(
    sender: Sender, status: int, body: bytes, reason: str
) -> None:
    reply = reply_to(sender, status, body, v_c_correlation_id="corr-1")
    assert not reply.is_success
    with pytest.raises(GatewayRefused) as caught:
        reply.raise_for_status()
    error = caught.value
    assert error.facts == {"status_code": status, "reason": reason, "correlation_id": "corr-1"}
    assert str(error).startswith(f"HTTP {status} {reason}".rstrip())
    assert ("explain()" in str(error)) is (status == 401)
    assert len(str(error)) < 200
    for private in (PLANTED, "John", CARD_NUMBER, "Authentication Failed"):
        assert private not in f"{error!r}{error}{error.facts}"


def test_a_refusal_is_an_answer_and_no_unknown_outcome(sender: Sender) -> None:
    with pytest.raises(GatewayRefused) as caught:
        reply_to(sender, 500, b"").raise_for_status()
    assert not isinstance(caught.value, OutcomeUnknown)


@pytest.mark.parametrize("body", [b"<html/>", b"", b"\xff\xfe", b'{"a":', b"[" * 100_000])
def test_what_is_not_json_is_unreadable(sender: Sender, body: bytes) -> None:
    with pytest.raises(ReplyUnreadable) as caught:
        reply_to(sender, 200, body).json()
    assert caught.value.__suppress_context__
    assert str(caught.value) == "The answer is not JSON."


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_a_success(sender: Sender, status: int) -> None:
    assert reply_to(sender, status, b"").raise_for_status().is_success


def test_a_decline_is_a_success_of_the_transport(sender: Sender) -> None:
    keys = keys_of()
    payment: dict[str, Any] = {
        **PAYMENT,
        "orderInformation": {"amountDetails": {"totalAmount": "13.13", "currency": "USD"}},
    }
    transport = SimulatorTransport(gateway(keys))
    (response,) = sender.send(
        keys, config(), [Call(options={"json": payment})], transport=transport
    )
    reply = Reply.of(response, received_at=datetime.now(UTC))
    assert reply.raise_for_status().json()["status"] == "DECLINED"


def test_a_reply_without_a_correlation_id_says_so(sender: Sender, server: RawServer) -> None:
    assert reply_to(sender, 200, b"{}").correlation_id is None
