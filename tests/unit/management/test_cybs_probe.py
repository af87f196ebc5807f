"""`cybs_probe`: what it asks, what it reads from the answers, and whom it never asks."""

from __future__ import annotations

from typing import Any

import pytest

from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import signing
from django_cybs_jwt.services.queue import probing
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.management.running import Ended, run
from tests.unit.services import enrolment

pytestmark = pytest.mark.django_db

MONEY = {"reversal-of-nothing", "void-of-nothing", "twin", "long-id", "search-lag"}


@pytest.fixture
def acme(cybs_simulator: Simulation, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    owner = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    key = material.rsa_key(name="probe response")
    cybs_simulator.import_p12(owner, "response-mle", private_key=key)
    signing.forget()
    monkeypatch.setattr(probing, "_POLLS", 0.01)
    return cybs_simulator


def probe(*arguments: str) -> Ended:
    return run("cybs_probe", "acme", *arguments)


def answers(*arguments: str) -> dict[str, str]:
    return {each["name"]: each["answer"] for each in probe("--json", *arguments).json}


def test_without_money_nothing_is_written_at_the_gateway(acme: Simulation) -> None:
    found = answers()
    assert not MONEY & set(found)
    assert acme.ledger == []
    assert (found["late-token"], found["replayed-token"]) == ("yes", "yes")
    assert (found["search"], found["search-by-id"]) == ("yes", "no")
    assert found["correlation-id"] == "yes"
    assert abs(int(found["clock"].split()[0])) <= 5


def test_a_clock_that_is_wrong_is_told(acme: Simulation) -> None:
    acme.faults.add(Fault(kind=FaultKind.CLOCK_SKEW, seconds=40, probability=1.0))
    assert int(answers()["clock"].split()[0]) in range(-46, -34)


def test_with_money_every_payment_is_undone(acme: Simulation) -> None:
    found = answers("--money")
    assert set(found) >= MONEY
    assert (found["twin"], found["long-id"]) == ("INVALID_DATA", "64 characters or more")
    assert (found["reversal-of-nothing"], found["void-of-nothing"]) == (
        "MISSING_AUTH", "INVALID_DATA"
    )  # fmt: skip
    assert found["search-lag"].endswith(" s")
    paid = [entry for entry in acme.ledger if entry.operation == "authorization"]
    undone = {entry.transaction_id for entry in acme.ledger if entry.operation == "reversal"}
    assert len(paid) == 5
    assert {entry.transaction_id for entry in paid} <= undone


def test_a_search_that_does_not_show_it_in_time_is_told(acme: Simulation) -> None:
    acme.gateway.ledger.index_lag = 60
    assert answers("--money", "--lag", "0.05")["search-lag"] == "more than 0.05 s"


def test_a_gateway_that_does_not_answer_is_1_and_the_others_are_asked(acme: Simulation) -> None:
    acme.faults.add(Fault(kind=FaultKind.RESET_BEFORE, times=1))
    ended = probe("--json")
    told = {each["name"]: (each["answer"], each["detail"]) for each in ended.json}
    assert ended.code == 1
    assert told["clock"] == ("no answer", "OutcomeUnknown")
    assert told["search"][0] == "yes"


def test_an_idle_connection_is_tried_only_when_asked(acme: Simulation) -> None:
    assert "idle-connection" not in answers()
    assert "idle-connection" in answers("--idle", "0.01")


@pytest.mark.parametrize("extra", [[], ["--money"]])
def test_a_live_account_is_never_asked(acme: Simulation, settings: Any, extra: list[str]) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "LIVE": True}
    enrolment.move(Organization.objects.get(org_id="acme"), live=True)
    ended = probe(*extra)
    assert (ended.code, "never probed" in ended.err) == (2, True)
    assert acme.ledger == []
    assert acme.gateway.refusals.as_json() == []


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "31"])
def test_usage_is_2(acme: Simulation, seconds: str) -> None:
    assert probe("--idle", seconds).code == 2


def test_the_text_shows_no_card_and_no_token(acme: Simulation) -> None:
    text = probe("--money").out
    assert "Is a token refused the second time?" in text
    assert "4111111111111111" not in text
    assert "eyJ" not in text
