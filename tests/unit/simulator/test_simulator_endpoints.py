"""Every endpoint, its answer and what the ledger keeps of it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from django_cybs_jwt.simulator import (
    DECLINED_AMOUNT,
    Gateway,
    Identity,
    Ledger,
    MemoryRegistry,
    Refusal,
    SimAnswer,
)
from tests.unit.simulator.callers import CARD_NUMBER, PAYMENT, Caller, Clock

PAYMENTS = "/pts/v2/payments"


def order(code: str = "order-1", transaction_id: str = "", amount: Any = "10.00") -> dict[str, Any]:
    reference = {"code": code} | ({"transactionId": transaction_id} if transaction_id else {})
    return {
        "clientReferenceInformation": reference,
        "orderInformation": {"amountDetails": {"totalAmount": amount, "currency": "EUR"}},
    }


def sale(**options: Any) -> dict[str, Any]:
    return order(**options) | {"processingInformation": {"capture": True}}


def call(gateway: Gateway, caller: Caller, target: str, document: Any) -> dict[str, Any]:
    """Send a POST that must succeed and return the decoded answer."""
    answer = gateway.handle(caller.request("POST", target, document))
    assert answer.status in (200, 201), answer
    return dict(json.loads(answer.body))


def refused(gateway: Gateway, caller: Caller, target: str, document: Any) -> tuple[Refusal, str]:
    answer: SimAnswer = gateway.handle(caller.request("POST", target, document))
    assert answer.status == 400
    assert answer.refusal is not None
    return answer.refusal, json.loads(answer.body)["reason"]


def test_an_authorization_answers_and_is_kept(gateway: Gateway, shop: Caller) -> None:
    answer = call(gateway, shop, PAYMENTS, PAYMENT)

    assert answer["status"] == "AUTHORIZED"
    assert answer["clientReferenceInformation"] == {"code": "order-1", "transactionId": "tx-1"}
    assert answer["orderInformation"]["amountDetails"]["totalAmount"] == "102.21"
    (entry,) = gateway.ledger.as_json()
    assert entry["id"] == answer["id"]
    assert {name: entry[name] for name in ("org_id", "operation", "code", "transactionId")} == {
        "org_id": "shop",
        "operation": "authorization",
        "code": "order-1",
        "transactionId": "tx-1",
    }
    assert (entry["amount"], entry["currency"], entry["status"]) == ("102.21", "USD", "AUTHORIZED")
    assert (entry["request_encrypted"], entry["response_encrypted"]) == (False, False)
    assert (entry["signed_by"], entry["kid"]) == ("shop", shop.kid)
    assert entry["undone"] is False


def test_no_card_number_is_kept_or_answered(gateway: Gateway, shop: Caller) -> None:
    answer = gateway.handle(shop.request())
    gateway.handle(shop.request())

    kept = repr(gateway.ledger.entries()) + repr(gateway.refusals.as_json())
    assert CARD_NUMBER not in kept + answer.body.decode() + repr(shop.request()) + repr(answer)


def test_capture_at_once_is_a_sale(gateway: Gateway, shop: Caller) -> None:
    call(gateway, shop, PAYMENTS, sale())

    assert gateway.ledger.entries()[0].operation == "sale"


@pytest.mark.parametrize("amount", ["13.13", "13.130", float(DECLINED_AMOUNT)], ids=repr)
def test_the_magic_amount_is_declined_with_201(gateway: Gateway, shop: Caller, amount: Any) -> None:
    answer = call(gateway, shop, PAYMENTS, order(amount=amount))

    assert answer["status"] == "DECLINED"
    assert answer["errorInformation"]["reason"] == "PROCESSOR_DECLINED"
    assert gateway.ledger.entries()[0].status == "DECLINED"


@pytest.mark.parametrize(
    ("first", "path", "outcome"),
    [
        (order(), "/pts/v2/payments/{id}/captures", ("PENDING", "capture")),
        (order(), "/pts/v2/payments/{id}/reversals", ("REVERSED", "reversal")),
        (sale(), "/pts/v2/payments/{id}/refunds", ("PENDING", "refund")),
        (sale(), "/pts/v2/payments/{id}/voids", ("VOIDED", "void")),
    ],
)
def test_a_payment_is_followed(
    gateway: Gateway,
    shop: Caller,
    first: dict[str, Any],
    path: str,
    outcome: tuple[str, str],
) -> None:
    status, operation = outcome
    payment = call(gateway, shop, PAYMENTS, first)

    answer = call(gateway, shop, path.format(id=payment["id"]), order("order-2", amount="4.00"))

    assert answer["status"] == status
    entry = gateway.ledger.entries()[1]
    assert (entry.operation, entry.original, entry.code) == (operation, payment["id"], "order-2")
    assert gateway.ledger.is_undone(gateway.ledger.entries()[0]) is (
        operation in ("reversal", "void")
    )


def test_a_capture_is_refunded_and_voided(gateway: Gateway, shop: Caller) -> None:
    payment = call(gateway, shop, PAYMENTS, order())
    capture = call(gateway, shop, f"{PAYMENTS}/{payment['id']}/captures", order())

    refund = call(gateway, shop, f"/pts/v2/captures/{capture['id']}/refunds", order())
    void = call(gateway, shop, f"/pts/v2/captures/{capture['id']}/voids", {})
    refund_void = call(gateway, shop, f"/pts/v2/refunds/{refund['id']}/voids", {})

    assert refund["refundAmountDetails"] == {"refundAmount": "10.00", "currency": "EUR"}
    assert void["voidAmountDetails"] == {"voidAmount": "10.00", "currency": "EUR"}
    assert refund_void["status"] == "VOIDED"


def test_a_credit_is_given_and_voided(gateway: Gateway, shop: Caller) -> None:
    credit = call(gateway, shop, "/pts/v2/credits", order())

    assert credit["creditAmountDetails"] == {"creditAmount": "10.00", "currency": "EUR"}
    assert call(gateway, shop, f"/pts/v2/credits/{credit['id']}/voids", {})["status"] == "VOIDED"


@pytest.mark.parametrize(
    ("first", "path", "status"),
    [
        (order, "/pts/v2/reversals", "REVERSED"),
        (order, "/pts/v2/reversals/", "REVERSED"),
        (sale, "/pts/v2/voids", "VOIDED"),
        (sale, "/pts/v2/voids/", "VOIDED"),
    ],
)
def test_a_lost_reply_is_undone_by_its_transaction_id(
    gateway: Gateway, shop: Caller, first: Any, path: str, status: str
) -> None:
    call(gateway, shop, PAYMENTS, first(transaction_id="tx-9"))
    by_transaction_id = {"clientReferenceInformation": {"transactionId": "tx-9"}}

    answer = call(gateway, shop, path, by_transaction_id)

    assert answer["status"] == status
    assert gateway.ledger.is_undone(gateway.ledger.entries()[0])
    assert refused(gateway, shop, path, by_transaction_id)[0] is Refusal.ALREADY_UNDONE


@pytest.mark.parametrize(
    ("path", "document", "answer"),
    [
        ("/pts/v2/reversals", {}, (Refusal.MISSING_FIELD, "MISSING_FIELD")),
        (
            "/pts/v2/reversals",
            order(transaction_id="x"),
            (Refusal.NO_SUCH_ORIGINAL, "MISSING_AUTH"),
        ),
        ("/pts/v2/voids", order(transaction_id="x"), (Refusal.NO_SUCH_ORIGINAL, "INVALID_DATA")),
        ("/pts/v2/payments/1/voids", {}, (Refusal.NO_SUCH_ORIGINAL, "NOT_VOIDABLE")),
        ("/pts/v2/payments/1/captures", order(), (Refusal.NO_SUCH_ORIGINAL, "MISSING_AUTH")),
        ("/pts/v2/payments/1/refunds", order(), (Refusal.NO_SUCH_ORIGINAL, "INVALID_DATA")),
        ("/pts/v2/payments/1/reversals", {}, (Refusal.NO_SUCH_ORIGINAL, "MISSING_AUTH")),
    ],
)
def test_nothing_follows_what_was_never_there(
    gateway: Gateway, shop: Caller, path: str, document: Any, answer: Any
) -> None:
    assert refused(gateway, shop, path, document) == answer
    assert gateway.ledger.entries() == []


def test_an_authorization_is_not_voided_and_a_sale_not_captured(
    gateway: Gateway, shop: Caller
) -> None:
    authorized = call(gateway, shop, PAYMENTS, order())["id"]
    sold = call(gateway, shop, PAYMENTS, sale())["id"]

    for path in (f"{PAYMENTS}/{authorized}/voids", f"{PAYMENTS}/{sold}/captures"):
        assert refused(gateway, shop, path, order())[0] is Refusal.NO_SUCH_ORIGINAL


def test_a_declined_payment_is_not_captured(gateway: Gateway, shop: Caller) -> None:
    declined = call(gateway, shop, PAYMENTS, order(amount="13.13"))["id"]

    answer = refused(gateway, shop, f"{PAYMENTS}/{declined}/captures", order())

    assert answer == (Refusal.NO_SUCH_ORIGINAL, "MISSING_AUTH")


@pytest.mark.parametrize(
    ("first", "paths", "reason"),
    [
        (order(), ("reversals", "captures"), "AUTH_ALREADY_REVERSED"),
        (order(), ("reversals", "reversals"), "AUTH_ALREADY_REVERSED"),
        (sale(), ("voids", "voids"), "NOT_VOIDABLE"),
        (sale(), ("voids", "refunds"), "CAPTURE_ALREADY_VOIDED"),
    ],
)
def test_what_was_undone_stays_undone(
    gateway: Gateway, shop: Caller, first: Any, paths: tuple[str, str], reason: str
) -> None:
    payment = call(gateway, shop, PAYMENTS, first)["id"]
    call(gateway, shop, f"{PAYMENTS}/{payment}/{paths[0]}", {})

    answer = refused(gateway, shop, f"{PAYMENTS}/{payment}/{paths[1]}", order())

    assert answer == (Refusal.ALREADY_UNDONE, reason)


@pytest.mark.parametrize("amount", ["10.00", "13.13"])
def test_a_repeated_transaction_id_is_invalid_data(
    gateway: Gateway, shop: Caller, amount: str
) -> None:
    call(gateway, shop, PAYMENTS, order(transaction_id="tx-1", amount=amount))

    for path in (PAYMENTS, "/pts/v2/credits"):
        answer = gateway.handle(shop.request("POST", path, order(transaction_id="tx-1")))
        told = json.loads(answer.body)
        assert answer.refusal is Refusal.REPEATED_TRANSACTION_ID
        assert (answer.status, told["reason"]) == (400, "INVALID_DATA")
        assert told["details"] == [
            {"field": "clientReferenceInformation.transactionId", "reason": "INVALID_DATA"}
        ]
    assert len(gateway.ledger.entries()) == 1


def test_transaction_ids_of_two_merchants_do_not_meet(
    gateway: Gateway, shop: Caller, kiosk: Caller
) -> None:
    for caller in (shop, kiosk):
        call(gateway, caller, PAYMENTS, order(transaction_id="tx-1"))

    assert len(gateway.ledger.entries()) == 2


def test_another_merchants_payment_is_not_there(
    gateway: Gateway, shop: Caller, kiosk: Caller
) -> None:
    payment = call(gateway, shop, PAYMENTS, order(transaction_id="tx-1"))["id"]

    assert gateway.handle(kiosk.request("GET", f"/tss/v2/transactions/{payment}")).status == 404
    assert search(gateway, kiosk)["totalCount"] == 0
    answer = refused(gateway, kiosk, "/pts/v2/reversals", order(transaction_id="tx-1"))
    assert answer[0] is Refusal.NO_SUCH_ORIGINAL


def search(gateway: Gateway, caller: Caller, query: str = "", **options: Any) -> dict[str, Any]:
    query = query or 'clientReferenceInformation.code:"order-1"'
    return call(gateway, caller, "/tss/v2/searches", {"save": False, "query": query, **options})


def test_a_search_finds_what_succeeded_and_what_was_declined(
    gateway: Gateway, shop: Caller
) -> None:
    payment = call(gateway, shop, PAYMENTS, order())
    call(gateway, shop, PAYMENTS, order(amount="13.13"))
    call(gateway, shop, PAYMENTS, order("order-2"))

    found = search(gateway, shop)

    assert (found["totalCount"], found["count"]) == (2, 2)
    declined, succeeded = found["_embedded"]["transactionSummaries"]
    assert succeeded["id"] == payment["id"]
    assert succeeded["applicationInformation"]["reasonCode"] == "100"
    assert succeeded["applicationInformation"]["rFlag"] == "SOK"
    assert declined["applicationInformation"]["rFlag"] != "SOK"
    assert "status" not in succeeded
    assert succeeded["orderInformation"]["amountDetails"]["totalAmount"] == "10.00"


@pytest.mark.parametrize(
    "query",
    [
        "clientReferenceInformation.code:order-1",
        'clientReferenceInformation.code:"order-1" AND submitTimeUtc:[NOW/DAY-7DAYS TO NOW}',
    ],
)
def test_a_search_understands_the_usual_spellings(
    gateway: Gateway, shop: Caller, query: str
) -> None:
    call(gateway, shop, PAYMENTS, order())

    assert search(gateway, shop, query)["totalCount"] == 1


@pytest.mark.parametrize(("sort", "last"), [("submitTimeUtc:desc", 0), ("submitTimeUtc:asc", 2)])
def test_a_search_pages_in_the_order_asked_for(
    gateway: Gateway, shop: Caller, sort: str, last: int
) -> None:
    for _ in range(3):
        call(gateway, shop, PAYMENTS, order())

    found = search(gateway, shop, limit=2, offset=2, sort=sort)

    assert (found["count"], found["totalCount"]) == (1, 3)
    (shown,) = found["_embedded"]["transactionSummaries"]
    assert shown["id"] == gateway.ledger.entries()[last].id


def test_a_search_shows_what_was_refused_and_the_ledger_does_not(
    gateway: Gateway, shop: Caller
) -> None:
    for _ in range(2):
        gateway.handle(shop.request("POST", PAYMENTS, order(transaction_id="tx-1")))
    gateway.handle(shop.request("POST", "/pts/v2/voids", order(transaction_id="none")))

    shown = search(gateway, shop, sort="submitTimeUtc:asc")["_embedded"]["transactionSummaries"]

    flags = [each["applicationInformation"]["rFlag"] for each in shown]
    assert flags == ["SOK", "DINVALIDDATA", "DINVALIDDATA"]
    assert shown[2]["applicationInformation"]["applications"][0]["name"] == "ics_void"
    assert len(gateway.ledger.entries()) == 1
    for each in shown:
        path = f"/tss/v2/transactions/{each['id']}"
        answer = json.loads(gateway.handle(shop.request("GET", path)).body)
        assert answer["applicationInformation"].get("status") in ("TRANSMITTED", None)


def test_what_was_refused_is_followed_by_nothing(gateway: Gateway, shop: Caller) -> None:
    for _ in range(2):
        gateway.handle(shop.request("POST", PAYMENTS, order(transaction_id="tx-1")))
    twin = search(gateway, shop)["_embedded"]["transactionSummaries"][0]["id"]

    answer = refused(gateway, shop, f"{PAYMENTS}/{twin}/captures", order())

    assert answer[0] is Refusal.NO_SUCH_ORIGINAL


@pytest.mark.parametrize(
    "document", [{"query": "id:1"}, {}, {"query": "clientReferenceInformation.code:x", "limit": -1}]
)
def test_a_search_it_does_not_understand_is_refused_not_empty(
    gateway: Gateway, shop: Caller, document: Any
) -> None:
    assert refused(gateway, shop, "/tss/v2/searches", document)[0] is Refusal.INVALID_DATA


def test_the_index_lags_behind_the_ledger(
    registry: MemoryRegistry, identity: Identity, shop: Caller, clock: Clock
) -> None:
    gateway = Gateway(registry, identity=identity, clock=clock, ledger=Ledger(index_lag=5.0))
    path = f"/tss/v2/transactions/{call(gateway, shop, PAYMENTS, order())['id']}"

    assert search(gateway, shop)["totalCount"] == 0
    assert gateway.handle(shop.request("GET", path)).status == 404
    clock.now += 5
    assert search(gateway, shop)["totalCount"] == 1
    assert gateway.handle(shop.request("GET", path)).status == 200


def test_a_transaction_is_shown_with_its_state(gateway: Gateway, shop: Caller) -> None:
    path = f"/tss/v2/transactions/{call(gateway, shop, PAYMENTS, sale())['id']}"

    def status() -> Any:
        answer = gateway.handle(shop.request("GET", path))
        return json.loads(answer.body)["applicationInformation"]["status"]

    assert status() == "TRANSMITTED"
    call(gateway, shop, path.replace("/tss/v2/transactions", PAYMENTS) + "/voids", {})
    assert status() == "VOIDED"


def test_reading_leaves_no_entry(gateway: Gateway, shop: Caller) -> None:
    search(gateway, shop)
    gateway.handle(shop.request("GET", "/tss/v2/transactions/1"))

    assert gateway.ledger.entries() == []


@pytest.mark.parametrize(
    ("target", "status", "named"),
    [
        ("/tms/v2/tokenize", 200, ("tokenize", "responses")),
        ("/bavs/v1/account-validations", 201, ("account_validation", "bankAccountValidation")),
    ],
)
def test_a_mandatory_operation_is_accepted_encrypted(
    gateway: Gateway, shop: Caller, target: str, status: int, named: tuple[str, str]
) -> None:
    answer = gateway.handle(shop.request("POST", target, PAYMENT, encrypt_for=gateway))

    assert answer.status == status
    operation, member = named
    assert member in json.loads(answer.body)
    (entry,) = gateway.ledger.entries()
    assert (entry.operation, entry.request_encrypted) == (operation, True)


def test_both_directions_are_encrypted_under_a_meta_key(
    gateway: Gateway, portfolio: Caller
) -> None:
    answer = gateway.handle(portfolio.request(encrypt_for=gateway))

    assert (answer.status, answer.headers["content-type"]) == (201, "application/json")
    assert portfolio.open(answer.body)["status"] == "AUTHORIZED"
    (entry,) = gateway.ledger.entries()
    assert (entry.org_id, entry.signed_by, entry.kid) == ("branch", "portfolio", portfolio.kid)
    assert (entry.request_encrypted, entry.response_encrypted) == (True, True)


def test_the_encrypted_reply_names_its_key_and_its_second(
    gateway: Gateway, portfolio: Caller, clock: Clock
) -> None:
    answer = gateway.handle(portfolio.request())

    head = json.loads(answer.body)["encryptedResponse"].split(".")[0]
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {
        "alg": "RSA-OAEP-256",
        "enc": "A256GCM",
        "kid": portfolio.response_kid,
        "iat": clock.now,
    }


@pytest.mark.parametrize(
    ("target", "document", "status"),
    [
        (PAYMENTS, {}, 400),
        ("/no/such/path", {}, 404),
        ("/tms/v2/tokenize", {}, 400),
        ("/pts/v2/voids", order(transaction_id="x"), 400),
    ],
)
def test_business_errors_are_encrypted_too(
    gateway: Gateway, portfolio: Caller, target: str, document: Any, status: int
) -> None:
    answer = gateway.handle(portfolio.request("POST", target, document))

    assert answer.status == status
    assert portfolio.open(answer.body)


def test_a_401_is_in_clear_even_if_encryption_was_asked_for(
    gateway: Gateway, portfolio: Caller
) -> None:
    answer = gateway.handle(portfolio.request(claims={"request-method": "put"}))

    assert json.loads(answer.body) == {"response": {"rmsg": "Authentication Failed"}}


def test_a_get_asks_for_an_encrypted_reply_too(gateway: Gateway, portfolio: Caller) -> None:
    answer = gateway.handle(portfolio.request("GET", "/tss/v2/transactions/1"))

    assert answer.status == 404
    assert portfolio.open(answer.body) == {"message": "The requested resource does not exist"}


def test_every_answer_carries_its_date_and_a_correlation_id_of_its_own(
    gateway: Gateway, shop: Caller
) -> None:
    answers = [gateway.handle(shop.request()), gateway.handle(replace(shop, kid="9").request())]

    assert {answer.headers["date"] for answer in answers} == {"Fri, 15 Jan 2027 08:00:00 GMT"}
    assert len({answer.headers["v-c-correlation-id"] for answer in answers}) == 2
