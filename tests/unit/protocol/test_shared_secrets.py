from __future__ import annotations

import base64
import string
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import KeyMaterialError, WeakKey
from django_cybs_jwt.protocol.shared_secrets import parse_key_id, parse_shared_secret
from django_cybs_jwt.testing import material

# Published by the gateway as a sample.
SAMPLE = "yBJxy6LjM2TmcPGu+GaJrHtkke25fPpUX+UY6/L/1tE="


def encoded(secret: bytes) -> str:
    return base64.b64encode(secret).decode("ascii")


def test_the_gateways_sample_secret_is_read() -> None:
    assert encoded(parse_shared_secret(SAMPLE)) == SAMPLE


def test_no_random_secret_is_taken_for_one_that_is_not() -> None:
    source = Random(17)
    for secret in (source.randbytes(32) for _ in range(2_000)):
        assert parse_shared_secret(encoded(secret)) == secret


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {}\t", "\n{}"])
def test_white_space_around_the_secret_is_dropped(around: str) -> None:
    assert parse_shared_secret(around.format(SAMPLE)) == parse_shared_secret(SAMPLE)


@pytest.mark.parametrize(
    ("algorithm", "fits", "short"), [("HS256", 32, 31), ("HS384", 48, 47), ("HS512", 64, 63)]
)
def test_each_algorithm_asks_for_its_own_length(algorithm: str, fits: int, short: int) -> None:
    random = bytes((n * n * 7 + n) % 256 for n in range(64))
    assert parse_shared_secret(encoded(random[:fits]), algorithm=algorithm) == random[:fits]
    with pytest.raises(WeakKey, match=f"{fits} bytes"):
        parse_shared_secret(encoded(random[:short]), algorithm=algorithm)


def test_an_algorithm_without_shared_secrets_is_refused() -> None:
    with pytest.raises(WeakKey, match="RS256"):
        parse_shared_secret(SAMPLE, algorithm="RS256")


def test_a_generated_pair_is_accepted() -> None:
    pair = material.shared_secret()
    assert len(parse_shared_secret(pair.secret)) == 32
    assert parse_key_id(pair.key_id) == pair.key_id


@pytest.mark.parametrize(
    "value",
    ["08c94330-f618-42a3-b09d-e1e43be5efda", "1757695744950028980655", "a", "k.1_x-2", "a" * 128],
)
def test_key_ids_of_the_gateway_are_accepted_unchanged(value: str) -> None:
    assert parse_key_id(value) == value


@given(text=st.text())
def test_any_text_is_a_key_id_of_harmless_characters_or_refused(text: str) -> None:
    allowed = set(string.ascii_letters + string.digits + "._-")
    if 0 < len(text) <= 128 and set(text) <= allowed and text[0].isalnum() and ".." not in text:
        assert parse_key_id(text) == text
    else:
        with pytest.raises(KeyMaterialError, match="not a key id"):
            parse_key_id(text)


@given(text=st.text(alphabet="ABCabc019+/=-_ \n", max_size=80))
def test_any_text_is_the_only_text_of_its_secret_or_refused(text: str) -> None:
    try:
        secret = parse_shared_secret(text)
    except KeyMaterialError:
        return
    assert encoded(secret) == text.strip()
