"""The simulator's own JOSE against published figures and against joserfc."""

from __future__ import annotations

import json
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import RSAKey

from django_cybs_jwt.simulator import jose
from tests.unit.protocol.rfc_figures import (
    A1_KEY,
    A1_TOKEN,
    A2_MODULUS,
    A2_TOKEN,
    BILBO_MODULUS,
    JWE_CONTENT_KEY,
    JWE_PLAINTEXT,
    JWE_TOKEN,
    PS384_INPUT,
    PS384_SIGNATURE,
    public_key,
)
from tests.unit.simulator.callers import pem_private


def figure(signing_input: str, signature: str, algorithm: str) -> jose.Jws:
    """A printed figure; the RFC's own headers lack the kid that the gateway demands."""
    return jose.Jws(
        {"alg": algorithm}, {}, signing_input.encode(), jose.decode_base64url(signature)
    )


FIGURES = [
    pytest.param("HS256", *A1_TOKEN.rsplit(".", 1), jose.decode_base64url(A1_KEY), id="7515-A.1"),
    pytest.param("RS256", *A2_TOKEN.rsplit(".", 1), public_key(A2_MODULUS), id="7515-A.2"),
    pytest.param("PS384", PS384_INPUT, PS384_SIGNATURE, public_key(BILBO_MODULUS), id="7520-4.2"),
]


@pytest.mark.parametrize(("algorithm", "signing_input", "signature", "key"), FIGURES)
def test_published_signatures_verify(
    algorithm: str, signing_input: str, signature: str, key: rsa.RSAPublicKey | bytes
) -> None:
    assert jose.fits(algorithm, key)
    assert jose.verify(figure(signing_input, signature, algorithm), key)


@pytest.mark.parametrize(("algorithm", "signing_input", "signature", "key"), FIGURES)
def test_published_signatures_do_not_verify_other_bytes_or_another_hash(
    algorithm: str, signing_input: str, signature: str, key: rsa.RSAPublicKey | bytes
) -> None:
    assert not jose.verify(figure(signing_input + "A", signature, algorithm), key)
    assert not jose.verify(figure(signing_input, signature, algorithm[:2] + "512"), key)


def test_the_content_of_the_published_a256gcm_figure_opens() -> None:
    """RFC 7516, appendix A.1; its key encryption is SHA-1 OAEP, which the gateway refuses."""
    aad, _, *rest = JWE_TOKEN.split(".")
    iv, ciphertext, tag = map(jose.decode_base64url, rest)

    opened = jose.open_content(JWE_CONTENT_KEY, iv, ciphertext, tag, aad.encode())

    assert opened == JWE_PLAINTEXT


@pytest.mark.parametrize("length", [0, 1, 100_000])
def test_joserfc_opens_what_the_simulator_encrypts(
    response_key: rsa.RSAPrivateKey, length: int
) -> None:
    plain = secrets.token_bytes(length)

    token = jose.encrypt(plain, response_key.public_key(), kid="k", iat=1_702_493_653)

    registry = jwe.JWERegistry(algorithms=["RSA-OAEP-256", "A256GCM"], strict_check_header=False)
    registry.max_ciphertext_length = 200_000
    opened = jwe.decrypt_compact(
        token, RSAKey.import_key(pem_private(response_key)), registry=registry
    )
    assert opened.plaintext == plain
    assert opened.headers() == {
        "alg": "RSA-OAEP-256",
        "enc": "A256GCM",
        "kid": "k",
        "iat": 1_702_493_653,
    }


def test_the_simulator_opens_what_joserfc_encrypts(response_key: rsa.RSAPrivateKey) -> None:
    token = jwe.encrypt_compact(
        {"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": "k", "cty": "JWT"},
        b"plain",
        RSAKey.import_key(pem_private(response_key)),
        algorithms=["RSA-OAEP-256", "A256GCM"],
    )

    assert jose.decrypt(token, response_key, kid="k") == b"plain"


@pytest.mark.parametrize("segment", range(5))
def test_a_jwe_with_one_changed_character_does_not_open(
    response_key: rsa.RSAPrivateKey, segment: int
) -> None:
    parts = jose.encrypt(b"plain", response_key.public_key(), kid="k", iat=1).split(".")
    first = "B" if parts[segment][0] == "A" else "A"
    parts[segment] = first + parts[segment][1:]

    with pytest.raises(jose.JoseError):
        jose.decrypt(".".join(parts), response_key, kid="k")


@pytest.mark.parametrize("segment", [1, 2, 4])
def test_a_jwe_with_a_shortened_segment_does_not_open(
    response_key: rsa.RSAPrivateKey, segment: int
) -> None:
    parts = jose.encrypt(b"plain", response_key.public_key(), kid="k", iat=1).split(".")
    parts[segment] = jose.encode_base64url(jose.decode_base64url(parts[segment])[:-1])

    with pytest.raises(jose.JoseError, match="does not open"):
        jose.decrypt(".".join(parts), response_key, kid="k")


def test_a_signature_needs_a_salt_as_long_as_the_hash(signing_key: rsa.RSAPrivateKey) -> None:
    salted = padding.PSS(padding.MGF1(SHA256()), salt_length=0)
    signature = signing_key.sign(b"input", salted, SHA256())

    assert not jose.verify(
        jose.Jws({"alg": "PS256"}, {}, b"input", signature), signing_key.public_key()
    )


@pytest.mark.parametrize("algorithm", ["none", "ES256", "RS257", "rs256", "", "HS256 ", "RSA"])
def test_other_algorithms_fit_no_key(signing_key: rsa.RSAPrivateKey, algorithm: str) -> None:
    assert not jose.fits(algorithm, signing_key.public_key())
    assert not jose.fits(algorithm, bytes(64))


def test_a_small_rsa_key_fits_nothing() -> None:
    small = rsa.RSAPublicNumbers(65537, (1 << 1023) + 1).public_key()

    assert not jose.fits("RS256", small)


@pytest.mark.parametrize("text", ["QQ==", "QQ=", "QR", "Q", "Q+", "Q/", "Q Q", "QQ\n", "ÄQ"])
def test_base64url_has_one_spelling(text: str) -> None:
    with pytest.raises(jose.JoseError):
        jose.decode_base64url(text)


@given(st.binary(max_size=64))
def test_base64url_round_trips(data: bytes) -> None:
    assert jose.decode_base64url(jose.encode_base64url(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"[]",
        b"1",
        b"",
        b'{"a":',
        b'\xff{"a":1}',
        b'\xef\xbb\xbf{"a":1}',
        b"[" * 100_000,
        b'{"a":1}{}',
    ],
)
def test_json_is_one_object_without_doubles(data: bytes) -> None:
    with pytest.raises(jose.JoseError):
        jose.strict_object(data)


@pytest.mark.parametrize(
    "header",
    [{"alg": "RS256"}, {"kid": "k"}, {"alg": 1, "kid": "k"}, {"alg": "RS256", "kid": ""}],
)
def test_a_header_names_its_algorithm_and_its_key(header: dict[str, object]) -> None:
    head = jose.encode_base64url(json.dumps(header).encode())

    with pytest.raises(jose.JoseError, match="header without"):
        jose.parse_jws(f"{head}.{jose.encode_base64url(b'{}')}.AA")


def test_no_error_repeats_the_token() -> None:
    secret = jose.encode_base64url(b"secret-secret-secret")

    with pytest.raises(jose.JoseError) as refused:
        jose.parse_jws(f"{secret}.{secret}.{secret}")

    assert secret not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_mask_of_pss_is_made_with_the_same_hash(signing_key: rsa.RSAPrivateKey) -> None:
    signature = signing_key.sign(
        b"input", padding.PSS(padding.MGF1(SHA256()), SHA384.digest_size), SHA384()
    )

    assert not jose.verify(
        jose.Jws({"alg": "PS384"}, {}, b"input", signature), signing_key.public_key()
    )
