"""Frozen encrypted messages open: with the package, with the simulator's JOSE, with a third one."""

from __future__ import annotations

import json
import runpy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from django_cybs_jwt.exceptions import MLEDecryptError
from django_cybs_jwt.protocol import MerchantKeys, ResponseKey, SigningKey, jwe, open_response
from django_cybs_jwt.simulator import jose
from tests.unit.protocol import bare_jose
from tests.unit.protocol.protocol_samples import SECRET, certificate
from tests.vectors.make_jwt_vectors import private_key

FOLDER = Path(__file__).parents[2] / "vectors"
FROZEN = json.loads((FOLDER / "mle_v1.json").read_text("ascii"))
MAKER = runpy.run_path(str(FOLDER / "make_mle_vectors.py"))
KEY = private_key(FROZEN["rsa"])
SIGNING = SigningKey(owner="acme_001", kid="1", algorithm="HS256", material=SECRET)

every_vector = pytest.mark.parametrize(
    "vector", FROZEN["vectors"], ids=[vector["name"] for vector in FROZEN["vectors"]]
)
responses = pytest.mark.parametrize(
    "vector",
    [
        pytest.param(each, id=each["name"])
        for each in FROZEN["vectors"]
        if each["form"] == "response"
    ],
)


def token(vector: dict[str, Any]) -> str:
    envelope: dict[str, str] = json.loads(vector["body"])
    return envelope["encrypted" + vector["form"].capitalize()]


def keys(kid: str) -> dict[str, ResponseKey]:
    return {kid: ResponseKey(owner="acme_001", kid=kid, private_key=KEY)}


@every_vector
def test_the_package_opens_it(vector: dict[str, Any]) -> None:
    kid, plaintext = vector["header"]["kid"], vector["plaintext"].encode()
    assert jwe.decrypt(token(vector), keys(kid)) == (plaintext, kid)


@every_vector
def test_the_simulators_own_jose_opens_it(vector: dict[str, Any]) -> None:
    kid, plaintext = vector["header"]["kid"], vector["plaintext"].encode()
    assert jose.decrypt(token(vector), KEY, kid=kid) == plaintext


@every_vector
def test_an_independent_reading_opens_it(vector: dict[str, Any]) -> None:
    opened = bare_jose.decrypt(KEY, token(vector))
    assert opened == (vector["header"], vector["plaintext"].encode())


@responses
def test_a_frozen_reply_is_opened_as_one(vector: dict[str, Any]) -> None:
    kid = vector["header"]["kid"]
    merchant = MerchantKeys(
        merchant="acme_001", host="a.b", signing=SIGNING, response_keys=keys(kid), response_kid=kid
    )
    opened = open_response(merchant, vector["body"].encode(), status=200)
    assert (opened.content.decode(), opened.encrypted, opened.kid) == (
        vector["plaintext"],
        True,
        kid,
    )


@every_vector
def test_it_opens_under_no_other_kid_and_not_with_a_bit_changed(vector: dict[str, Any]) -> None:
    with pytest.raises(MLEDecryptError):
        jwe.decrypt(token(vector), keys("another"))
    rest = token(vector).partition(".")[2]
    head = vector["header"] | {"iat": 1}
    with pytest.raises(MLEDecryptError):
        jwe.decrypt(f"{bare_jose.b64(json.dumps(head).encode())}.{rest}", keys(head["kid"]))


def test_our_own_requests_have_the_frozen_form() -> None:
    """But for what is random in them: the encrypted key, the IV, the ciphertext and its tag."""
    frozen = FROZEN["vectors"][0]
    gateway = certificate()
    made = jwe.encrypt(
        frozen["plaintext"].encode(), gateway, now=datetime.fromtimestamp(FROZEN["now"], UTC)
    )
    ours, theirs = made.split("."), token(frozen).split(".")
    assert json.loads(bare_jose.unb64(ours[0])) == frozen["header"] | {"kid": gateway.kid}
    assert list(map(len, ours[1:])) == list(map(len, theirs[1:]))


def test_the_maker_writes_the_frozen_file_again() -> None:
    assert MAKER["text"]() == (FOLDER / "mle_v1.json").read_text("ascii")
