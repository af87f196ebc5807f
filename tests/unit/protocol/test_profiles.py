from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.protocol import profiles
from django_cybs_jwt.protocol.profiles import DEFAULT, PROFILES, Profile
from tests.unit.protocol import bare_jose
from tests.unit.protocol.protocol_samples import GATEWAY_RSA, HOST, NOW, RESPONSE_KID, sealed


def claims(profile: Profile, path: str = "/may/v1/encrypt?x=1") -> dict[str, Any]:
    return sealed(path=path, profile=profile, mle=False).claims


def jwe_header(profile: Profile) -> dict[str, Any]:
    token = sealed(profile=profile).body[len('{"encryptedRequest":"') : -len('"}')]
    return bare_jose.decrypt(GATEWAY_RSA, token.decode("ascii"))[0]


def test_the_default_follows_the_guide() -> None:
    written = claims(DEFAULT)
    assert written["digestAlgorithm"] == "SHA-256"
    assert written["request-host"] == HOST
    assert written["request-resource-path"] == "/may/v1/encrypt?x=1"
    assert written["v-c-response-mle-kid"] == RESPONSE_KID
    assert written["iat"] == int(NOW.timestamp()) - 5
    assert "cty" not in jwe_header(DEFAULT)


def test_the_node_dialect_names_the_hash_and_the_content_type_as_that_sdk_does() -> None:
    written = claims(PROFILES["node-sdk"])
    assert written["digest-algorithm"] == "SHA-256"
    assert "digestAlgorithm" not in written
    assert written["iat"] == int(NOW.timestamp())
    assert jwe_header(PROFILES["node-sdk"])["cty"] == "JWT"


def test_an_older_brand_gets_no_request_host_and_all_else_unchanged() -> None:
    without = claims(PROFILES["without-request-host"])
    assert claims(DEFAULT) == {**without, "request-host": HOST}
    assert "request-host" not in without


def test_a_profile_can_leave_the_query_string_out_of_the_claim() -> None:
    profile = dataclasses.replace(DEFAULT, query_in_path=False)
    assert claims(profile)["request-resource-path"] == "/may/v1/encrypt"
    assert sealed(path="/may/v1/encrypt?x=1", profile=profile).path == "/may/v1/encrypt?x=1"


def test_a_profile_can_rename_the_response_kid() -> None:
    profile = dataclasses.replace(DEFAULT, response_kid_claim="v-c-api-response-mle-kid")
    written = claims(profile)
    assert written["v-c-api-response-mle-kid"] == RESPONSE_KID
    assert "v-c-response-mle-kid" not in written


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_no_token_lives_longer_than_the_gateway_takes(profile: Profile) -> None:
    written = claims(profile)
    assert 0 < written["exp"] - written["iat"] <= 120
    assert written["iat"] <= int(NOW.timestamp()) < written["exp"]


def test_a_profile_never_changes() -> None:
    assert PROFILES["default"] is DEFAULT
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT.backdate = 0  # type: ignore[misc]


WRONG: list[tuple[str, Any]] = [
    *(("lifetime", value) for value in (0, -1, 121, 119.5, "120", True, None)),
    *(("backdate", value) for value in (-1, 120, 500, 0.5, "5", True, None)),
    *(("digest_algorithm", value) for value in ("SHA-512", "MD5", "", None, "SHA256", ["SHA-256"])),
    *(("digest_algorithm_claim", value) for value in ("", "digest", "a b", "a\n", None, 1, ["a"])),
    *(("response_kid_claim", value) for value in ("iss", "v-c-merchant-id", "digestAlgorithm", "")),
    *(("request_host", value) for value in ("False", 0, 1, None)),
    *(("query_in_path", value) for value in ("False", 0, 1, None)),
    *(("content_type_header", value) for value in ("", "JWT\r\n", 1, True, "x" * 65)),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{n} {v!r:.20}" for n, v in WRONG])
def test_what_no_gateway_would_take_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"profile's ({name}|two claims)"):
        dataclasses.replace(DEFAULT, **{name: value})


def test_a_short_life_and_either_spelling_of_the_hash_are_legal() -> None:
    profile = Profile(lifetime=1, backdate=0, digest_algorithm="sha-256")
    assert claims(profile)["exp"] == int(NOW.timestamp()) + 1
    assert Profile(lifetime=120, backdate=119).backdate == 119


def test_a_profile_names_no_claim_that_is_written_anyway() -> None:
    assert (
        claims(DEFAULT).keys()
        - {
            DEFAULT.digest_algorithm_claim,
            DEFAULT.response_kid_claim,
        }
        <= profiles._WRITTEN_ANYWAY
    )
