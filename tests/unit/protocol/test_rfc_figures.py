"""The keys and figures of RFC 7515, 7516 and 7520 through our own signing and decrypting.

Our JOSE header is not theirs, so no whole token of an RFC can come out. What can: the judge here
makes or accepts each printed figure, and then judges what the package makes with the same key.
"""

from __future__ import annotations

import hmac
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from django_cybs_jwt.exceptions import MLEDecryptError
from django_cybs_jwt.protocol import ResponseKey, SigningKey, jwe, jws
from tests.unit.protocol import bare_jose, rfc_figures
from tests.unit.protocol.bare_jose import b64, unb64

HMAC_KEY = unb64(rfc_figures.A1_KEY)
RSA_KEY = rfc_figures.private_key(rfc_figures.A2_MODULUS, rfc_figures.A2_EXPONENT)
BILBO = rfc_figures.private_key(rfc_figures.BILBO_MODULUS, rfc_figures.BILBO_EXPONENT)
JWE_KEY = rfc_figures.private_key(rfc_figures.JWE_MODULUS, rfc_figures.JWE_EXPONENT)


def signature(key: Any, signed: str) -> str:
    """HS256 or RS256, on nothing of the package and nothing of PyJWT."""
    if isinstance(key, bytes):
        return b64(hmac.digest(key, signed.encode(), "sha256"))
    return b64(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))


FIGURES = [
    pytest.param("HS256", HMAC_KEY, rfc_figures.A1_TOKEN, id="7515 A.1"),
    pytest.param("RS256", RSA_KEY, rfc_figures.A2_TOKEN, id="7515 A.2"),
]


@pytest.mark.parametrize(("algorithm", "key", "printed"), FIGURES)
def test_the_package_signs_as_the_printed_figure_was_signed(
    algorithm: str, key: Any, printed: str
) -> None:
    signed, _, third = printed.rpartition(".")
    assert signature(key, signed) == third

    own = SigningKey(owner="joe", kid="rfc", algorithm=algorithm, material=key)
    token = jws.sign(rfc_figures.CLAIMS, own)

    signed, _, third = token.rpartition(".")
    assert signature(key, signed) == third
    head, claims = (json.loads(unb64(part)) for part in signed.split("."))
    assert head == {"alg": algorithm, "kid": "rfc", "typ": "JWT"}
    assert claims == json.loads(unb64(printed.split(".")[1])) == rfc_figures.CLAIMS


@pytest.mark.parametrize("algorithm", ["PS256", "PS384", "PS512", "RS384", "RS512"])
def test_who_verifies_the_printed_pss_figure_verifies_ours(algorithm: str) -> None:
    """RFC 7520, 4.2: its payload is no JSON, so the signature alone is held against the key."""
    printed = unb64(rfc_figures.PS384_SIGNATURE)
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), hashes.SHA384.digest_size)
    public = rfc_figures.public_key(rfc_figures.BILBO_MODULUS)
    public.verify(printed, rfc_figures.PS384_INPUT.encode(), pss, hashes.SHA384())

    key = SigningKey(owner="bilbo", kid="rfc", algorithm=algorithm, material=BILBO)
    token = jws.sign({"a": 1}, key)

    assert bare_jose.verify(token, public)[1] == {"a": 1}
    with pytest.raises(InvalidSignature):
        bare_jose.verify(token, RSA_KEY.public_key())


def test_the_printed_encryption_is_refused_for_its_sha_1() -> None:
    """RFC 7516, A.1; the judge opens it with the printed key, and finds the printed content key."""
    wrapped = unb64(rfc_figures.JWE_TOKEN.split(".")[1])
    assert JWE_KEY.decrypt(wrapped, bare_jose.SHA1_OAEP) == rfc_figures.JWE_CONTENT_KEY

    own = {"rfc": ResponseKey(owner="joe", kid="rfc", private_key=JWE_KEY)}
    with pytest.raises(MLEDecryptError):
        jwe.decrypt(rfc_figures.JWE_TOKEN, own)


def test_the_printed_content_opens_under_the_algorithm_that_is_ours() -> None:
    """Content key, IV and ciphertext are those of RFC 7516, A.1; header and tag cannot be."""
    printed = rfc_figures.JWE_TOKEN.split(".")
    token = bare_jose.encrypt(
        JWE_KEY.public_key(),
        rfc_figures.JWE_PLAINTEXT,
        bare_jose.header("rfc"),
        cek=rfc_figures.JWE_CONTENT_KEY,
        iv=unb64(printed[2]),
    )
    assert token.split(".")[2:4] == printed[2:4]

    own = {"rfc": ResponseKey(owner="joe", kid="rfc", private_key=JWE_KEY)}
    assert jwe.decrypt(token, own) == (rfc_figures.JWE_PLAINTEXT, "rfc")
