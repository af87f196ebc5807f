from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import (
    BodyNotEncryptable,
    EncryptionImpossible,
    EncryptionRequired,
    InvalidBody,
    InvalidHeader,
    InvalidPath,
    MessageError,
    MLEDecryptError,
    ReplyNotEncrypted,
)
from django_cybs_jwt.protocol import MerchantKeys, OpenedResponse, SealedRequest, open_response
from django_cybs_jwt.protocol.claims import body_digest
from tests.unit.protocol import bare_jose
from tests.unit.protocol.protocol_samples import (
    GATEWAY_KID,
    GATEWAY_RSA,
    HOST,
    JTI,
    KID,
    NOW,
    RESPONSE,
    RESPONSE_KID,
    RESPONSE_RSA,
    RSA,
    SHARED,
    SIGNING,
    bearer,
    certificate,
    merchant,
    sealed,
)

PATHS = {
    "mandatory": "/must/v1/encrypt",
    "optional": "/may/v1/encrypt",
    "unknown": "/new/v1/thing",
    "off": "/not/v1/encrypt",
}
# What becomes of a body, by policy and by what the caller says.
OUTCOMES = {
    ("mandatory", None): "encrypted",
    ("mandatory", True): "encrypted",
    ("mandatory", False): "refused",
    ("optional", None): "encrypted",
    ("optional", True): "encrypted",
    ("optional", False): "plain",
    ("unknown", None): "encrypted",
    ("unknown", True): "encrypted",
    ("unknown", False): "plain",
    ("off", None): "plain",
    ("off", True): "encrypted",
    ("off", False): "plain",
}
CERTIFICATES = {
    "valid": certificate(),
    "missing": None,
    "ended": certificate(begin=-20, end=-1),
    "ends now": certificate(begin=-20, end=0),
    "not begun": certificate(begin=1, end=20),
}
BODY = b'{"amount":"102.21"}'

every_policy = pytest.mark.parametrize(
    ("policy", "mle"), OUTCOMES, ids=[f"{policy}-{mle}" for policy, mle in OUTCOMES]
)
every_certificate = pytest.mark.parametrize("state", CERTIFICATES)


def opened_by_the_gateway(request: SealedRequest) -> bytes:
    """The plain body of an encrypted request, read with bare cryptography."""
    envelope = json.loads(request.body)
    assert list(envelope) == ["encryptedRequest"]
    head, plaintext = bare_jose.decrypt(GATEWAY_RSA, envelope["encryptedRequest"])
    assert head["kid"] == GATEWAY_KID
    return plaintext


@every_certificate
@every_policy
def test_a_body_goes_out_as_policy_and_caller_say_or_not_at_all(
    policy: str, mle: bool | None, state: str
) -> None:
    keys = merchant(gateway_certificate=CERTIFICATES[state])
    outcome = OUTCOMES[policy, mle]
    if outcome == "refused":
        with pytest.raises(EncryptionRequired, match="accepts this operation only encrypted"):
            sealed(keys, path=PATHS[policy], body=BODY, mle=mle)
    elif outcome == "plain":
        request = sealed(keys, path=PATHS[policy], body=BODY, mle=mle)
        assert (request.body, request.request_encrypted) == (BODY, False)
    elif state == "valid":
        request = sealed(keys, path=PATHS[policy], body=BODY, mle=mle)
        assert request.request_encrypted
        assert opened_by_the_gateway(request) == BODY
    else:
        with pytest.raises(EncryptionImpossible, match=r"`manage.py cybs_gateway_cert add`"):
            sealed(keys, path=PATHS[policy], body=BODY, mle=mle)


@every_certificate
@every_policy
def test_without_a_body_there_is_nothing_to_encrypt_and_nothing_to_refuse(
    policy: str, mle: bool | None, state: str
) -> None:
    keys = merchant(gateway_certificate=CERTIFICATES[state])
    request = sealed(keys, "GET", PATHS[policy], b"", mle=mle)
    assert (request.body, request.request_encrypted) == (b"", False)
    assert "digest" not in request.claims


@pytest.mark.parametrize("body", [BODY, b""], ids=["body", "none"])
@pytest.mark.parametrize("mle", [0, 1, 0.0, "", "off", b"", [], {}, ()], ids=repr)
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_what_is_neither_true_nor_false_nor_none_never_decides_about_encryption(
    path: str, mle: Any, body: bytes
) -> None:
    with pytest.raises(MessageError, match=f"not of type {type(mle).__name__}"):
        sealed(path=path, body=body, mle=mle)


def test_a_body_given_as_mle_by_a_slip_is_not_in_the_message() -> None:
    with pytest.raises(MessageError) as caught:
        sealed(body=BODY, mle="4111111111111111")  # type: ignore[arg-type]
    assert "4111" not in f"{caught.value!r}{caught.value.facts}"


@pytest.mark.parametrize("state", ["ended", "not begun"])
def test_a_certificate_out_of_its_time_is_named_with_its_dates(state: str) -> None:
    with pytest.raises(EncryptionImpossible) as caught:
        sealed(merchant(gateway_certificate=CERTIFICATES[state]))
    dates = {"ended": ("2026-10-31", "2026-11-19"), "not begun": ("2026-11-21", "2026-12-10")}
    for part in (GATEWAY_KID, *dates[state]):
        assert part in str(caught.value)


def test_an_empty_object_is_a_body_and_is_encrypted() -> None:
    assert opened_by_the_gateway(sealed(body=b"{}")) == b"{}"


@given(body=st.binary(min_size=1), mle=st.booleans())
def test_the_digest_covers_what_goes_on_the_wire(body: bytes, mle: bool) -> None:
    request = sealed(body=body, mle=mle)
    assert request.claims["digest"] == body_digest(request.body)
    assert (opened_by_the_gateway(request) if mle else request.body) == body


@pytest.mark.parametrize("signing", [SIGNING, SHARED], ids=["P12", "shared secret"])
@pytest.mark.parametrize("method", ["get", "POST", "Put", "patch", "DELETE"])
def test_the_token_verifies_and_says_what_the_request_says(signing: Any, method: str) -> None:
    request = sealed(merchant(signing=signing), method, "/may/v1/encrypt?x=1")
    public = RSA.public_key() if signing is SIGNING else signing.material
    head, claims = bare_jose.verify(bearer(request), public)
    assert head == {"alg": signing.algorithm, "kid": signing.kid, "typ": "JWT"}
    assert claims == request.claims
    assert request.method == method.upper() == claims["request-method"].upper()
    assert request.url == f"https://{claims['request-host']}{claims['request-resource-path']}"
    assert (request.jti, request.kid, request.host) == (JTI, signing.kid, HOST)


def test_a_meta_key_signs_as_its_owner_for_the_merchant() -> None:
    signing, response = (
        dataclasses.replace(key, owner="portfolio_001") for key in (SIGNING, RESPONSE)
    )
    keys = merchant(signing=signing, response_keys={RESPONSE_KID: response})
    claims = sealed(keys).claims
    assert (claims["iss"], claims["v-c-merchant-id"]) == ("portfolio_001", "acme_001")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "", "GET ", "GET\r\n", "po\u017ft", "TRACE"])
def test_another_method_is_refused(method: str) -> None:
    with pytest.raises(
        MessageError, match=r"is not a method of the gateway\. Give one of DELETE, GET, "
    ):
        sealed(method=method)


@pytest.mark.parametrize("method", [None, b"POST", 1, ["POST"]])
def test_a_method_that_is_no_text_is_refused(method: Any) -> None:
    with pytest.raises(
        MessageError, match=r"is not a method of the gateway\. Give one of DELETE, GET, "
    ):
        sealed(method=method)


@pytest.mark.parametrize("now", [NOW.replace(tzinfo=None), NOW.date(), 1_794_000_000, None])
@pytest.mark.parametrize("mle", [True, False])
def test_a_time_without_a_zone_is_refused(now: Any, mle: bool) -> None:
    with pytest.raises(MessageError, match="carries a zone"):
        sealed(now=now, mle=mle)


@pytest.mark.parametrize(
    "changes",
    [{"path": None}, {"path": b"/x"}, {"headers": {"x": 1}}, {"headers": {b"x": "1"}}],
    ids=str,
)
def test_an_argument_of_another_type_is_our_error(changes: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        sealed(**changes)


def test_an_encrypted_request_is_json_whatever_its_body_was_called() -> None:
    given_type = [("Content-Type", "Application/JSON; charset=utf-8"), ("X-Note", "a")]
    encrypted = sealed(headers=given_type).headers[1:]
    plain = sealed(headers=given_type, mle=False).headers[1:]
    assert encrypted == (("x-note", "a"), ("content-type", "application/json"), ("accept", "*/*"))
    assert plain[0] == ("content-type", "Application/JSON; charset=utf-8")


def test_the_callers_headers_stay_and_only_missing_ones_are_added() -> None:
    request = sealed(headers={"Accept": "text/csv", "V-C-Client-Id": "x"}, mle=False)
    names = [name for name, _ in request.headers]
    assert names == ["authorization", "accept", "v-c-client-id", "content-type"]
    assert dict(request.headers)["accept"] == "text/csv"


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/csv", "", "json"])
def test_what_is_not_json_is_not_encrypted_and_the_way_out_is_named(kind: str) -> None:
    with pytest.raises(BodyNotEncryptable, match=r"Only JSON bodies .* mle=False"):
        sealed(headers={"content-type": kind})
    assert sealed(headers={"content-type": kind}, mle=False).body == b'{"a":1}'


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"path": "/a/../b"}, InvalidPath),
        ({"headers": {"authorization": "x"}}, InvalidHeader),
        ({"body": "text"}, InvalidBody),
    ],
)
def test_path_headers_and_body_are_checked(changes: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        sealed(**changes)


def test_a_sealed_request_shows_no_token_and_no_body() -> None:
    request = sealed(mle=False, body=b'{"number":"4111111111111111"}', headers={"x": "private"})
    for hidden in (bearer(request), "4111111111111111", "private"):
        assert hidden not in repr(request)
    assert KID in repr(request)


# The kid that is announced, by policy and by whether there is a key; "refused" is an error.
ANNOUNCED = {
    ("required", True): RESPONSE_KID,
    ("required", False): "refused",
    ("ask", True): RESPONSE_KID,
    ("ask", False): None,
    ("never", True): None,
    ("never", False): None,
}


@pytest.mark.parametrize(("policy", "has_key"), ANNOUNCED)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_response_key_is_announced_as_the_policy_says(
    policy: Any, has_key: bool, method: str
) -> None:
    keys = merchant() if has_key else merchant(response_keys={}, response_kid=None)
    expected = ANNOUNCED[policy, has_key]
    if expected == "refused":
        with pytest.raises(EncryptionImpossible, match=r"acme_001 .* --purpose response-mle"):
            sealed(keys, method, body=b"", response_mle=policy)
        return
    request = sealed(keys, method, body=b"", response_mle=policy)
    assert request.response_kid == request.claims.get("v-c-response-mle-kid") == expected
    assert ("v-c-response-mle-kid" in request.claims) is (expected is not None)


def encrypted(plaintext: bytes, kid: str = RESPONSE_KID, **dump: Any) -> bytes:
    token = bare_jose.encrypt(RESPONSE_RSA.public_key(), plaintext, bare_jose.header(kid))
    return json.dumps({"encryptedResponse": token}, **dump).encode()


EVERY_POLICY = ["required", "ask", "never"]
STATUSES = [200, 201, 204, 299, 300, 400, 401, 404, 500, 502]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("policy", EVERY_POLICY)
def test_an_encrypted_reply_opens_under_every_policy_and_status(policy: Any, status: int) -> None:
    opened = open_response(merchant(), encrypted(BODY), status=status, response_mle=policy)
    assert opened == OpenedResponse(content=BODY, encrypted=True, kid=RESPONSE_KID)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("policy", EVERY_POLICY)
def test_a_plain_reply_passes_unless_encryption_is_required_and_it_is_2xx(
    policy: Any, status: int
) -> None:
    if policy == "required" and status in {200, 201, 204, 299}:
        with pytest.raises(ReplyNotEncrypted, match='RESPONSE_MLE is "required"'):
            open_response(merchant(), BODY, status=status, response_mle=policy)
    else:
        opened = open_response(merchant(), BODY, status=status, response_mle=policy)
        assert opened == OpenedResponse(content=BODY, encrypted=False, kid=None)


@pytest.mark.parametrize("policy", EVERY_POLICY)
@pytest.mark.parametrize("status", [200, 204, 401])
def test_an_empty_reply_passes_under_every_policy(policy: Any, status: int) -> None:
    opened = open_response(merchant(), b"", status=status, response_mle=policy)
    assert (opened.content, opened.encrypted) == (b"", False)


@pytest.mark.parametrize("policy", EVERY_POLICY)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_encrypted_reply_that_does_not_open_is_never_passed_on(policy: Any, status: int) -> None:
    with pytest.raises(MLEDecryptError):
        open_response(merchant(), encrypted(BODY, "other"), status=status, response_mle=policy)


@pytest.mark.parametrize(
    "body",
    [
        b'{"encryptedResponse":"a.b.c.d.e","more":1}',
        b'["encryptedResponse"]',
        b'{"note":"encryptedResponse"}',
        b'{"a":{"encryptedResponse":"a.b.c.d.e"}}',
        b'{"response":{"rmsg":"Authentication Failed"}}',
        b"<html>502 Bad Gateway</html>",
        b"\xff\xfe\x00",
    ],
)
def test_a_reply_of_another_form_is_plain_to_the_last_byte(body: bytes) -> None:
    opened = open_response(merchant(), body, status=502)
    assert (opened.content, opened.encrypted) == (body, False)


@pytest.mark.parametrize("dump", [{"indent": 2}, {"indent": "\t"}, {"separators": (" , ", " : ")}])
def test_the_envelope_may_be_written_with_white_space(dump: dict[str, Any]) -> None:
    assert open_response(merchant(), encrypted(BODY, **dump), status=200).content == BODY


def test_an_older_response_key_still_opens_and_is_named() -> None:
    keys: MerchantKeys = merchant()
    older = dataclasses.replace(keys.response_keys[RESPONSE_KID], kid="older")
    keys = merchant(response_keys={**keys.response_keys, "older": older})
    assert open_response(keys, encrypted(BODY, "older"), status=200).kid == "older"


def test_an_opened_reply_shows_no_content() -> None:
    opened = open_response(merchant(), encrypted(b'{"number":"4111"}'), status=200)
    assert "4111" not in repr(opened)
