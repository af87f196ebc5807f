"""What the simulator knows of the database: what the remote gateway would know."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.client import Client, pools
from django_cybs_jwt.exceptions import MLEDecryptError
from django_cybs_jwt.management.commands import cybs_simulator
from django_cybs_jwt.models import Credential, State
from django_cybs_jwt.protocol import MerchantKeys
from django_cybs_jwt.services import coverage, opened_keys, signing, simulating
from django_cybs_jwt.services.simulating import DatabaseRegistry
from django_cybs_jwt.simulator import SimAnswer, SimRequest
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

REGISTRY = DatabaseRegistry()


def test_a_shared_secret_is_known_by_its_bytes() -> None:
    file = enrolment.material.shared_secret()
    end = timezone.now() + timedelta(days=1)
    row = enrolment.shared_secret(
        enrolment.organization(), secret=file.secret, expires_at=end, activate=False
    )
    key = REGISTRY.signing_key("acme", row.key_id, enrolment.HOST)
    assert key is not None
    assert (key.algorithm_family, key.secret, key.not_after) == (
        "HMAC",
        enrolment.decoded(file.secret),
        end,
    )


def test_an_rsa_key_is_known_by_its_public_half() -> None:
    private_key = enrolment.material.rsa_key(name="simulating")
    acme = enrolment.organization()
    row = enrolment.rsa_key(acme, purpose="signing", key=private_key)
    key = REGISTRY.signing_key("acme", row.key_id, enrolment.HOST)
    assert key is not None
    assert (key.algorithm_family, key.public_key) == ("RSA", private_key.public_key())


def test_a_response_key_is_known_to_its_owner_only() -> None:
    row = enrolment.rsa_key(enrolment.organization())
    enrolment.organization("other")
    assert REGISTRY.response_key("acme", row.key_id, enrolment.HOST) is not None
    assert REGISTRY.response_key("other", row.key_id, enrolment.HOST) is None
    assert REGISTRY.signing_key("acme", row.key_id, enrolment.HOST) is None


@pytest.mark.parametrize("state", [state for state in State if state != State.DESTROYED])
def test_our_states_are_nothing_to_the_gateway(state: State) -> None:
    row = enrolment.shared_secret(enrolment.organization())
    enrolment.put(row, state)
    assert REGISTRY.signing_key("acme", row.key_id, enrolment.HOST) is not None


def test_a_destroyed_key_is_gone() -> None:
    row = enrolment.shared_secret(enrolment.organization())
    gone: dict[str, Any] = {"sealed_secret": None, "sealed_p12": None, "live_key_id": None}
    enrolment.put(row, State.DESTROYED, **gone)
    assert REGISTRY.signing_key("acme", row.key_id, enrolment.HOST) is None


@pytest.mark.parametrize("kid", ["", "nothing", "' OR 1=1", "x" * 10_000, "../.."])
def test_an_unknown_key_id_is_nobodys(kid: str) -> None:
    enrolment.shared_secret(enrolment.organization())
    assert REGISTRY.signing_key("acme", kid, enrolment.HOST) is None
    assert REGISTRY.response_key("acme", kid, enrolment.HOST) is None


def test_what_a_key_covers() -> None:
    portfolio, account, _ = enrolment.family()
    enrolment.organization("stranger")
    own = enrolment.shared_secret(portfolio, slot="own")
    everybody = enrolment.shared_secret(portfolio, slot="all", covers="all")
    some = enrolment.shared_secret(account, covers="selected")
    coverage.add("account", ["acme"], actor="tests")
    covered = {
        (row.key_id, merchant)
        for row, issuer in [(own, "portfolio"), (everybody, "portfolio"), (some, "account")]
        for merchant in ("portfolio", "account", "acme", "stranger")
        if REGISTRY.covers(issuer, row.key_id, merchant, enrolment.HOST)
    }
    assert covered == {
        (own.key_id, "portfolio"),
        (everybody.key_id, "portfolio"),
        (everybody.key_id, "account"),
        (everybody.key_id, "acme"),
        (some.key_id, "account"),
        (some.key_id, "acme"),
    }
    assert not REGISTRY.covers("portfolio", "nothing", "acme", enrolment.HOST)


@pytest.mark.parametrize("host", [enrolment.OTHER_HOST, enrolment.LIVE_HOST])
def test_a_key_is_good_on_the_host_of_its_organization_only(host: str) -> None:
    there = enrolment.organization(host=host)
    here = enrolment.organization()
    rows = {row.host: enrolment.shared_secret(row) for row in (here, there)}
    response = enrolment.rsa_key(here)
    for place, row in rows.items():
        assert REGISTRY.signing_key("acme", row.key_id, place) is not None
        assert REGISTRY.signing_key("acme", row.key_id, "") is not None
    assert REGISTRY.signing_key("acme", rows[here.host].key_id, host) is None
    assert REGISTRY.signing_key("acme", rows[host].key_id, here.host) is None
    assert REGISTRY.response_key("acme", response.key_id, host) is None


@pytest.mark.parametrize("covers", ["all", "selected"])
def test_what_a_key_covers_it_covers_on_its_own_host_only(covers: str) -> None:
    portfolio, _, _ = enrolment.family()
    key = enrolment.shared_secret(portfolio, covers=covers)
    if covers == "selected":
        coverage.add("portfolio", ["acme"], actor="tests")
    enrolment.organization("acme", host=enrolment.OTHER_HOST)
    assert REGISTRY.covers("portfolio", key.key_id, "acme", enrolment.HOST)
    assert not REGISTRY.covers("portfolio", key.key_id, "acme", enrolment.OTHER_HOST)


@pytest.mark.parametrize("host", [enrolment.OTHER_HOST, enrolment.LIVE_HOST])
def test_a_token_of_the_test_key_for_another_host_is_refused(
    cybs_simulator: Simulation, settings: Any, host: str
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "LIVE": True}
    for place in (enrolment.HOST, host):
        enrolment.shared_secret(enrolment.organization(host=place))
    keys = signing.keys_for(f"acme@{enrolment.HOST}")
    forged = MerchantKeys(merchant="acme", host=host, signing=keys.signing)
    with Client(lambda: forged) as client:
        response = client.get("/tss/v2/transactions/1")
    assert response.status_code == 401
    assert cybs_simulator.gateway.refusals.as_json()[-1]["refusal"] == "WRONG_HOST"
    assert cybs.send(f"acme@{host}", "GET", "/tss/v2/transactions/1").status_code == 404


def test_hosts_of_a_merchant() -> None:
    for host in (enrolment.HOST, enrolment.OTHER_HOST):
        enrolment.organization(host=host)
    assert REGISTRY.hosts("acme") == {enrolment.HOST, enrolment.OTHER_HOST}
    assert REGISTRY.hosts("nobody") == frozenset()


def test_the_command_serves_on_connections_that_are_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr(cybs_simulator, "serve", lambda *_, **options: served.update(options))
    call_command("cybs_simulator")
    assert served["run"] is simulating.run


@pytest.mark.parametrize("error", [None, OperationalError])
def test_each_request_begins_and_ends_by_looking_after_connections(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None
) -> None:
    """A persistent connection that has died is replaced: the request after it succeeds."""
    told: list[str] = []

    def handle(_: SimRequest) -> SimAnswer:
        told.append("handle")
        if error:
            raise error
        return SimAnswer(204)

    monkeypatch.setattr(simulating, "close_old_connections", lambda: told.append("look"))
    with contextlib.suppress(OperationalError):
        asyncio.run(simulating.run(handle, SimRequest("GET", "/", {}, b"")))
    assert told == ["look", "handle", "look"]


# The fixtures that a host project's own suite uses


PAYMENT = {
    "clientReferenceInformation": {"code": "order-1"},
    "orderInformation": {"amountDetails": {"totalAmount": "10.00", "currency": "EUR"}},
    "paymentInformation": {
        "card": {"number": "4111111111111111", "expirationMonth": "12", "expirationYear": "2031"}
    },
}


@pytest.mark.parametrize("signs_with", ["p12", "shared_secret"])
def test_a_merchant_is_enrolled_in_one_line_and_can_pay(
    cybs_simulator: Simulation, signs_with: str
) -> None:
    cybs_simulator.merchant("acme", signs_with=signs_with)
    if signs_with == "shared_secret":  # its response P12 brought the certificate
        assert Credential.objects.filter(kind="shared_secret").exists()
    reply = cybs.send("acme", "POST", "/pts/v2/payments", json=PAYMENT)
    assert (reply.status_code, reply.request_encrypted, reply.encrypted) == (201, True, True)
    assert [entry.code for entry in cybs_simulator.ledger] == ["order-1"]


def test_a_portfolio_pays_for_a_merchant_without_a_key(cybs_simulator: Simulation) -> None:
    cybs_simulator.merchant("portfolio", kind="portfolio", covers="all")
    cybs_simulator.merchant("acme", parent="portfolio", signs_with=None)
    reply = cybs.send("acme", "POST", "/pts/v2/payments", json=PAYMENT)
    assert (reply.status_code, reply.request_encrypted) == (201, True)
    (entry,) = cybs_simulator.ledger
    assert (entry.org_id, entry.signed_by) == ("acme", "portfolio")


def test_a_merchant_without_response_key_gets_plain_replies(cybs_simulator: Simulation) -> None:
    cybs_simulator.merchant("acme", response_mle=False)
    assert cybs.send("acme", "POST", "/pts/v2/payments", json=PAYMENT).encrypted is False


def test_outside_the_context_requests_leave_the_process_again(cybs_ring: object) -> None:
    before = pools._replacement
    with Simulation().in_process():
        assert pools._replacement is not before
    assert pools._replacement is before


def test_a_reply_for_another_merchant_does_not_open(cybs_simulator: Simulation) -> None:
    """B63: the kid names a key, and it is not one of this owner's."""
    cybs_simulator.merchant("acme")
    cybs_simulator.merchant("other")
    signed = cybs.sign("other", "GET", "/tss/v2/transactions/1")
    transport = pools._replacement
    assert transport is not None
    theirs = transport.handle_request(
        httpx.Request(signed.method, signed.url, headers=signed.headers)
    ).read()
    assert b"encryptedResponse" in theirs
    with pytest.raises(MLEDecryptError):
        cybs.decrypt("acme", theirs)


def test_an_opened_key_never_leaves_a_test(cybs_ring: object) -> None:
    assert not opened_keys._entries
    assert not signing._cache.assembled
