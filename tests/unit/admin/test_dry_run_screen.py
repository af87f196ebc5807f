"""What would be sent for a merchant: claims and headers, and nothing that could be sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_cybs_jwt.models import Credential, KeyEvent, Organization, OutboundRequest
from django_cybs_jwt.services import usage
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit import planted
from tests.unit.admin import people
from tests.unit.admin.people import url

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]
PAYMENT = {"method": "POST", "path": "/pts/v2/payments"}


@pytest.fixture
def operator() -> User:
    return people.staff("olga", "operators")


@pytest.fixture
def visitor(operator: User) -> Client:
    return people.client(operator)


@pytest.fixture
def acme(cybs_simulator: Simulation) -> Organization:
    return cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)


def asked(visitor: Client, row: Organization, **typed: str) -> Any:
    return visitor.post(url("organization", "dry_run", row.pk), {**PAYMENT, **typed})


def told(answer: Any) -> str:
    return " ".join(str(message) for message in answer.context["messages"])


def test_claims_headers_and_the_key_are_shown(visitor: Client, acme: Organization) -> None:
    answer = asked(visitor, acme, path="/tss/v2/transactions/1", method="GET")
    signed, key = answer.context["signed"], Credential.objects.get(organization=acme)
    assert signed["key_id"] == key.key_id
    assert signed["claims"]["iss"] == "acme"
    content = answer.content.decode()
    for text in (signed["url"], key.key_id, "v-c-merchant-id", signed["claims"]["jti"]):
        assert text in content


def test_neither_token_nor_signature_nor_body_is_in_the_page(
    cybs_simulator: Simulation, visitor: Client, caplog: Any
) -> None:
    answer = asked(visitor, cybs_simulator.merchant("acme"), body=json.dumps(planted.payment()))
    assert answer.context["signed"]["request_encrypted"] is True
    content = answer.content.decode()
    assert "encrypted" in content
    assert "Bearer &lt;redacted&gt;" in content
    assert "eyJ" not in content
    assert planted.leaks(content) == set()
    assert planted.leaks(caplog.text) == set()


def test_nothing_is_sent_and_nothing_is_stored(
    cybs_simulator: Simulation, visitor: Client, acme: Organization
) -> None:
    events = KeyEvent.objects.count()
    asked(visitor, acme, body="{}")
    assert cybs_simulator.ledger == []
    assert not OutboundRequest.objects.exists()
    assert KeyEvent.objects.count() == events
    assert usage.flush() == 0


@pytest.mark.parametrize("typed", [{"path": "no path"}, {"path": ""}, {"method": "PURGE"}])
def test_what_cannot_be_sent_is_told_and_the_body_does_not_come_back(
    visitor: Client, acme: Organization, typed: dict[str, str]
) -> None:
    answer = asked(visitor, acme, body=json.dumps(planted.payment()), **typed)
    assert "signed" not in answer.context
    assert told(answer) or answer.context["form"].errors
    assert planted.leaks(answer.content.decode()) == set()


def test_a_merchant_without_a_key_says_so(cybs_simulator: Simulation, visitor: Client) -> None:
    empty = cybs_simulator.merchant("empty", signs_with=None)
    answer = asked(visitor, empty)
    assert "empty" in told(answer)
    assert "signed" not in answer.context


def test_the_owner_of_a_meta_key_out_of_scope_is_not_named(
    cybs_simulator: Simulation, visitor: Client, operator: User
) -> None:
    top = cybs_simulator.merchant("mall", kind="portfolio", signs_with=None)
    shop = cybs_simulator.merchant("shop", parent="mall", signs_with=None)
    cybs_simulator.import_shared_secret(top, covers="all")
    assert asked(visitor, shop).context["signed"]["claims"]["iss"] == "mall"
    people.limited(operator, shop)
    answer = asked(visitor, shop)
    assert "outside of what you see" in told(answer)
    assert "mall" not in answer.content.decode()
