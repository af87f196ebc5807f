"""The public calls, against the gateway in this process."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.client import Explanation, pools
from django_cybs_jwt.exceptions import (
    EncryptionImpossible,
    InvalidBody,
    KeyMismatch,
    LiveRefused,
    MessageError,
    MLEDecryptError,
    NoKey,
    OrganizationNotFound,
    OutcomeUnknown,
    ReplyNotEncrypted,
)
from django_cybs_jwt.models import Credential, Organization, State
from django_cybs_jwt.services import key_cache, organizations, signing, withdrawal
from django_cybs_jwt.simulator.faults import Fault, FaultKind
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

PATH = "/pts/v2/payments"
PAYMENT = {
    "clientReferenceInformation": {"code": "order-1"},
    "orderInformation": {"amountDetails": {"totalAmount": "10.00", "currency": "EUR"}},
    "paymentInformation": {
        "card": {"number": "4111111111111111", "expirationMonth": "12", "expirationYear": "2031"}
    },
}


@pytest.fixture
def simulator(cybs_simulator: Simulation) -> Simulation:
    acme = enrolment.organization()
    gateway = cybs_simulator.certificate.certificate
    for purpose in ("signing", "response-mle"):
        key = material.rsa_key(name=f"sending {purpose}")
        enrolment.rsa_key(acme, purpose=purpose, key=key, gateway=gateway)
    signing.forget()
    return cybs_simulator


def asend(*arguments: Any, **options: Any) -> cybs.Reply:
    async def call() -> cybs.Reply:
        return await cybs.asend(*arguments, **options)

    return async_to_sync(call)()


both = pytest.mark.parametrize("send", [cybs.send, asend], ids=["send", "asend"])
Send = Callable[..., cybs.Reply]


@both
def test_a_payment_goes_out_and_comes_back_encrypted(simulator: Simulation, send: Send) -> None:
    reply = send("acme", "POST", PATH, json=PAYMENT)
    assert (reply.status_code, reply.request_encrypted, reply.encrypted) == (201, True, True)
    assert reply.json()["status"] == "AUTHORIZED"
    (entry,) = simulator.ledger
    assert (entry.org_id, entry.kid, entry.code) == ("acme", reply.key_id, "order-1")
    assert reply.elapsed.total_seconds() > 0
    assert reply.raise_for_status() is reply


@both
def test_bytes_are_sent_as_they_are(simulator: Simulation, send: Send) -> None:
    body = json.dumps(PAYMENT, indent=4).encode()
    assert send("acme", "POST", PATH, content=body, mle=False).status_code == 201


@both
def test_headers_and_timeout_are_passed_on(simulator: Simulation, send: Send) -> None:
    seen: list[httpx.Request] = []

    class Watching:
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(404, json={})

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return self.handle_request(request)

    with pools.replaced(Watching()):
        send("acme", "GET", "/x", headers={"v-c-client-id": "t1"}, timeout=1.5)
    (request,) = seen
    assert request.headers["v-c-client-id"] == "t1"
    assert set(request.extensions["timeout"].values()) == {1.5}
    assert request.url == f"https://{enrolment.HOST}/x"


@both
def test_a_lost_answer_is_an_unknown_outcome_and_is_not_sent_again(
    simulator: Simulation, send: Send
) -> None:
    simulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    with pytest.raises(OutcomeUnknown):
        send("acme", "POST", PATH, json=PAYMENT)
    assert len(simulator.ledger) == 1


@both
def test_without_a_key_nothing_is_sent(simulator: Simulation, send: Send) -> None:
    enrolment.organization("keyless")
    with pytest.raises(NoKey):
        send("keyless", "POST", PATH, json=PAYMENT)
    assert simulator.ledger == []


@both
def test_a_live_organization_sends_nothing_while_live_is_off(
    simulator: Simulation, send: Send
) -> None:
    enrolment.shared_secret(enrolment.organization("live", host=enrolment.LIVE_HOST))
    signing.forget()
    with pytest.raises(LiveRefused, match="Nothing was sent"):
        send("live", "GET", "/x")


@both
def test_a_row_that_calls_a_live_host_a_test_host_sends_nothing_either(
    simulator: Simulation, send: Send
) -> None:
    seeded = Organization.objects.create(
        org_id="seeded", kind="merchant", host=enrolment.LIVE_HOST, live=False
    )
    enrolment.shared_secret(seeded)
    signing.forget()
    for _ in ("cold", "warm"):
        with pytest.raises(LiveRefused, match="Nothing was sent"):
            send("seeded", "GET", "/x")


@pytest.mark.parametrize(
    "moved", [{"host": enrolment.LIVE_HOST}, {"host": enrolment.OTHER_HOST}, {"live": True}]
)
def test_a_meta_key_signs_for_no_merchant_that_was_moved_to_another_host_or_side(
    moved: dict[str, Any], settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "LIVE": True}
    portfolio, _, acme = enrolment.family()
    enrolment.shared_secret(portfolio, covers="all")
    assert cybs.sign("acme", "GET", "/x").key_id
    Organization.objects.filter(pk=acme.pk).update(**moved)
    signing.forget()
    with pytest.raises(KeyMismatch, match="on another host or side"):
        cybs.sign("acme", "GET", "/x")


@pytest.mark.parametrize("name", [None, 5, ["acme"], object()])
def test_an_organization_that_is_no_name_is_an_error_of_ours(name: Any) -> None:
    for call in (cybs.sign, cybs.send):
        with pytest.raises(OrganizationNotFound, match="named by text"):
            call(name, "GET", "/x")
    with pytest.raises(OrganizationNotFound, match="named by text"):
        cybs.decrypt(name, b"{}")


def test_what_is_decrypted_is_bytes(simulator: Simulation) -> None:
    for body in (None, "{}", 5):
        with pytest.raises(InvalidBody, match="from its bytes"):
            cybs.decrypt("acme", body)  # type: ignore[arg-type]


@both
def test_a_live_organization_sends_once_live_is_on(
    simulator: Simulation, send: Send, settings: Any
) -> None:
    enrolment.shared_secret(enrolment.organization("live", host=enrolment.LIVE_HOST))
    settings.CYBS_JWT = {**settings.CYBS_JWT, "LIVE": True}
    signing.forget()
    assert send("live", "GET", "/tss/v2/transactions/1").status_code == 404


@both
def test_encryption_that_is_asked_for_and_impossible_sends_nothing(
    simulator: Simulation, send: Send
) -> None:
    enrolment.shared_secret(enrolment.organization("plain"))
    signing.forget()
    with pytest.raises(EncryptionImpossible):
        send("plain", "POST", PATH, json=PAYMENT)
    assert simulator.ledger == []
    assert send("plain", "POST", PATH, json=PAYMENT, mle=False).request_encrypted is False


@pytest.mark.parametrize("act", [cybs.send, asend, cybs.sign], ids=["send", "asend", "sign"])
def test_a_falsy_mle_never_sends_a_mandatory_operation_in_clear(
    simulator: Simulation, act: Callable[..., object]
) -> None:
    body = {} if act is cybs.sign else {"json": {}}
    positional = (b"{}",) if act is cybs.sign else ()
    with pytest.raises(MessageError, match="True, False or None"):
        act("acme", "POST", "/tms/v2/tokenize", *positional, mle=0, **body)
    assert simulator.ledger == []


@both
def test_the_projects_policy_for_replies_holds(
    simulator: Simulation, send: Send, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESPONSE_MLE": "required"}
    simulator.faults.add(Fault(kind=FaultKind.PLAIN_REPLY))
    with pytest.raises(ReplyNotEncrypted):
        send("acme", "POST", PATH, json=PAYMENT)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESPONSE_MLE": "never"}
    assert send("acme", "POST", PATH, json=PAYMENT).encrypted is False


@pytest.mark.parametrize("policy", ["required", "ask", "never"])
def test_an_organizations_own_policy_goes_before_the_projects(
    simulator: Simulation, settings: Any, policy: str
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESPONSE_MLE": "ask"}
    Organization.objects.filter(org_id="acme").update(response_mle=policy)
    signing.forget()
    assert cybs.keys_for("acme").response_mle == policy
    assert cybs.send("acme", "POST", PATH, json=PAYMENT).encrypted is (policy != "never")


def test_an_unknown_policy_in_a_row_leaves_it_to_the_project(simulator: Simulation) -> None:
    Organization.objects.filter(org_id="acme").update(response_mle="perhaps")
    signing.forget()
    assert cybs.keys_for("acme").response_mle is None


@pytest.mark.parametrize("state", [State.RETIRING, State.RETIRED])
def test_a_reply_under_a_key_that_was_replaced_still_opens(
    simulator: Simulation, state: State
) -> None:
    old = Credential.objects.get(slot__purpose="response-mle")
    encrypted = captured_reply()
    enrolment.put(old, state)
    opened = json.loads(cybs.decrypt("acme", encrypted))
    assert opened["status"] == "AUTHORIZED"


@pytest.mark.parametrize("state", [State.SUSPENDED, State.COMPROMISED, State.STAGED])
def test_a_reply_under_a_key_that_may_not_be_used_does_not_open(
    simulator: Simulation, state: State
) -> None:
    encrypted = captured_reply()
    enrolment.put(Credential.objects.get(slot__purpose="response-mle"), state)
    with pytest.raises(MLEDecryptError):
        cybs.decrypt("acme", encrypted)


def adecrypt(*arguments: Any, **options: Any) -> bytes:
    async def call() -> bytes:
        return await cybs.adecrypt(*arguments, **options)

    return async_to_sync(call)()


decrypts = pytest.mark.parametrize("decrypt", [cybs.decrypt, adecrypt], ids=["decrypt", "adecrypt"])
Decrypt = Callable[..., bytes]


@decrypts
@pytest.mark.parametrize("state", [State.SUSPENDED, State.COMPROMISED, State.RETIRED])
def test_a_reply_is_readable_whatever_became_of_the_key_that_signed(
    simulator: Simulation, decrypt: Decrypt, state: State
) -> None:
    encrypted = captured_reply()
    enrolment.put(signing_row(), state)
    assert json.loads(decrypt("acme", encrypted))["status"] == "AUTHORIZED"


@decrypts
def test_a_reply_to_a_merchant_that_was_disabled_since_is_readable(
    simulator: Simulation, decrypt: Decrypt
) -> None:
    encrypted = captured_reply()
    organizations.disable("acme", actor="tests")
    signing.forget()
    assert json.loads(decrypt("acme", encrypted))["status"] == "AUTHORIZED"


def under_a_portfolio(simulator: Simulation, covers: str) -> Organization:
    """A merchant for which the portfolio's keys sign and open."""
    portfolio = enrolment.organization("portfolio", kind="portfolio")
    for purpose in ("signing", "response-mle"):
        key = material.rsa_key(name=f"portfolio {purpose}")
        gateway = simulator.certificate.certificate
        enrolment.rsa_key(portfolio, purpose=purpose, key=key, gateway=gateway, covers=covers)
    parent = "portfolio" if covers == "all" else None
    shop = enrolment.organization("shop", parent=parent)
    if covers == "selected":
        for slot in portfolio.slots.all():
            slot.merchants.add(shop)
    signing.forget()
    return shop


@decrypts
@pytest.mark.parametrize("covers", ["all", "selected"])
@pytest.mark.parametrize("change", ["own key", "owner disabled", "owner's key suspended"])
def test_a_reply_under_the_portfolios_key_is_readable_whoever_signs_by_now(
    simulator: Simulation, decrypt: Decrypt, covers: str, change: str
) -> None:
    shop = under_a_portfolio(simulator, covers)
    encrypted = captured_reply("shop")
    if change == "own key":
        enrolment.shared_secret(shop)
        enrolment.rsa_key(shop, key=material.rsa_key(name="shop response"))
    elif change == "owner disabled":
        organizations.disable("portfolio", actor="tests")
    else:
        owned = Credential.objects.get(organization__org_id="portfolio", slot__purpose="signing")
        enrolment.put(owned, State.SUSPENDED)
    signing.forget()
    assert json.loads(decrypt("shop", encrypted))["status"] == "AUTHORIZED"


def test_of_two_owners_keys_with_one_key_id_the_right_one_opens(simulator: Simulation) -> None:
    """Whoever imports a key under somebody else's id makes no reply unreadable."""
    shop = under_a_portfolio(simulator, "all")
    encrypted = captured_reply("shop")
    theirs = Credential.objects.get(organization__org_id="portfolio", slot__purpose="response-mle")
    twin = replace(
        enrolment.rsa_inspection("shop", key=material.rsa_key(name="twin")), key_id=theirs.key_id
    )
    enrolment.store(shop, twin)
    signing.forget()
    assert json.loads(cybs.decrypt("shop", encrypted))["status"] == "AUTHORIZED"


def test_a_reply_for_a_stranger_never_opens(simulator: Simulation) -> None:
    under_a_portfolio(simulator, "all")
    with pytest.raises(MLEDecryptError):
        cybs.decrypt("acme", captured_reply("shop"))
    with pytest.raises(MLEDecryptError):
        cybs.decrypt("portfolio", captured_reply("acme"))


def test_decrypting_costs_three_queries_cold_and_none_warm(
    simulator: Simulation, django_assert_num_queries: Any
) -> None:
    encrypted = captured_reply()
    signing.forget()
    with django_assert_num_queries(3):
        cybs.decrypt("acme", encrypted)
    with django_assert_num_queries(0):
        cybs.decrypt("acme", encrypted)


def test_a_warm_reply_is_opened_without_leaving_the_event_loop(simulator: Simulation) -> None:
    encrypted = captured_reply()

    async def call() -> None:
        await cybs.adecrypt("acme", encrypted)
        coroutine = cybs.adecrypt("acme", encrypted).__await__()
        with pytest.raises(StopIteration) as done:  # at the first step: nothing was awaited
            next(coroutine)
        assert json.loads(done.value.value)["status"] == "AUTHORIZED"

    async_to_sync(call)()


def captured_reply(org_id: str = "acme") -> bytes:
    """The encrypted body, as a client of the user's own receives it."""
    signed = cybs.sign(org_id, "POST", PATH, json.dumps(PAYMENT).encode())
    transport = pools._replacement
    assert transport is not None
    response = transport.handle_request(
        httpx.Request(signed.method, signed.url, headers={**signed.headers}, content=signed.body)
    )
    return response.read()


def test_what_sign_returns_can_be_sent_unchanged_by_any_client(simulator: Simulation) -> None:
    reply = captured_reply()
    assert b'"encryptedResponse"' in reply
    assert json.loads(cybs.decrypt("acme", reply))["status"] == "AUTHORIZED"
    assert len(simulator.ledger) == 1


def test_sign_returns_method_url_headers_and_body(simulator: Simulation, settings: Any) -> None:
    egress = "https://egress.example.com"
    settings.CYBS_JWT = {**settings.CYBS_JWT, "BASE_URLS": {enrolment.HOST: egress}}
    signed = cybs.sign("acme", "post", f"{PATH}?a=1", b"{}", headers={"v-c-client-id": "x"})
    assert (signed.method, signed.url) == ("POST", f"{egress}{PATH}?a=1")
    assert signed.headers["authorization"].startswith("Bearer ey")
    assert signed.headers["v-c-client-id"] == "x"
    assert b"encryptedRequest" in signed.body
    assert signed.claims["request-host"] == enrolment.HOST
    assert signed.claims["request-method"] == "post"


def test_the_asynchronous_twins_take_and_give_the_same(simulator: Simulation) -> None:
    for sync, twin in (
        (cybs.sign, cybs.asign),
        (cybs.decrypt, cybs.adecrypt),
        (cybs.send, cybs.asend),
    ):
        assert inspect.signature(sync) == inspect.signature(twin)

    async def call() -> tuple[cybs.SignedRequest, str]:
        signed = await cybs.asign("acme", "POST", f"{PATH}?a=1", b"{}", mle=False)
        return signed, (await cybs.akeys_for("acme")).merchant

    signed, merchant = async_to_sync(call)()
    assert (signed.method, signed.body, merchant) == ("POST", b"{}", "acme")
    assert signed.claims["request-resource-path"] == f"{PATH}?a=1"
    assert signed.key_id == cybs.sign("acme", "GET", "/x").key_id


def test_a_reply_in_clear_is_returned_as_it_is(simulator: Simulation) -> None:
    assert cybs.decrypt("acme", b'{"status":"X"}') == b'{"status":"X"}'
    assert cybs.decrypt("acme", b"") == b""


def test_clients_look_their_keys_up_at_each_request(simulator: Simulation) -> None:
    with cybs.client("acme") as client:
        assert client.get("/tss/v2/transactions/1").status_code == 404
        row = Credential.objects.get(slot__purpose="signing")
        enrolment.put(row, State.SUSPENDED)
        with pytest.raises(Exception, match="is SUSPENDED"):
            client.get("/tss/v2/transactions/1")


def test_an_asynchronous_client_is_the_same(simulator: Simulation) -> None:
    async def call() -> int:
        async with cybs.aclient("acme") as client:
            response = await client.post(PATH, json=PAYMENT)
            assert response.json()["status"] == "AUTHORIZED"
            assert response.extensions["cybs"].encrypted
            return response.status_code

    assert async_to_sync(call)() == 201


def test_auth_signs_and_encrypts_in_a_client_of_ones_own(simulator: Simulation) -> None:
    transport = pools._replacement
    assert isinstance(transport, httpx.BaseTransport)
    with httpx.Client(auth=cybs.auth("acme"), transport=transport) as client:
        response = client.post(f"https://{enrolment.HOST}{PATH}", json=PAYMENT)
    assert response.status_code == 201
    assert json.loads(cybs.decrypt("acme", response.content))["status"] == "AUTHORIZED"


def signing_row() -> Credential:
    return Credential.objects.get(slot__purpose="signing")


def suspects(explanation: Explanation) -> list[tuple[str, str]]:
    return [(each.what, each.sent) for each in explanation.suspects]


def test_a_refusal_is_explained_with_the_key_as_it_is_by_now(
    simulator: Simulation, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "LOOK_EVERY", 60.0)
    reply = cybs.send("acme", "GET", "/tss/v2/transactions/1")
    with django_assert_num_queries(1):
        assert suspects(reply.explain()) == []
    now = timezone.now()
    withdrawal.suspend(signing_row(), actor="tests", now=now, reason="stolen")
    assert suspects(reply.explain()) == [("key state", "SUSPENDED")]
    withdrawal.destroy(signing_row(), actor="tests", now=now, reason="stolen")
    late = cybs.send("acme", "GET", "/tss/v2/transactions/1")  # with the keys of the last look
    assert late.status_code == 401
    assert suspects(late.explain()) == [("key state", "DESTROYED")]


def test_a_key_id_that_the_row_no_longer_has_is_the_suspect(
    simulator: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "LOOK_EVERY", 60.0)
    cybs.keys_for("acme")
    used = signing_row().key_id
    Credential.objects.filter(key_id=used).update(key_id="9999", live_key_id="9999")
    reply = cybs.send("acme", "GET", "/tss/v2/transactions/1")
    assert reply.status_code == 401
    assert suspects(reply.explain()) == [("kid", used)]
    assert reply.explain().suspects[0].expected == "9999"


def test_in_an_event_loop_explain_asks_nothing_and_aexplain_asks_the_database(
    simulator: Simulation,
) -> None:
    async def call() -> tuple[Explanation, Explanation]:
        reply = await cybs.asend("acme", "GET", "/tss/v2/transactions/1")
        await sync_to_async(enrolment.put)(await sync_to_async(signing_row)(), State.SUSPENDED)
        return reply.explain(), await cybs.aexplain(reply)

    as_signed, as_stored = async_to_sync(call)()
    assert suspects(as_signed) == []
    assert "As it was when this was signed" in str(as_signed)
    assert suspects(as_stored) == [("key state", "SUSPENDED")]


def test_a_database_that_is_away_does_not_spoil_an_explanation(
    simulator: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = cybs.send("acme", "GET", "/tss/v2/transactions/1")

    def away(*_: object, **__: object) -> None:
        raise OperationalError

    monkeypatch.setattr("django.db.models.sql.compiler.SQLCompiler.execute_sql", away)
    assert "key state: ACTIVE  As it was when this was signed." in str(reply.explain())


def test_a_name_with_its_host_is_understood_everywhere(simulator: Simulation) -> None:
    enrolment.organization("acme", host=enrolment.OTHER_HOST)
    name = f"acme@{enrolment.HOST}"
    assert cybs.send(name, "POST", PATH, json=PAYMENT).status_code == 201
    assert cybs.sign(name, "GET", "/x").claims["v-c-merchant-id"] == "acme"
    assert cybs.keys_for(name).merchant == "acme"


def test_a_redacted_request_names_the_certificate_that_its_body_is_encrypted_for(
    simulator: Simulation,
) -> None:
    body = json.dumps(PAYMENT).encode()
    certificate = cybs.keys_for("acme").gateway_certificate
    assert certificate is not None
    encrypted = cybs.sign("acme", "POST", PATH, body, mle=True)
    assert encrypted.redacted()["request_mle_kid"] == certificate.kid
    assert cybs.sign("acme", "POST", PATH, body, mle=False).redacted()["request_mle_kid"] is None


def test_a_redacted_request_shows_no_card_number_of_its_path(simulator: Simulation) -> None:
    number = "4111111111111111"
    redacted = cybs.sign("acme", "GET", f"/tms/v2/x/{number}?card={number}").redacted()
    assert number not in json.dumps(redacted)
    assert redacted["claims"]["request-resource-path"].startswith("/tms/v2/x/")


def test_a_redacted_request_tells_everything_but_signature_and_body(simulator: Simulation) -> None:
    signed = cybs.sign("acme", "POST", PATH, json.dumps(PAYMENT).encode(), mle=False)
    facts = signed.redacted()
    assert facts["headers"]["authorization"] == "Bearer <redacted>"
    assert facts["body_bytes"] == len(signed.body)
    assert "body" not in facts
    assert (facts["key_id"], facts["claims"]) == (signed.key_id, signed.claims)
