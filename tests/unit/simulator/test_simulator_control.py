"""The endpoints under /__simulator/."""

from __future__ import annotations

import base64
import json
import re
import secrets
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from django_cybs_jwt.simulator import FaultKind, Gateway, SimAnswer, SimRequest
from tests.unit.simulator.callers import Caller, Clock, certificate, pem


def control(gateway: Gateway, method: str, name: str, document: Any = None) -> SimAnswer:
    body = b"" if document is None else json.dumps(document).encode()
    return gateway.handle(SimRequest(method, f"/__simulator/{name}", {}, body))


def test_the_ledger_is_a_json_list(gateway: Gateway, shop: Caller) -> None:
    assert json.loads(control(gateway, "GET", "ledger").body) == []
    gateway.handle(shop.request())

    (entry,) = json.loads(control(gateway, "GET", "ledger").body)

    assert {"org_id", "operation", "code", "transactionId", "amount"} <= set(entry)
    assert entry["processed_at"] == "2027-01-15T08:00:00+00:00"


def test_the_certificate_is_the_one_requests_are_encrypted_for(gateway: Gateway) -> None:
    answer = control(gateway, "GET", "certificate")

    served = x509.load_pem_x509_certificate(answer.body)
    subject = {a.rfc4514_attribute_name: a.value for a in served.subject}
    assert subject["CN"] == "CyberSource_SJC_US"
    assert gateway.identity.kid in subject.values()
    assert served.public_key() == gateway.identity.private_key.public_key()


def test_refusals_are_listed(gateway: Gateway, shop: Caller) -> None:
    gateway.handle(shop.request(claims={"request-method": "put"}))

    (record,) = json.loads(control(gateway, "GET", "refusals").body)

    assert set(record) == {"time", "org", "refusal", "hint", "method", "path", "jti"}
    assert record["refusal"] == "WRONG_METHOD"


def test_faults_are_posted_listed_and_deleted(gateway: Gateway, shop: Caller) -> None:
    posted = control(gateway, "POST", "faults", {"kind": "status", "status": 503, "times": 2})
    assert posted.status == 201
    assert gateway.handle(shop.request()).status == 503

    (listed,) = json.loads(control(gateway, "GET", "faults").body)
    assert (listed["kind"], listed["status"]) == ("status", 503)

    assert control(gateway, "DELETE", "faults").status == 204
    assert gateway.handle(shop.request()).status == 201


def test_a_posted_organization_may_call(
    gateway: Gateway,
    signing_key: rsa.RSAPrivateKey,
    response_key: rsa.RSAPrivateKey,
    clock: Clock,
) -> None:
    """The kids left out are read from the certificates."""
    guest = Caller(
        "guest", "77", signing_key, response_kid="88", response_key=response_key, clock=clock
    )
    document = {
        "org_id": "guest",
        "certificate": pem(certificate(signing_key, "77", "guest")),
        "response_certificate": pem(certificate(response_key, "88", "guest")),
    }

    answer = control(gateway, "POST", "organizations", document)

    assert answer.status == 201
    assert json.loads(answer.body) == {"org_id": "guest", "kid": "77", "response_kid": "88"}
    assert guest.open(gateway.handle(guest.request()).body)["status"] == "AUTHORIZED"


def test_a_posted_organization_may_have_a_shared_secret_and_cover_others(
    gateway: Gateway, clock: Clock
) -> None:
    secret = secrets.token_bytes(32)
    guest = Caller("guest", "k", secret, algorithm="HS256", merchant="shop-2", clock=clock)
    document = {
        "org_id": "guest",
        "kid": "k",
        "shared_secret": base64.b64encode(secret).decode(),
        "covers": ["shop-2"],
    }

    assert control(gateway, "POST", "organizations", document).status == 201
    assert gateway.handle(guest.request()).status == 201


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"org_id": "guest"},
        {"org_id": "guest", "kid": "k"},
        {"org_id": "guest", "shared_secret": "QUJD"},
        {"org_id": "guest", "kid": "k", "shared_secret": "not base64!"},
        {"org_id": "guest", "kid": "k", "shared_secret": ""},
        {"org_id": "guest", "kid": "k", "certificate": "not PEM"},
        {"org_id": "guest", "kid": 1, "shared_secret": "QUJD"},
        {"org_id": "guest", "kid": "k", "shared_secret": "QUJD", "covers": "all"},
        {"org_id": "guest", "kid": "k", "shared_secret": "QUJD", "response_kid": "r"},
        {"org_id": "guest", "kid": "k", "shared_secret": "QUJD", "colour": "red"},
    ],
    ids=repr,
)
def test_an_organization_that_cannot_be_registered_is_explained(
    gateway: Gateway, document: Any
) -> None:
    answer = control(gateway, "POST", "organizations", document)

    assert answer.status == 400
    assert json.loads(answer.body)["error"].endswith(".")


@pytest.mark.parametrize(
    ("name", "document", "told"),
    [
        ("organizations", {}, "has org_id and may have kid, host, "),
        ("faults", {}, "has kind and may have times, probability, "),
        ("faults", {}, "A kind is one of latency, clock_skew, "),
        ("faults", {"kind": "latancy"}, "A kind is one of latency, clock_skew, "),
        ("faults", {"kind": "page", "operation": "x"}, "An operation is one of authorization, "),
    ],
    ids=repr,
)
def test_a_refusal_lists_what_may_stand_there_and_each_once(
    gateway: Gateway, name: str, document: dict[str, str], told: str
) -> None:
    error = json.loads(control(gateway, "POST", name, document).body)["error"]
    assert told in error
    assert error.count("org_id") <= 1


def test_the_documents_list_every_kind_of_fault_as_the_code_does() -> None:
    page = (Path(__file__).parents[3] / "docs" / "testing.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \|.*\|$", page, re.MULTILINE)
    assert rows[rows.index("kind") + 1 :][: len(FaultKind)] == list(FaultKind)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"kind": NaN}', b"{" * 10_000])
def test_a_control_body_that_is_no_object_is_explained(gateway: Gateway, body: bytes) -> None:
    answer = gateway.handle(SimRequest("POST", "/__simulator/faults", {}, body))

    assert answer.status == 400


@pytest.mark.parametrize(("method", "name"), [("GET", "nothing"), ("POST", "ledger"), ("GET", "")])
def test_an_unknown_control_endpoint_lists_the_known_ones(
    gateway: Gateway, method: str, name: str
) -> None:
    answer = control(gateway, method, name)

    assert answer.status == 404
    assert "GET /__simulator/ledger" in json.loads(answer.body)["endpoints"]
