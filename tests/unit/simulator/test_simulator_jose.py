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
from tests.unit.simulator.callers import pem_private

# RFC 7515, appendix A.1 and A.2: header, payload and signature joined as they are printed there.
A1_KEY = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
A1_TOKEN = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)
A2_MODULUS = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4"
    "d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5re"
    "xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxX"
    "FvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
)
A2_TOKEN = (
    "eyJhbGciOiJSUzI1NiJ9."
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5"
    "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb"
    "1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO"
    "YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
# RFC 7520, sections 3.3 and 4.2: RSA-PSS with SHA-384.
BILBO_MODULUS = (
    "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmS"
    "CpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-Of"
    "VfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKw"
    "uCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"
)
PS384_INPUT = (
    "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9."
    "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250"
    "byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hl"
    "cmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
)
PS384_SIGNATURE = (
    "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TT"
    "B5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrY"
    "RXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtf"
    "a64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw"
)


def public_key(modulus: str) -> rsa.RSAPublicKey:
    number = int.from_bytes(jose.decode_base64url(modulus))
    return rsa.RSAPublicNumbers(65537, number).public_key()


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
    key = bytes.fromhex("b1a1f480548fe1733fb403ff6b9ad4f68a076e5b702e22692f82cb2e7aea40fc")
    aad = b"eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ"
    iv = jose.decode_base64url("48V1_ALb6US04U3b")
    ciphertext = jose.decode_base64url(
        "5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A"
    )
    tag = jose.decode_base64url("XFBoMYUZodetZdvTiFvSkQ")

    opened = jose.open_content(key, iv, ciphertext, tag, aad)

    assert opened == b"The true sign of intelligence is not knowledge but imagination."


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
