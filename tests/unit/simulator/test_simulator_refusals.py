"""Every refusal the gate knows is provoked by a request that is wrong in exactly that."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from django_cybs_jwt.simulator import Gateway, MemoryRegistry, Refusal, SimRequest, jose
from tests.unit.simulator.callers import (
    HOST,
    NOW,
    PAYMENT,
    Caller,
    Clock,
    certificate,
    envelope,
    register,
)

Build = Callable[[Caller], SimRequest]


def claim(**changes: Any) -> Build:
    return lambda shop: shop.request(
        claims={name.replace("_", "-"): value for name, value in changes.items()}
    )


def without(*names: str) -> Build:
    return lambda shop: shop.request(drop=names)


def authorization(value: str) -> Build:
    return lambda shop: shop.request(http={"authorization": value})


def hex_digest(shop: Caller) -> SimRequest:
    body = shop.request().body
    trap = base64.b64encode(hashlib.sha256(body).hexdigest().encode()).decode()
    return shop.request(claims={"digest": trap})


def other_body(shop: Caller) -> SimRequest:
    request = shop.request()
    return replace(request, body=request.body + b" ")


def empty_body_with_digest(shop: Caller) -> SimRequest:
    digest = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    return shop.request(
        "GET", "/tss/v2/transactions/1", claims={"digest": digest, "digestAlgorithm": "SHA-256"}
    )


def confused_algorithm(shop: Caller) -> SimRequest:
    """The public key in PEM used as an HMAC secret: the oldest attack on JWT."""
    assert isinstance(shop.material, rsa.RSAPrivateKey)
    public = shop.material.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = {"alg": "HS256", "kid": shop.kid, "typ": "JWT"}
    # By hand: PyJWT knows the attack and would not sign.
    signed = f"{segment(head)}.{segment(shop.claims('POST', '/pts/v2/payments', b''))}"
    signature = hmac.digest(public, signed.encode(), "sha256")
    return authorization(f"Bearer {signed}.{jose.encode_base64url(signature)}")(shop)


def segment(value: Any) -> str:
    return jose.encode_base64url(json.dumps(value).encode())


def with_algorithm(value: Any) -> Build:
    """A token that is honest but for its header's `alg`; ... leaves it out."""

    def build(shop: Caller) -> SimRequest:
        head = {"alg": value, "kid": shop.kid, "typ": "JWT"}
        if value is ...:
            del head["alg"]
        request = shop.request()
        _, claims, signature = request.headers["authorization"].split(".")
        token = f"Bearer {segment(head)}.{claims}.{signature}"
        return replace(request, headers={**request.headers, "authorization": token})

    return build


def with_claims_text(member: str) -> Build:
    """A token whose claims have one member more, written by hand, and that is signed all right."""

    def build(shop: Caller) -> SimRequest:
        claims = shop.claims("POST", "/pts/v2/payments", b"")
        del claims["exp"]
        text = json.dumps(claims)[:-1] + f",{member}}}"
        head = segment({"alg": "RS256", "kid": shop.kid, "typ": "JWT"})
        signed = f"{head}.{jose.encode_base64url(text.encode())}"
        assert isinstance(shop.material, rsa.RSAPrivateKey)
        signature = shop.material.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return authorization(f"Bearer {signed}.{jose.encode_base64url(signature)}")(shop)

    return build


def unsigned(shop: Caller) -> SimRequest:
    claims = shop.claims("POST", "/pts/v2/payments", b"")
    token = jwt.encode(claims, "", algorithm="none", headers={"kid": shop.kid})
    return shop.request(http={"authorization": f"Bearer {token}"})


def forged(shop: Caller) -> SimRequest:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return replace(shop, material=stranger).request()


REFUSALS: list[tuple[str, Refusal, Build]] = [
    ("no header", Refusal.NO_TOKEN, authorization("")),
    ("another scheme", Refusal.NO_TOKEN, authorization("Basic c2hvcDpzaG9w")),
    ("garbage", Refusal.BAD_TOKEN, authorization("Bearer a.b.c")),
    ("another typ", Refusal.BAD_TOKEN, lambda c: c.request(header={"typ": "at+jwt"})),
    ("crit", Refusal.BAD_TOKEN, lambda c: c.request(header={"crit": ["b64"]})),
    ("long header", Refusal.BAD_TOKEN, lambda c: c.request(header={"x": "x" * 1024})),
    ("long token", Refusal.BAD_TOKEN, claim(padding="x" * 9000)),
    ("no iss", Refusal.BAD_CLAIM, without("iss")),
    ("empty iss", Refusal.BAD_CLAIM, claim(iss="")),
    ("another iss", Refusal.UNKNOWN_KEY, claim(iss="someone")),
    ("another kid", Refusal.UNKNOWN_KEY, lambda c: c.request(header={"kid": "9"})),
    ("HMAC with an RSA key", Refusal.WRONG_ALGORITHM, confused_algorithm),
    ("alg none", Refusal.WRONG_ALGORITHM, unsigned),
    ("alg None", Refusal.WRONG_ALGORITHM, with_algorithm("None")),
    ("alg nOnE", Refusal.WRONG_ALGORITHM, with_algorithm("nOnE")),
    ("alg null", Refusal.BAD_TOKEN, with_algorithm(None)),
    ("alg a list", Refusal.BAD_TOKEN, with_algorithm(["RS256"])),
    ("alg an object", Refusal.BAD_TOKEN, with_algorithm({"RS256": 1})),
    ("alg a number", Refusal.BAD_TOKEN, with_algorithm(256)),
    ("alg true", Refusal.BAD_TOKEN, with_algorithm(True)),
    ("alg empty", Refusal.BAD_TOKEN, with_algorithm("")),
    ("no alg", Refusal.BAD_TOKEN, with_algorithm(...)),
    ("another key", Refusal.BAD_SIGNATURE, forged),
    ("version as a number", Refusal.WRONG_VERSION, claim(v_c_jwt_version=2)),
    ("version 1", Refusal.WRONG_VERSION, claim(v_c_jwt_version="1")),
    ("no version", Refusal.WRONG_VERSION, without("v-c-jwt-version")),
    ("iat as text", Refusal.BAD_CLAIM, claim(iat=str(NOW))),
    ("iat as a fraction", Refusal.BAD_CLAIM, claim(iat=NOW + 0.5)),
    ("iat true", Refusal.BAD_CLAIM, claim(iat=True)),
    ("iat negative", Refusal.BAD_CLAIM, claim(iat=-1, exp=1)),
    ("iat astronomic", Refusal.BAD_CLAIM, claim(iat=10**400, exp=10**400 + 1)),
    ("no exp", Refusal.BAD_CLAIM, without("exp")),
    ("exp as text", Refusal.BAD_CLAIM, claim(exp="9999999999")),
    ("exp true", Refusal.BAD_CLAIM, claim(exp=True)),
    ("exp null", Refusal.BAD_CLAIM, claim(exp=None)),
    ("exp a list", Refusal.BAD_CLAIM, claim(exp=[NOW + 60])),
    ("exp negative", Refusal.BAD_CLAIM, claim(exp=-1)),
    ("exp a fraction", Refusal.BAD_CLAIM, claim(exp=NOW + 60.5)),
    ("exp endless", Refusal.BAD_CLAIM, with_claims_text('"exp":1e400')),
    ("exp Infinity", Refusal.BAD_TOKEN, with_claims_text('"exp":Infinity')),
    ("exp of 5,000 digits", Refusal.BAD_TOKEN, with_claims_text('"exp":' + "9" * 5_000)),
    ("iat in the future", Refusal.NOT_YET_VALID, claim(iat=NOW + 3_600, exp=NOW + 3_660)),
    ("121 seconds", Refusal.LIFETIME_TOO_LONG, claim(iat=NOW, exp=NOW + 121)),
    ("exp before iat", Refusal.LIFETIME_TOO_LONG, claim(iat=NOW, exp=NOW)),
    ("fast clock", Refusal.NOT_YET_VALID, claim(iat=NOW + 6, exp=NOW + 60)),
    ("slow clock", Refusal.EXPIRED, claim(iat=NOW - 126, exp=NOW - 6)),
    ("another method", Refusal.WRONG_METHOD, claim(request_method="get")),
    ("no method", Refusal.BAD_CLAIM, without("request-method")),
    ("another path", Refusal.WRONG_PATH, claim(request_resource_path="/pts/v2/payments/")),
    ("path in capitals", Refusal.WRONG_PATH, claim(request_resource_path="/PTS/V2/PAYMENTS")),
    (
        "query stripped",
        Refusal.WRONG_PATH,
        lambda c: c.request(
            target="/pts/v2/payments?a=1", claims={"request-resource-path": "/pts/v2/payments"}
        ),
    ),
    ("digest of the hex text", Refusal.WRONG_DIGEST, hex_digest),
    ("another body", Refusal.WRONG_DIGEST, other_body),
    ("no digest", Refusal.WRONG_DIGEST, without("digest")),
    ("no digestAlgorithm", Refusal.WRONG_DIGEST, without("digestAlgorithm")),
    ("digest a number", Refusal.WRONG_DIGEST, claim(digest=1)),
    ("digest not Unicode", Refusal.WRONG_DIGEST, claim(digest="\ud800")),
    ("another algorithm", Refusal.WRONG_DIGEST, claim(digestAlgorithm="SHA-512")),
    ("two algorithms", Refusal.WRONG_DIGEST, claim(digest_algorithm="MD5")),
    ("digest of nothing", Refusal.WRONG_DIGEST, empty_body_with_digest),
    ("unknown merchant", Refusal.UNKNOWN_MERCHANT, claim(v_c_merchant_id="nobody")),
    ("no merchant", Refusal.BAD_CLAIM, without("v-c-merchant-id")),
    ("merchant elsewhere", Refusal.WRONG_HOST, claim(request_host="api.cybersource.com")),
    ("no host", Refusal.BAD_CLAIM, without("request-host")),
    (
        "another host called",
        Refusal.WRONG_HOST,
        lambda c: c.request(http={"host": "api.visaacceptance.com"}),
    ),
    ("unknown response kid", Refusal.UNKNOWN_RESPONSE_KEY, claim(v_c_response_mle_kid="9")),
    ("empty response kid", Refusal.BAD_CLAIM, claim(v_c_response_mle_kid="")),
    ("jti not a UUID", Refusal.BAD_CLAIM, claim(jti="1")),
    ("jti version 1", Refusal.BAD_CLAIM, claim(jti="8d8ac610-566d-11d0-9f0e-08002be10318")),
    ("jti in braces", Refusal.BAD_CLAIM, claim(jti="{6643fb9a-8093-47c6-95d3-8d69785b5e62}")),
]


@pytest.mark.parametrize(
    ("refusal", "build"),
    [pytest.param(refusal, build, id=name) for name, refusal, build in REFUSALS],
)
def test_a_wrong_token_is_a_401_in_clear_that_does_not_say_why(
    gateway: Gateway, shop: Caller, refusal: Refusal, build: Build
) -> None:
    answer = gateway.handle(build(shop))

    assert answer.refusal is refusal
    assert answer.status == 401
    assert json.loads(answer.body) == {"response": {"rmsg": "Authentication Failed"}}
    assert answer.headers["x-simulator-refusal"] == refusal
    assert gateway.ledger.entries() == []


def test_a_second_use_is_refused_and_leaves_one_entry(gateway: Gateway, shop: Caller) -> None:
    request = shop.request()

    assert gateway.handle(request).status == 201
    assert gateway.handle(request).refusal is Refusal.REPLAYED
    assert len(gateway.ledger.entries()) == 1


def test_a_jti_in_capitals_is_the_same_jti(gateway: Gateway, shop: Caller) -> None:
    jti = "6643fb9a-8093-47c6-95d3-8d69785b5e62"
    gateway.handle(shop.request(claims={"jti": jti}))

    answer = gateway.handle(shop.request(claims={"jti": jti.upper()}))

    assert answer.refusal is Refusal.REPLAYED


def test_a_refused_token_does_not_use_its_jti_up(gateway: Gateway, shop: Caller) -> None:
    jti = "6643fb9a-8093-47c6-95d3-8d69785b5e62"
    gateway.handle(shop.request(claims={"jti": jti, "request-method": "put"}))

    assert gateway.handle(shop.request(claims={"jti": jti})).status == 201


def test_an_expired_key_is_refused(
    gateway: Gateway, registry: MemoryRegistry, shop: Caller, signing_key: rsa.RSAPrivateKey
) -> None:
    ended = datetime.fromtimestamp(NOW, UTC) - timedelta(seconds=1)
    registry.add(
        "shop", kid=shop.kid, certificate=certificate(signing_key, "1", "shop", not_after=ended)
    )

    assert gateway.handle(shop.request()).refusal is Refusal.KEY_EXPIRED


def test_a_merchant_outside_the_meta_key_is_refused(
    gateway: Gateway, shop: Caller, portfolio: Caller
) -> None:
    answer = gateway.handle(replace(portfolio, merchant="shop").request())

    assert answer.refusal is Refusal.NOT_COVERED
    assert answer.status == 401


def test_another_merchants_key_id_does_not_sign(
    gateway: Gateway, shop: Caller, kiosk: Caller
) -> None:
    assert gateway.handle(replace(shop, kid=kiosk.kid).request()).refusal is Refusal.UNKNOWN_KEY


def test_the_response_key_must_belong_to_the_signing_keys_owner(
    gateway: Gateway, shop: Caller, portfolio: Caller
) -> None:
    answer = gateway.handle(replace(shop, response_kid=portfolio.response_kid).request())

    assert answer.refusal is Refusal.UNKNOWN_RESPONSE_KEY


LIVE = "api.cybersource.com"


@pytest.mark.parametrize("host", [LIVE, LIVE.upper(), "apitest.visaacceptance.com"])
def test_a_key_of_one_host_signs_for_no_other(
    gateway: Gateway, registry: MemoryRegistry, shop: Caller, host: str
) -> None:
    """The organization is there too, under the same id, with a key of its own."""
    theirs = replace(shop, kid="4444444444444444444444", material=secrets.token_bytes(32))
    register(registry, replace(theirs, algorithm="HS256"), host=host)

    answer = gateway.handle(called(shop, host))

    assert (answer.status, answer.refusal) == (401, Refusal.WRONG_HOST)


def called(caller: Caller, host: str) -> SimRequest:
    """A request that claims this host and calls it."""
    return caller.request(claims={"request-host": host}, http={"host": host})


def test_a_response_key_of_one_host_answers_on_no_other(
    gateway: Gateway, registry: MemoryRegistry, portfolio: Caller
) -> None:
    live = replace(portfolio, response_kid="", response_key=None)
    register(registry, live, host=LIVE, covers=["branch"])

    answer = gateway.handle(called(portfolio, LIVE))

    assert answer.refusal is Refusal.UNKNOWN_RESPONSE_KEY


def test_a_meta_key_covers_on_its_own_host_only(
    gateway: Gateway, registry: MemoryRegistry, portfolio: Caller
) -> None:
    register(registry, portfolio, host=LIVE, covers=["another"])
    registry.add("branch", kid="b", secret=b"s" * 32, host=LIVE)

    answer = gateway.handle(called(portfolio, LIVE))

    assert answer.refusal is Refusal.NOT_COVERED


def test_a_secret_shorter_than_the_hash_is_refused(
    gateway: Gateway, registry: MemoryRegistry, clock: Clock
) -> None:
    caller = Caller("short", "k", secrets.token_bytes(48), algorithm="HS384", clock=clock)
    register(registry, caller)
    assert gateway.handle(caller.request()).status == 201

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer PyJWTs warn of the short secret, as they should
        request = caller.request(header={"algorithm": "HS512"})

    assert gateway.handle(request).refusal is Refusal.WRONG_ALGORITHM


@pytest.mark.parametrize(
    ("document", "refusal", "reason"),
    [
        (["a list"], Refusal.BAD_BODY, "INVALID_DATA"),
        ({}, Refusal.MISSING_FIELD, "MISSING_FIELD"),
        (
            {"orderInformation": {"amountDetails": {"totalAmount": "-1"}}},
            Refusal.INVALID_DATA,
            "INVALID_DATA",
        ),
        (
            {"orderInformation": {"amountDetails": {"totalAmount": ["1"]}}},
            Refusal.INVALID_DATA,
            "INVALID_DATA",
        ),
        ({"encryptedRequest": "x", "more": 1}, Refusal.MLE_UNREADABLE, "INVALID_DATA"),
        ({"encryptedRequest": 1}, Refusal.MLE_UNREADABLE, "INVALID_DATA"),
        ({"encryptedRequest": "a.b.c.d.e"}, Refusal.MLE_UNREADABLE, "INVALID_DATA"),
    ],
)
def test_a_wrong_body_is_a_400_in_the_gateways_words(
    gateway: Gateway, shop: Caller, document: Any, refusal: Refusal, reason: str
) -> None:
    answer = gateway.handle(shop.request(document=document))

    assert (answer.refusal, answer.status) == (refusal, 400)
    told = json.loads(answer.body)
    assert (told["status"], told["reason"]) == ("INVALID_REQUEST", reason)
    assert {"id", "submitTimeUtc", "message"} <= set(told)
    assert refusal not in answer.body.decode() or refusal == reason


def test_the_envelopes_name_may_stand_inside_a_plain_body(gateway: Gateway, shop: Caller) -> None:
    document = PAYMENT | {"merchantDefinedInformation": [{"key": "1", "encryptedRequest": "x"}]}

    assert gateway.handle(shop.request(document=document)).status == 201
    assert gateway.ledger.entries()[0].request_encrypted is False


@pytest.mark.parametrize("target", ["/tms/v2/tokenize", "/bavs/v1/account-validations"])
def test_a_mandatory_operation_refuses_a_plain_body(
    gateway: Gateway, shop: Caller, target: str
) -> None:
    answer = gateway.handle(shop.request(target=target))

    assert answer.refusal is Refusal.MLE_REQUIRED
    assert answer.status == 400
    assert gateway.ledger.entries() == []


@pytest.mark.parametrize(
    "header", [{"kid": "another"}, {"alg": "RSA-OAEP"}, {"enc": "A128GCM"}, {"zip": "DEF"}]
)
def test_request_mle_in_another_way_is_unreadable(
    gateway: Gateway, shop: Caller, header: dict[str, str]
) -> None:
    body = envelope(b"{}", gateway, **header)

    answer = gateway.handle(shop.request(document=json.loads(body)))

    assert answer.refusal is Refusal.MLE_UNREADABLE


def test_a_body_that_is_not_json_by_its_type_is_refused(gateway: Gateway, shop: Caller) -> None:
    answer = gateway.handle(shop.request(http={"content-type": "text/plain"}))

    assert (answer.refusal, answer.status) == (Refusal.WRONG_CONTENT_TYPE, 415)


def test_too_large_a_body_is_refused_before_anything_is_read(
    gateway: Gateway, shop: Caller
) -> None:
    request = replace(shop.request(), body=bytes(10 * 1024 * 1024 + 1), headers={})

    answer = gateway.handle(request)

    assert (answer.refusal, answer.status) == (Refusal.TOO_LARGE, 413)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/tss/v2/transactions/1"),
        ("GET", "/no/such/path"),
        ("GET", "/pts/v2/payments"),
        ("GET", "/tss/v2/transactions/1/2"),
    ],
)
def test_what_is_not_there_is_a_404(
    gateway: Gateway, shop: Caller, method: str, target: str
) -> None:
    answer = gateway.handle(shop.request(method, target))

    assert (answer.refusal, answer.status) == (Refusal.NOT_FOUND, 404)
    assert json.loads(answer.body) == {"message": "The requested resource does not exist"}


def test_a_missing_host_claim_is_accepted_only_by_a_lenient_gateway(
    registry: MemoryRegistry, gateway: Gateway, shop: Caller, clock: Clock
) -> None:
    lenient = Gateway(registry, identity=gateway.identity, clock=clock, strict_host=False)
    request = shop.request(drop=["request-host"])

    assert gateway.handle(request).refusal is Refusal.BAD_CLAIM
    assert lenient.handle(request).status == 201


def test_the_list_of_refusals_names_org_reason_path_and_jti(gateway: Gateway, shop: Caller) -> None:
    jti = "6643fb9a-8093-47c6-95d3-8d69785b5e62"
    gateway.handle(
        shop.request(target="/pts/v2/payments?card=1", claims={"jti": jti, "request-method": "get"})
    )

    (record,) = gateway.refusals.as_json()

    assert (record["org"], record["refusal"]) == ("shop", "WRONG_METHOD")
    assert (record["path"], record["jti"]) == ("/pts/v2/payments", jti)
    assert "POST" in str(record["hint"])


def test_every_refusal_is_provoked_somewhere_in_these_tests() -> None:
    here = {refusal for _, refusal, _ in REFUSALS}
    elsewhere = {
        Refusal.KEY_EXPIRED,
        Refusal.NOT_COVERED,
        Refusal.REPLAYED,
        Refusal.TOO_LARGE,
        Refusal.WRONG_CONTENT_TYPE,
        Refusal.MLE_REQUIRED,
        Refusal.MLE_UNREADABLE,
        Refusal.BAD_BODY,
        Refusal.NOT_FOUND,
        Refusal.MISSING_FIELD,
        Refusal.INVALID_DATA,
        # In test_simulator_endpoints.
        Refusal.REPEATED_TRANSACTION_ID,
        Refusal.NO_SUCH_ORIGINAL,
        Refusal.ALREADY_UNDONE,
    }

    assert here | elsewhere == set(Refusal)
    assert not here & elsewhere


ACCEPTED: list[tuple[str, Build]] = [
    ("as it should be", lambda c: c.request()),
    ("method in capitals", claim(request_method="POST")),
    ("120 seconds, back-dated", claim(iat=NOW - 5, exp=NOW + 115)),
    ("a clock 5 seconds fast", claim(iat=NOW + 5, exp=NOW + 125)),
    ("expired 5 seconds ago", claim(iat=NOW - 125, exp=NOW - 5)),
    ("digestAlgorithm in lower case", claim(digestAlgorithm="sha-256")),
    ("both names of the algorithm", claim(digest_algorithm="SHA-256")),
    ("called on loopback", lambda c: c.request(http={"host": "127.0.0.1:8000"})),
    ("called with a port", lambda c: c.request(http={"host": f"{HOST}:443"})),
    ("host in capitals", claim(request_host=HOST.upper())),
    ("a query", lambda c: c.request(target="/pts/v2/payments?a=%20b")),
    ("unknown claims", claim(more="x")),
    ("a charset", lambda c: c.request(http={"content-type": "application/json;charset=utf-8"})),
    ("mixed-case scheme", lambda c: replace_scheme(c.request())),
]


def replace_scheme(request: SimRequest) -> SimRequest:
    token = request.headers["authorization"].removeprefix("Bearer ")
    return replace(request, headers={**request.headers, "authorization": f"bearer {token}"})


@pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in ACCEPTED])
def test_what_the_gateway_tolerates_is_accepted(
    gateway: Gateway, shop: Caller, build: Build
) -> None:
    answer = gateway.handle(build(shop))

    assert (answer.status, answer.refusal) == (201, None)
    assert json.loads(answer.body)["status"] == "AUTHORIZED"


def test_nodes_name_of_the_digest_algorithm_is_accepted(gateway: Gateway, shop: Caller) -> None:
    request = shop.request(claims={"digest-algorithm": "SHA-256"}, drop=["digestAlgorithm"])

    assert gateway.handle(request).status == 201


@pytest.mark.parametrize("key", ["shop", "kiosk"])
def test_a_request_in_the_shape_of_the_official_sdk_is_accepted(
    gateway: Gateway, key: str, request: pytest.FixtureRequest
) -> None:
    """Method in capitals, its content type, its own headers, and an intermediate host."""
    caller: Caller = request.getfixturevalue(key)

    answer = gateway.handle(
        caller.request(
            claims={"request-method": "POST"},
            http={
                "host": "127.0.0.1:8443",
                "content-type": "application/json;charset=utf-8",
                "accept": "application/hal+json;charset=utf-8",
                "v-c-client-id": "cybs-rest-sdk-python-0.0.80",
                "v-c-sdk-telemetry-merchant-id": caller.org_id,
            },
        )
    )

    assert (answer.status, answer.refusal) == (201, None)


def test_the_sdks_empty_object_is_a_body_like_any_other(gateway: Gateway, shop: Caller) -> None:
    answer = gateway.handle(shop.request(document={}))

    assert answer.refusal is Refusal.MISSING_FIELD


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_each_rsa_algorithm_is_verified(gateway: Gateway, shop: Caller, algorithm: str) -> None:
    assert gateway.handle(replace(shop, algorithm=algorithm).request()).status == 201


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_each_hmac_algorithm_is_verified(gateway: Gateway, kiosk: Caller, algorithm: str) -> None:
    assert gateway.handle(replace(kiosk, algorithm=algorithm).request()).status == 201


@pytest.mark.parametrize("key", ["shop", "kiosk"])
def test_a_changed_signature_never_verifies(
    gateway: Gateway, key: str, request: pytest.FixtureRequest
) -> None:
    caller: Caller = request.getfixturevalue(key)
    sent = caller.request()
    head, payload, signature = sent.headers["authorization"].split(".")
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    tampered = {**sent.headers, "authorization": f"{head}.{payload}.{flipped}"}

    assert gateway.handle(replace(sent, headers=tampered)).refusal is Refusal.BAD_SIGNATURE
