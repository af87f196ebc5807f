from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import runpy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from django_cybs_jwt.exceptions import MessageError, WrongKeyFile
from django_cybs_jwt.protocol import PROFILES, Operations, SealedRequest, SigningKey, jws
from tests.unit.protocol import bare_jose
from tests.unit.protocol.protocol_samples import (
    RESPONSE,
    RESPONSE_KID,
    RSA,
    SECRET,
    SIGNING,
    bearer,
    merchant,
    sealed,
)

FOLDER = Path(__file__).parents[2] / "vectors"
FROZEN = json.loads((FOLDER / "jwt_v2.json").read_text("ascii"))
MAKER = runpy.run_path(str(FOLDER / "make_jwt_vectors.py"))
KEY = MAKER["private_key"](FROZEN["rsa"])
OFF = Operations([])

every_vector = pytest.mark.parametrize(
    "vector", FROZEN["vectors"], ids=[vector["name"] for vector in FROZEN["vectors"]]
)


def material(algorithm: str) -> Any:
    secret = FROZEN["shared_secrets"].get(algorithm)
    return KEY if secret is None else bytes.fromhex(secret)


def seal(vector: dict[str, Any]) -> SealedRequest:
    """The vector's request as the package seals it."""
    algorithm = vector["algorithm"]
    signing = SigningKey(
        owner=vector["owner"],
        kid=vector["kid"],
        algorithm=algorithm,
        material=material(algorithm),
    )
    keys = merchant(
        merchant=vector["merchant"],
        host=FROZEN["host"],
        signing=signing,
        response_keys={RESPONSE_KID: dataclasses.replace(RESPONSE, owner=vector["owner"])},
        response_kid=vector["response_kid"],
    )
    return sealed(
        keys,
        vector["method"],
        vector["path"],
        vector["body"].encode(),
        now=datetime.fromtimestamp(FROZEN["now"], UTC),
        jti=FROZEN["jti"],
        operations=OFF,
        profile=PROFILES[vector["profile"]],
        mle=False,
    )


@every_vector
def test_a_frozen_token_is_written_byte_for_byte(vector: dict[str, Any]) -> None:
    request = seal(vector)
    assert bearer(request) == vector["token"]
    assert request.body == vector["body"].encode()
    assert request.claims == vector["claims"]


@every_vector
def test_a_frozen_token_verifies_under_an_independent_reading(vector: dict[str, Any]) -> None:
    key = material(vector["algorithm"])
    public = key if isinstance(key, bytes) else key.public_key()
    head, claims = bare_jose.verify(vector["token"], public)
    assert head == {"alg": vector["algorithm"], "typ": "JWT", "kid": vector["kid"]}
    assert claims == vector["claims"]


def test_the_maker_writes_the_frozen_file_again() -> None:
    assert MAKER["text"]() == (FOLDER / "jwt_v2.json").read_text("ascii")


def test_the_vectors_cover_every_deterministic_algorithm_and_every_profile() -> None:
    vectors = FROZEN["vectors"]
    algorithms = {"RS256", "RS384", "RS512", "HS256", "HS384", "HS512"}
    assert {vector["algorithm"] for vector in vectors} == algorithms
    assert {vector["profile"] for vector in vectors} == set(PROFILES)


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "HS256", "HS384", "HS512"]
)
def test_a_signature_of_every_algorithm_verifies_and_covers_every_byte(algorithm: str) -> None:
    secret = algorithm.startswith("HS")
    key = SigningKey(
        owner="acme_001", kid="kid-1", algorithm=algorithm, material=SECRET if secret else RSA
    )
    token, public = jws.sign({"a": 1, "b": "\u00fc"}, key), SECRET if secret else RSA.public_key()
    head, claims = bare_jose.verify(token, public)
    assert head == {"alg": algorithm, "kid": "kid-1", "typ": "JWT"}
    assert claims == {"a": 1, "b": "\u00fc"}
    first, _, third = token.split(".")
    other = bare_jose.b64(b'{"a":2,"b":"x"}')
    with pytest.raises((InvalidSignature, AssertionError)):
        bare_jose.verify(f"{first}.{other}.{third}", public)


def test_a_pss_signature_differs_each_time_and_a_pkcs1_signature_does_not() -> None:
    pss = SigningKey(owner="acme_001", kid="1", algorithm="PS256", material=RSA)
    assert jws.sign({"a": 1}, pss) != jws.sign({"a": 1}, pss)
    assert jws.sign({"a": 1}, SIGNING) == jws.sign({"a": 1}, SIGNING)


def test_a_token_is_three_parts_of_unpadded_base64url() -> None:
    token = jws.sign({"a": "??>>~~"}, SIGNING)
    assert len(token.split(".")) == 3
    assert not set("+/=") & set(token)


def test_the_claims_given_are_not_changed() -> None:
    claims = {"iat": 1, "exp": 2}
    jws.sign(claims, SIGNING)
    assert claims == {"iat": 1, "exp": 2}


def test_what_is_kept_of_a_key_goes_with_it_and_holds_nothing_secret() -> None:
    gc.collect()
    before = len(jws._signers)
    key = SigningKey(owner="acme_001", kid="1", algorithm="HS256", material=SECRET)
    assert jws.sign({"a": 1}, key) == jws.sign({"a": 1}, key)
    algorithm, head = jws._signers[key]
    assert vars(algorithm) == {"hash_alg": hashlib.sha256}
    assert bare_jose.unb64(head.decode()) == b'{"alg":"HS256","kid":"1","typ":"JWT"}'
    assert len(jws._signers) == before + 1
    del key
    gc.collect()
    assert len(jws._signers) == before


def test_keys_of_one_kid_sign_each_with_its_own_material() -> None:
    keys = [
        SigningKey(owner="acme_001", kid="1", algorithm="HS256", material=secret)
        for secret in (SECRET, SECRET[::-1])
    ]
    for key in [*keys, *keys]:
        assert bare_jose.verify(jws.sign({"a": 1}, key), key.material)


@pytest.mark.parametrize("beginning", [b"ssh-rsa ", b"---- BEGIN PUBLIC KEY ----"])
def test_a_secret_that_the_library_takes_for_another_kind_of_key_is_our_error(
    beginning: bytes,
) -> None:
    lines = [beginning, bytes(range(100, 150)), beginning.replace(b"BEGIN", b"END")]
    secret = b"\n".join(lines)  # PyJWT 2.10 knows PEM by its lines only
    key = SigningKey(owner="acme_001", kid="1", algorithm="HS256", material=secret)
    with pytest.raises(WrongKeyFile, match="not a shared secret") as caught:
        jws.sign({"a": 1}, key)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("claims", [{"a": b"x"}, {"a": {1, 2}}, {"a": float("nan")}], ids=str)
def test_claims_that_are_not_json_are_our_error(claims: dict[str, Any]) -> None:
    with pytest.raises(MessageError, match="as JSON"):
        jws.sign(claims, SIGNING)
