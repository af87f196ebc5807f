"""Faults as the pure gateway carries them out, and how they are chosen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from django_cybs_jwt.simulator import (
    Fault,
    FaultKind,
    Faults,
    Gateway,
    Identity,
    MemoryRegistry,
    Operation,
    Refusal,
    SimAnswer,
    Wire,
    jose,
)
from tests.unit.simulator.callers import NOW, Caller, Clock


def strike(gateway: Gateway, caller: Caller, **fault: Any) -> SimAnswer:
    """Put one fault in force and send a payment into it."""
    gateway.faults.add(Fault(**fault))
    return gateway.handle(caller.request())


def test_latency_is_left_to_the_transport(gateway: Gateway, shop: Caller) -> None:
    answer = strike(gateway, shop, kind="latency", seconds=30)

    assert (answer.delay, answer.status) == (30, 201)
    assert len(gateway.ledger.entries()) == 1


def test_reset_before_processes_nothing(gateway: Gateway, shop: Caller) -> None:
    answer = strike(gateway, shop, kind="reset_before")

    assert answer.wire is Wire.RESET
    assert gateway.ledger.entries() == []


def test_reset_after_has_processed(gateway: Gateway, shop: Caller) -> None:
    answer = strike(gateway, shop, kind="reset_after")

    assert answer.wire is Wire.RESET
    assert len(gateway.ledger.entries()) == 1


def test_truncation_has_processed(gateway: Gateway, shop: Caller) -> None:
    answer = strike(gateway, shop, kind="truncate")

    assert answer.wire is Wire.TRUNCATED
    assert len(gateway.ledger.entries()) == 1


def test_garbage_has_processed(gateway: Gateway, shop: Caller) -> None:
    answer = strike(gateway, shop, kind="garbage")

    assert answer.wire is Wire.GARBAGE
    assert len(gateway.ledger.entries()) == 1


def test_a_page_of_somebody_else_is_a_200_in_clear_and_processes_nothing(
    gateway: Gateway, portfolio: Caller
) -> None:
    answer = strike(gateway, portfolio, kind="page")

    assert (answer.status, answer.headers["content-type"]) == (200, "text/html")
    assert answer.body.startswith(b"<html>")
    assert gateway.ledger.entries() == []


def test_what_nobody_knows_is_shown_by_its_flag(gateway: Gateway, shop: Caller) -> None:
    strike(gateway, shop, kind="status", status=201, processed=True, flag="ETIMEOUT")
    (entry,) = gateway.ledger.entries()

    answer = gateway.handle(shop.request("GET", f"/tss/v2/transactions/{entry.id}"))

    told = json.loads(answer.body)["applicationInformation"]
    assert (told["rFlag"], told["rCode"], told["reasonCode"]) == ("ETIMEOUT", "-1", "151")
    assert "status" not in told


@pytest.mark.parametrize(
    ("status", "reason"),
    [(201, "PROCESSOR_TIMEOUT"), (500, "SYSTEM_ERROR"), (502, "SYSTEM_ERROR")],
)
def test_a_server_error_has_the_gateways_body(
    gateway: Gateway, shop: Caller, status: int, reason: str
) -> None:
    answer = strike(gateway, shop, kind="status", status=status)

    told = json.loads(answer.body)
    assert (answer.status, told["status"], told["reason"]) == (status, "SERVER_ERROR", reason)
    assert gateway.ledger.entries() == []


def test_a_server_error_can_come_after_the_ledger_was_written(
    gateway: Gateway, shop: Caller
) -> None:
    answer = strike(
        gateway, shop, kind="status", status=502, reason="SERVER_TIMEOUT", processed=True
    )

    assert json.loads(answer.body)["reason"] == "SERVER_TIMEOUT"
    assert len(gateway.ledger.entries()) == 1


def test_a_business_error_is_encrypted_and_an_edge_page_is_not(
    gateway: Gateway, portfolio: Caller
) -> None:
    business = strike(gateway, portfolio, kind="status", status=502)
    edge = strike(gateway, portfolio, kind="status", status=503)

    assert portfolio.open(business.body)["status"] == "SERVER_ERROR"
    assert edge.body.startswith(b"<html>")
    assert edge.headers["content-type"] == "text/html"


def test_too_many_requests_says_when_to_come_back(gateway: Gateway, shop: Caller) -> None:
    answer = strike(gateway, shop, kind="status", status=429, retry_after=7)

    assert (answer.status, answer.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, {"response": {"rmsg": "Authentication Failed"}}),
        (404, {"message": "The requested resource does not exist"}),
    ],
)
def test_client_errors_on_demand_have_their_bodies(
    gateway: Gateway, portfolio: Caller, status: int, told: Any
) -> None:
    answer = strike(gateway, portfolio, kind="status", status=status)

    assert answer.status == status
    document = json.loads(answer.body) if status == 401 else portfolio.open(answer.body)
    assert document == told


def test_a_processor_that_is_away_is_a_400(gateway: Gateway, shop: Caller) -> None:
    answer = strike(gateway, shop, kind="status", status=400)

    assert json.loads(answer.body)["reason"] == "PROCESSOR_UNAVAILABLE"


@pytest.mark.parametrize(("given", "status"), [({}, 307), ({"status": 302}, 302)])
def test_a_redirect_processes_nothing_and_its_follower_is_a_replay(
    gateway: Gateway, shop: Caller, given: dict[str, int], status: int
) -> None:
    gateway.faults.add(Fault(kind=FaultKind.REDIRECT, **given))
    request = shop.request()

    answer = gateway.handle(request)

    assert (answer.status, answer.headers["location"]) == (status, "/pts/v2/payments")
    assert gateway.ledger.entries() == []
    assert gateway.handle(request).refusal is Refusal.REPLAYED


def test_a_plain_reply_comes_despite_the_claim(gateway: Gateway, portfolio: Caller) -> None:
    answer = strike(gateway, portfolio, kind="plain_reply")

    assert json.loads(answer.body)["status"] == "AUTHORIZED"
    assert gateway.ledger.entries()[0].response_encrypted is False


def test_a_broken_jwe_does_not_open(
    gateway: Gateway, portfolio: Caller, response_key: rsa.RSAPrivateKey
) -> None:
    answer = strike(gateway, portfolio, kind="broken_jwe")

    token = json.loads(answer.body)["encryptedResponse"]
    with pytest.raises(jose.JoseError, match="does not open"):
        jose.decrypt(token, response_key, kid=portfolio.response_kid)


def test_an_unknown_kid_is_not_the_one_announced(gateway: Gateway, portfolio: Caller) -> None:
    answer = strike(gateway, portfolio, kind="unknown_kid")

    head = json.loads(answer.body)["encryptedResponse"].split(".")[0]
    kid = json.loads(jose.decode_base64url(head))["kid"]
    assert kid != portfolio.response_kid
    assert kid.isdigit()


def test_faults_of_encryption_wait_for_an_encrypted_reply(
    gateway: Gateway, shop: Caller, portfolio: Caller
) -> None:
    plain = strike(gateway, shop, kind="plain_reply")
    assert plain.status == 201

    assert "status" in json.loads(gateway.handle(portfolio.request()).body)


@pytest.mark.parametrize(
    ("seconds", "refusal"), [(200, Refusal.EXPIRED), (-200, Refusal.NOT_YET_VALID)]
)
def test_a_skewed_clock_refuses_and_shows_in_the_date(
    gateway: Gateway, shop: Caller, seconds: int, refusal: Refusal
) -> None:
    answer = strike(gateway, shop, kind="clock_skew", seconds=seconds)

    assert answer.refusal is refusal
    minutes = (NOW + seconds) % 3600 // 60
    assert f":{minutes:02}:" in answer.headers["date"]
    assert gateway.handle(shop.request()).status == 201


def test_faults_combine(gateway: Gateway, shop: Caller) -> None:
    gateway.faults.add(Fault(kind=FaultKind.LATENCY, seconds=1))

    answer = strike(gateway, shop, kind="reset_before")

    assert (answer.wire, answer.delay) == (Wire.RESET, 1)


def test_an_unauthenticated_caller_meets_no_fault(gateway: Gateway, shop: Caller) -> None:
    gateway.faults.add(Fault(kind=FaultKind.STATUS, status=503))

    assert gateway.handle(shop.request(claims={"request-method": "put"})).status == 401
    assert gateway.handle(shop.request()).status == 503


def test_a_fault_strikes_as_often_as_it_says(gateway: Gateway, shop: Caller) -> None:
    gateway.faults.add(Fault(kind=FaultKind.STATUS, status=503, times=2))

    statuses = [
        gateway.handle(shop.request("GET", "/tss/v2/transactions/1")).status for _ in range(3)
    ]

    assert statuses == [503, 503, 404]
    assert gateway.faults.active() == []


def test_a_fault_keeps_to_its_merchant_and_operation() -> None:
    faults = Faults()
    faults.add(Fault(kind=FaultKind.TRUNCATE, org_id="shop", operation=Operation.SALE))

    assert faults.take(FaultKind.TRUNCATE, "kiosk", Operation.SALE) is None
    assert faults.take(FaultKind.TRUNCATE, "shop", Operation.AUTHORIZATION) is None
    assert faults.take(FaultKind.RESET_AFTER, "shop", Operation.SALE) is None
    assert faults.take(FaultKind.TRUNCATE, "shop", Operation.SALE) is not None
    assert faults.take(FaultKind.TRUNCATE, "shop", Operation.SALE) is None


def test_lots_are_drawn_alike_from_the_same_seed() -> None:
    def drawn(seed: int) -> list[bool]:
        faults = Faults(seed=seed)
        faults.add(Fault(kind=FaultKind.RESET_AFTER, probability=0.3))
        return [
            faults.take(FaultKind.RESET_AFTER, "shop", Operation.SALE) is not None
            for _ in range(300)
        ]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 60 < sum(drawn(1)) < 120


def test_probability_ends_after_its_times() -> None:
    faults = Faults()
    faults.add(Fault(kind=FaultKind.RESET_AFTER, probability=0.5, times=3))

    struck = [faults.take(FaultKind.RESET_AFTER, "shop", Operation.SALE) for _ in range(100)]

    assert sum(fault is not None for fault in struck) == 3


def test_faults_are_lifted() -> None:
    faults = Faults()
    faults.add(Fault(kind=FaultKind.TRUNCATE))

    faults.clear()

    assert faults.active() == []


WRONG_FAULTS: list[dict[str, Any]] = [
    {},
    {"kind": "explode"},
    {"kind": "truncate", "colour": "red"},
    {"kind": "latency"},
    {"kind": "latency", "seconds": -1},
    {"kind": "latency", "seconds": "1"},
    {"kind": "latency", "seconds": float("inf")},
    {"kind": "clock_skew", "seconds": float("nan")},
    {"kind": "clock_skew", "seconds": 1, "operation": "sale"},
    {"kind": "truncate", "operation": "payments"},
    {"kind": "truncate", "times": 0},
    {"kind": "status", "status": 201, "processed": True, "flag": "EUNHEARD"},
    {"kind": "status", "status": 201, "flag": "ETIMEOUT"},
    {"kind": "truncate", "times": True},
    {"kind": "truncate", "probability": 0},
    {"kind": "truncate", "probability": 1.1},
    {"kind": "truncate", "processed": 1},
    {"kind": "status"},
    {"kind": "status", "status": 204},
    {"kind": "status", "status": 299},
    {"kind": "redirect", "status": 304},
]


@pytest.mark.parametrize("document", WRONG_FAULTS, ids=repr)
def test_a_fault_that_makes_no_sense_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\.$|is not a valid|wrong type"):
        Fault.from_json(document)


@pytest.mark.parametrize("kind", FaultKind)
def test_every_fault_survives_json(kind: FaultKind) -> None:
    fault = Fault(kind=kind, seconds=1, status=502 if kind is FaultKind.STATUS else 0)

    document = {name: value for name, value in fault.as_json().items() if value is not None}

    assert Fault.from_json(json.loads(json.dumps(document))) == fault


def test_two_gateways_share_nothing(
    registry: MemoryRegistry, identity: Identity, shop: Caller, clock: Clock
) -> None:
    first, second = (Gateway(registry, identity=identity, clock=clock) for _ in range(2))
    request = shop.request()

    strike(first, shop, kind="truncate", times=5)

    assert second.handle(request).wire is Wire.COMPLETE
    assert first.handle(request).wire is Wire.TRUNCATED
