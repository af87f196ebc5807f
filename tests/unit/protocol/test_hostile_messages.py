"""The rows B47-B74 of the table of bad inputs, each with what must become of it.

Tested elsewhere: B47 and B62 (nothing here reads a JWS; the simulator does), the memory of
B50 and the sizes of B61 that are accepted (test_jwe), B63 (states of stored keys).
"""

from __future__ import annotations

import json
import socket
import traceback
from decimal import Decimal
from typing import Any, NoReturn

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from django_cybs_jwt.exceptions import (
    InvalidBody,
    InvalidHeader,
    InvalidPath,
    MLEDecryptError,
    ReplyNotEncrypted,
    WeakKey,
    WrongKeyFile,
)
from django_cybs_jwt.protocol import ResponseKey, SigningKey, jwe, open_response
from django_cybs_jwt.protocol.bodies import check_body, encode_json
from django_cybs_jwt.protocol.headers import check_headers
from django_cybs_jwt.protocol.paths import check_path
from tests.unit.protocol import bare_jose
from tests.unit.protocol.hostile_tokens import (
    AT_THE_DOOR,
    FITTING,
    PLAINTEXT,
    WITH_THE_KEY,
    Make,
    header,
    named,
    padded,
    parted,
    raw,
)
from tests.unit.protocol.protocol_samples import (
    RESPONSE,
    RESPONSE_KID,
    RESPONSE_RSA,
    RSA,
    merchant,
    sealed,
)

KEYS = {RESPONSE_KID: RESPONSE}


def rows(table: list[tuple[str, str, Make]]) -> list[Any]:
    return [pytest.param(make, id=f"{row} {name}") for row, name, make in table]


every_token = pytest.mark.parametrize("make", rows(AT_THE_DOOR + WITH_THE_KEY))


class KeyTouched(BaseException):
    """Not an Exception, so that nobody catches it by accident."""


class Untouchable:
    def __getattribute__(self, name: str) -> NoReturn:
        raise KeyTouched(name)


UNTOUCHABLE = ResponseKey(owner="acme_001", kid=RESPONSE_KID, private_key=RESPONSE_RSA)
object.__setattr__(UNTOUCHABLE, "private_key", Untouchable())


def refusal(token: str, keys: dict[str, ResponseKey] = KEYS) -> MLEDecryptError:
    with pytest.raises(MLEDecryptError) as caught:
        jwe.decrypt(token, keys)
    return caught.value


@every_token
def test_every_hostile_token_is_refused_in_the_same_words_without_a_cause(make: Make) -> None:
    token = make()
    error = refusal(token)
    shown = "".join(traceback.format_exception(error))
    assert str(error) == str(MLEDecryptError())
    assert error.__cause__ is error.__context__ is None
    assert "During handling" not in shown
    assert "direct cause" not in shown


@pytest.mark.parametrize("make", rows(AT_THE_DOOR))
def test_the_private_key_is_not_touched_for_what_the_token_itself_tells(make: Make) -> None:
    refusal(make(), {RESPONSE_KID: UNTOUCHABLE})


@pytest.mark.parametrize("make", [pytest.param(lambda: FITTING, id="fitting"), *rows(WITH_THE_KEY)])
def test_the_private_key_is_touched_for_all_else(make: Make) -> None:
    with pytest.raises(KeyTouched):
        jwe.decrypt(make(), {RESPONSE_KID: UNTOUCHABLE})


@pytest.mark.parametrize("kid", ["", "k" * 257], ids=["empty", "257 characters"])
def test_b55_a_kid_of_no_sensible_length_is_not_even_looked_up(kid: str) -> None:
    error = refusal(named(kid=kid), {kid: UNTOUCHABLE})
    assert error.facts == {}


def test_the_token_that_all_others_are_made_from_opens() -> None:
    for token in (FITTING, parted(), named(), raw(padded(202)), raw(padded(1024))):
        assert jwe.decrypt(token, KEYS) == (PLAINTEXT, RESPONSE_KID)


def test_b48_an_rsa_key_is_never_the_secret_of_an_hmac() -> None:
    with pytest.raises(WeakKey, match="not 'HS256'"):
        SigningKey(owner="acme_001", kid="1", algorithm="HS256", material=RSA)
    with pytest.raises(WeakKey, match="not 'RS256'"):
        SigningKey(owner="acme_001", kid="1", algorithm="RS256", material=bytes(64))


def test_b48_a_public_key_in_pem_is_never_the_secret_of_an_hmac() -> None:
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(WrongKeyFile, match="not a shared secret"):
        SigningKey(owner="acme_001", kid="1", algorithm="HS256", material=pem)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise KeyTouched("a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    "member",
    [
        {"jku": "https://evil.example/keys.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"x5c": ["MIIB"]},
        {"x5t": "AAAA"},
    ],
    ids=lambda member: f"B54 {next(iter(member))}",
)
def test_a_key_that_a_header_brings_is_neither_fetched_nor_used(
    member: dict[str, Any], no_network: None
) -> None:
    assert jwe.decrypt(named(**member), KEYS)[0] == PLAINTEXT
    stranger = bare_jose.encrypt(RSA.public_key(), b"{}", header(**member))
    refusal(stranger)


def envelope(plaintext: bytes) -> bytes:
    token = bare_jose.encrypt(RESPONSE_RSA.public_key(), plaintext, header())
    return json.dumps({"encryptedResponse": token}).encode()


@pytest.mark.parametrize(
    "plaintext",
    [
        pytest.param(b"", id="B60 empty"),
        pytest.param(b'{"a":"\xff"}', id="B60 not UTF-8"),
        pytest.param('{"a":1}'.encode("utf-16"), id="B60 UTF-16"),
        pytest.param('{"a":1}'.encode("utf-16-le"), id="B60 UTF-16 without mark"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="B60 byte order mark"),
        pytest.param(b"status=AUTHORIZED", id="B60 not JSON"),
        pytest.param(b'{"a":1} {"a":2}', id="B60 two values"),
        pytest.param(b'{"a":NaN}', id="B60 NaN"),
        pytest.param(b'{"a":1,"a":2}', id="B60 a name twice"),
        pytest.param(b"[" * 200_000, id="B60 deep"),
        pytest.param(b"[" * 200_000 + b"]" * 200_000, id="B60 deep and closed"),
    ],
)
def test_a_plaintext_that_is_no_plain_json_is_refused(plaintext: bytes) -> None:
    with pytest.raises(MLEDecryptError) as caught:
        open_response(merchant(), envelope(plaintext), status=200)
    assert str(caught.value) == str(MLEDecryptError())
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("plaintext", [b"[]", b'[{"a":1}]', b"{}", b"null", b'"x"', b" 1 "])
def test_b60_any_json_value_is_a_reply_for_list_endpoints_answer_lists(plaintext: bytes) -> None:
    opened = open_response(merchant(), envelope(plaintext), status=200)
    assert (opened.content, opened.encrypted) == (plaintext, True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"encryptedResponse":null}',
        b'{"encryptedResponse":""}',
        b'{"encryptedResponse":1}',
        b'{"encryptedResponse":true}',
        b'{"encryptedResponse":["a.b.c.d.e"]}',
        b'{"encryptedResponse":{"a":1}}',
        b'{"encryptedResponse":"x","encryptedResponse":"y"}',
        b'{"encryptedResponse":"x"',
        b'{"encryptedResponse":NaN}',
    ],
    ids=lambda body: f"B64 {body.decode()}",
)
@pytest.mark.parametrize("status", [200, 400, 502])
def test_an_envelope_without_a_token_is_refused_whatever_the_status(
    body: bytes, status: int
) -> None:
    with pytest.raises(MLEDecryptError) as caught:
        open_response(merchant(), body, status=status)
    assert str(caught.value) == str(MLEDecryptError())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_b64_a_plain_reply_is_refused_where_encryption_is_required() -> None:
    with pytest.raises(ReplyNotEncrypted):
        open_response(merchant(), b'{"a":1}', status=201, response_mle="required")


BAD_PATHS = {
    "B65": ["//evil.com/x", "///evil", "/\\evil", "\\\\evil", "/\\/evil.com", "/a\\b"],
    "B66": ["@evil.com/", ".evil.com/", ":80@evil.com/", ":8443/x", "evil.com"],
    "B67": ["https://evil.com/", "http:evil.com", "javascript:alert(1)", "file:///etc/passwd"],
    "B68": [
        *("/a/../../admin", "/..", "/../", "/a/..", "/./", "/.", "/a/./b", "/a/../b?x=1"),
        *("/%2e%2e/", "/%2E%2e/x", "/.%2e/", "/%2e/", "/%252e%252e/", "/%252E/x", "/%2e"),
        *("/;/..", "/..;/x", "/..;a=b/x", "/.;/x", "/%2e%2e;/x", "/..%3b/x", "/a/%2e%2e%2fb"),
    ],
    "B69": [
        *("/a\r\nb", "/a\rb", "/a\nb", "/a\tb", "/a\0b", "/a\x7fb", "/a\n", "/a b", " /a", "/a "),
        *("/a%0d%0ab", "/a%0D", "/a%0a", "/a%09", "/a%00", "/a%7f", "/a%250a", "/a%2500"),
        *("/a?b=%0d%0aX:%20y", "/a?%00", "/a?b=%250a", "/a?b=c\n", "/a?b c", "/a#f", "/a?b#f"),
    ],
    "B70": [
        *("/\u00fc", "/a\uff0fb", "/\u2025/", "/a\u2044b", "/\ud800", "/a?b=\u00fc", "/\u0661"),
        *("/" + "a" * 20_000, "", "?", "?x=1"),
    ],
    "B71": [
        *("/payments/{id}", "/payments/{id}/refunds", "/payments/a/../b/refunds", "/a//b"),
        *("/payments/%2F/refunds", "/payments/%2f..%2f/x", "/payments/%5C/x", "/payments//refunds"),
        *("/payments/%252F/x", "/a/%/b", "/a/%2/b", "/a/%zz", "/a[1]", '/a"b', "/a<b>", "/a|b"),
    ],
}


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=f"{row} {path[:40]!r}") for row in BAD_PATHS for path in BAD_PATHS[row]],
)
def test_a_hostile_path_is_refused_before_anything_is_signed(path: str) -> None:
    with pytest.raises(InvalidPath):
        check_path(path)
    with pytest.raises(InvalidPath):
        sealed(path=path)


@pytest.mark.parametrize(
    "path",
    [
        "/a?x=//evil&y=a%26b",
        "/a?x=1&x=2&x=1",
        "/a?x=a+b&y=a%20b",
        "/a?x=/../..&y=@evil.com:80",
        "/payments/a?x=1/refunds",
    ],
    ids=lambda path: f"B72 {path}",
)
def test_an_odd_query_string_is_claimed_and_sent_as_it_is(path: str) -> None:
    request = sealed(path=path)
    assert request.path == request.claims["request-resource-path"] == path
    assert request.url.endswith(".com" + path)


@pytest.mark.parametrize(
    "headers",
    [
        *([("x", value)] for value in ("a\r\nb: c", "a\rb", "a\nb", "a\0b", "\u00e9", "\uff21")),
        *([("x", value)] for value in (" a", "a ", "\ta", "a\tb", "\x7f", "\x80", "a" * 8192)),
        *([(name, "a")] for name in ("x:", ":path", "x y", "", "x\r\n", "x\0", "\u00e9", "x" * 65)),
        *([(name, "a")] for name in ("x\n", "x/y", "x(y)", '"x"', "\u212a")),
        [("x", "fine"), ("y", "a\r\nauthorization: Bearer x")],
    ],
    ids=lambda headers: f"B73 {str(headers)[:40]}",
)
def test_a_hostile_header_is_refused_before_a_library_sees_it(headers: Any) -> None:
    with pytest.raises(InvalidHeader):
        check_headers(headers)
    with pytest.raises(InvalidHeader):
        sealed(headers=headers)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("nan"), id="B74 NaN"),
        pytest.param({"a": [float("inf")]}, id="B74 Infinity"),
        pytest.param({"a": -float("inf")}, id="B74 -Infinity"),
        pytest.param(Decimal("1.10"), id="B74 Decimal"),
        pytest.param({"a": b"bytes"}, id="B74 bytes"),
        pytest.param({"a": (n for n in range(3))}, id="B74 generator"),
        pytest.param({1, 2}, id="B74 set"),
        pytest.param({(1, 2): 3}, id="B74 name that is no text"),
        pytest.param("\ud800", id="B74 lone surrogate"),
        pytest.param({"\udfff": 1}, id="B74 lone surrogate in a name"),
        pytest.param("x" * 10_000_000, id="B74 10 MB"),
        pytest.param(cycle(), id="B74 cycle"),
        pytest.param(nested(100_000), id="B74 deep"),
        pytest.param(1j, id="B74 complex"),
    ],
)
def test_a_value_that_json_has_not_is_refused(value: Any) -> None:
    with pytest.raises(InvalidBody):
        encode_json(value)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("{}", id="B74 text"),
        pytest.param(None, id="B74 None"),
        pytest.param(bytearray(b"{}"), id="B74 bytearray"),
        pytest.param((part for part in [b"{}"]), id="B74 stream"),
        pytest.param(b"x" * 10_000_000, id="B74 10 MB of bytes"),
    ],
)
def test_a_body_that_is_no_finished_bytes_is_refused(body: Any) -> None:
    with pytest.raises(InvalidBody):
        check_body(body)
    with pytest.raises(InvalidBody):
        sealed(body=body)
