from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.protocol.claims import METHODS, body_digest, build_claims
from django_cybs_jwt.protocol.profiles import DEFAULT
from tests.unit.protocol.protocol_samples import JTI, NOW, SIGNING, merchant

SEED = json.loads((Path(__file__).parents[2] / "vectors" / "seed_digest.json").read_text("ascii"))


def claims(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "method": "POST",
        "path": "/pts/v2/payments",
        "body": b"{}",
        "now": NOW,
        "jti": JTI,
        "profile": DEFAULT,
        "response_kid": None,
    }
    return build_claims(merchant(), **(usual | changes))


@pytest.mark.parametrize("payload", SEED["payloads"], ids=lambda payload: payload["brand"])
def test_the_guides_payload_has_the_digest_that_shasum_gives(payload: dict[str, Any]) -> None:
    body = "".join(payload["lines"]).encode("ascii")
    assert hashlib.sha256(body).hexdigest() == payload["sha256"]
    assert body_digest(body) == payload["digest"]
    assert base64.b64decode(body_digest(body)) == bytes.fromhex(payload["sha256"])


@pytest.mark.parametrize("name", ["base64_of_hex_text", "token_signature_hash"])
def test_the_guides_printed_values_are_hex_text_in_base64_and_ours_is_never(name: str) -> None:
    printed = base64.b64decode(SEED["published"][name] + "==")
    assert len(printed) == len(bytes.fromhex(printed.decode("ascii"))) * 2 == 64
    assert len(base64.b64decode(body_digest(b"{}"))) == 32


def test_one_hash_is_the_same_in_hex_and_in_the_digest_that_should_have_been_printed() -> None:
    published = SEED["published"]
    assert base64.b64decode(published["digest"]).hex() == published["sha256"]
    assert base64.b64decode(published["base64_of_hex_text"]).decode() == published["sha256"]


@given(body=st.binary(min_size=1))
def test_the_digest_covers_exactly_the_bytes_given(body: bytes) -> None:
    written = claims(body=body)
    assert base64.b64decode(written["digest"]) == hashlib.sha256(body).digest()
    assert written["digestAlgorithm"] == "SHA-256"


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_message_without_body_has_no_digest_and_no_name_of_a_hash(method: str) -> None:
    assert not {"digest", "digestAlgorithm"} & set(claims(method=method, body=b""))


@pytest.mark.parametrize("method", ["get", "GET", "Get", "post", "PUT", "Patch", "DELETE"])
def test_the_method_is_claimed_in_lower_case(method: str) -> None:
    assert claims(method=method)["request-method"] == method.lower()


def test_times_are_whole_seconds_in_any_zone() -> None:
    tokyo = timezone(timedelta(hours=9))
    late = datetime(2026, 11, 20, 21, 0, 0, 999_999, tzinfo=tokyo)
    written = claims(now=late)
    assert (written["iat"], written["exp"]) == (claims()["iat"], claims()["exp"])
    assert type(written["iat"]) is type(written["exp"]) is int
    assert written["iat"] == int(datetime(2026, 11, 20, 11, 59, 55, tzinfo=UTC).timestamp())


def test_the_claims_are_those_of_the_guide_and_no_others() -> None:
    assert set(claims(response_kid="kid")) == {
        "digest",
        "digestAlgorithm",
        "exp",
        "iat",
        "iss",
        "jti",
        "request-host",
        "request-method",
        "request-resource-path",
        "v-c-jwt-version",
        "v-c-merchant-id",
        "v-c-response-mle-kid",
    }


def test_the_version_is_a_string_and_the_ids_pass_unchanged() -> None:
    written = claims()
    assert written["v-c-jwt-version"] == "2"
    assert written["jti"] == JTI
    assert written["iss"] == SIGNING.owner
