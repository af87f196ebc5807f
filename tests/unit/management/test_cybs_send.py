"""cybs_send: what is printed, and that the exit code tells the four outcomes apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from django_cybs_jwt.client import Reply
from django_cybs_jwt.models import Credential, State
from django_cybs_jwt.services import organizations, sending, signing, usage
from django_cybs_jwt.simulator.faults import Fault, FaultKind
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.management.running import run, type_in
from tests.unit.services import enrolment

CARD = "4111111111111111"
PAYMENT = {
    "clientReferenceInformation": {"code": "order-1"},
    "orderInformation": {"amountDetails": {"totalAmount": "10.00", "currency": "EUR"}},
    "paymentInformation": {
        "card": {"number": CARD, "expirationMonth": "12", "expirationYear": "2031"}
    },
}
PAYMENTS = ("cybs_send", "acme", "POST", "/pts/v2/payments")


@pytest.fixture
def body(tmp_path: Path) -> str:
    path = tmp_path / "payment.json"
    path.write_text(json.dumps(PAYMENT))
    return str(path)


@pytest.fixture
def simulator(cybs_simulator: Simulation) -> Simulation:
    for purpose in ("signing", "response-mle"):
        key = material.rsa_key(name=f"cybs_send {purpose}")
        owner = organizations.listing().filter(org_id="acme").first() or enrolment.organization()
        enrolment.rsa_key(
            owner, purpose=purpose, key=key, gateway=cybs_simulator.certificate.certificate
        )
    signing.forget()
    return cybs_simulator


def inject(simulator: Simulation, kind: str, **options: Any) -> None:
    simulator.faults.add(Fault(kind=FaultKind(kind), **options))


def test_0_with_the_decrypted_body_and_what_outside_checks_read(
    simulator: Simulation, body: str
) -> None:
    ended = run(*PAYMENTS, "--data", body, "--json")
    assert ended.code == 0
    facts = ended.json
    assert facts["status_code"] == 201
    assert (facts["request_encrypted"], facts["encrypted"]) == (True, True)
    assert facts["key_id"] == simulator.ledger[0].kid
    assert facts["correlation_id"]
    assert facts["body"]["status"] == "AUTHORIZED"


def test_the_text_tells_the_same_on_one_line_and_the_body_below(
    simulator: Simulation, body: str
) -> None:
    first, *rest = run(*PAYMENTS, "--data", body).out.splitlines()
    assert first.startswith("HTTP 201 · key ")
    assert "request encrypted · reply encrypted" in first
    assert json.loads("".join(rest))["status"] == "AUTHORIZED"


def test_the_body_may_come_from_standard_input(
    simulator: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, json.dumps(PAYMENT))
    assert run(*PAYMENTS, "--data", "-").code == 0


def test_0_for_a_decline(simulator: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    declined = {
        **PAYMENT,
        "orderInformation": {"amountDetails": {"totalAmount": "3000.00", "currency": "EUR"}},
    }
    inject(simulator, "status", status=201)
    type_in(monkeypatch, json.dumps(declined))
    ended = run(*PAYMENTS, "--data", "-", "--json")
    assert (ended.code, ended.json["status_code"]) == (0, 201)


def test_mle_off_sends_in_clear_where_the_gateway_allows_it(
    simulator: Simulation, body: str
) -> None:
    facts = run(*PAYMENTS, "--data", body, "--mle", "off", "--json").json
    assert (facts["request_encrypted"], facts["encrypted"]) == (False, True)


def test_1_for_another_answer_which_is_printed(simulator: Simulation) -> None:
    ended = run("cybs_send", "acme", "GET", "/tss/v2/transactions/1", "--json")
    assert ended.code == 1
    assert ended.json["status_code"] == 404


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 502, 503])
def test_1_for_every_status_that_is_not_2xx(simulator: Simulation, body: str, status: int) -> None:
    inject(simulator, "status", status=status)
    ended = run(*PAYMENTS, "--data", body, "--json")
    assert (ended.code, ended.json["status_code"]) == (1, status)


@pytest.mark.parametrize(
    "arguments",
    [
        ("cybs_send", "nobody", "GET", "/x"),
        ("cybs_send", "acme", "BREW", "/pts/v2/payments"),
        ("cybs_send", "acme", "GET", "https://evil.example.com/"),
        ("cybs_send", "acme", "GET", "//evil.example.com/x"),
        ("cybs_send", "acme", "GET", "/a/../b"),
        ("cybs_send", "acme", "POST", "/pts/v2/payments", "--data", "/nowhere/at/all"),
    ],
    ids=lambda arguments: " ".join(arguments[1:4]),
)
def test_2_when_nothing_was_sent(simulator: Simulation, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert ended.err
    assert simulator.ledger == []
    assert simulator.gateway.refusals.as_json() == []


def test_2_for_a_key_that_may_not_be_used(simulator: Simulation, body: str) -> None:
    enrolment.put(Credential.objects.get(slot__purpose="signing"), State.SUSPENDED)
    ended = run(*PAYMENTS, "--data", body)
    assert ended.code == 2
    assert "is SUSPENDED" in ended.err


@pytest.mark.parametrize(
    ("kind", "processed"),
    [
        ("reset_after", 1),
        ("reset_before", 0),
        ("truncate", 1),
        ("broken_jwe", 1),
        ("unknown_kid", 1),
    ],
)
def test_3_when_the_outcome_is_unknown(
    simulator: Simulation, body: str, kind: str, processed: int
) -> None:
    inject(simulator, kind)
    ended = run(*PAYMENTS, "--data", body)
    assert ended.code == 3
    assert ended.err
    assert len(simulator.ledger) == processed


def test_3_when_a_reply_that_must_be_encrypted_is_not(
    simulator: Simulation, body: str, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESPONSE_MLE": "required"}
    inject(simulator, "plain_reply")
    assert run(*PAYMENTS, "--data", body).code == 3


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_a_dry_run_sends_nothing_and_shows_no_signature_and_no_body(
    simulator: Simulation, body: str, form: tuple[str, ...]
) -> None:
    ended = run(*PAYMENTS, "--data", body, "--dry-run", *form)
    assert ended.code == 0
    assert simulator.ledger == []
    assert "<redacted>" in ended.out
    assert "v-c-merchant-id" in ended.out
    assert "eyJ" not in ended.out
    assert CARD not in ended.out
    assert "encryptedRequest" not in ended.out


def test_explain_on_a_401_names_the_suspect_and_shows_no_signature(
    simulator: Simulation, body: str
) -> None:
    inject(simulator, "clock_skew", seconds=3600.0)
    ended = run(*PAYMENTS, "--data", body, "--explain")
    assert ended.code == 1
    assert "HTTP 401" in ended.err
    assert "BAD  clock: " in ended.err
    assert "NTP" in ended.err
    assert "eyJ" not in ended.err
    assert CARD not in ended.err


def test_explain_and_a_dry_run_name_the_certificate_that_the_body_is_encrypted_for(
    simulator: Simulation, body: str
) -> None:
    certificate = signing.keys_for("acme").gateway_certificate
    assert certificate is not None
    encrypted = (*PAYMENTS, "--data", body, "--mle", "on")
    assert f"request_mle_kid: {certificate.kid}\n" in run(*encrypted, "--dry-run").out
    inject(simulator, "clock_skew", seconds=3600.0)
    assert f"request MLE kid: {certificate.kid} " in run(*encrypted, "--explain").err
    assert "request MLE kid" not in run(*PAYMENTS, "--data", body, "--mle", "off", "--explain").err


def test_a_database_that_fails_behind_the_answer_does_not_change_what_it_was(
    simulator: Simulation, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(Reply, "explain", away)
    ended = run(*PAYMENTS, "--data", body, "--explain", "--json")
    assert (ended.code, ended.json["status_code"]) == (0, 201)
    assert "cannot be explained: OperationalError" in ended.err


def test_3_when_the_database_fails_between_the_request_and_its_answer(
    simulator: Simulation, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(usage, "opened", away)
    sending._counting.cache_clear()
    ended = run(*PAYMENTS, "--data", body)
    sending._counting.cache_clear()
    assert (ended.code, len(simulator.ledger)) == (3, 1)
    assert "OperationalError" in ended.err


def test_explain_leaves_the_json_on_the_output_alone(simulator: Simulation, body: str) -> None:
    ended = run(*PAYMENTS, "--data", body, "--explain", "--json")
    assert ended.json["status_code"] == 201
    assert "ok   iss" in ended.err


def test_a_body_that_is_no_json_is_the_gateways_to_refuse_and_is_not_repeated(
    simulator: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, f"not json {CARD}")
    ended = run(*PAYMENTS, "--data", "-")
    assert ended.code == 1
    assert CARD not in ended.err + ended.out
    assert simulator.ledger == []
