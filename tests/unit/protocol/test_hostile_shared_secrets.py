"""Every row of the list of hostile shared secrets and key ids: each is refused by its reason."""

from __future__ import annotations

import base64
from collections.abc import Callable
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from django_cybs_jwt.exceptions import KeyMaterialError, WeakKey, WrongKeyFile
from django_cybs_jwt.protocol.shared_secrets import parse_key_id, parse_shared_secret
from tests.unit.protocol import hostile_files as hostile

PLAIN = hostile.pem()
DER = (Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PLAIN_DER = hostile.key().private_bytes(*DER)
PUBLIC = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)
ED25519_DER = ed25519.Ed25519PrivateKey.generate().private_bytes(*DER)
EC_DER = ec.generate_private_key(ec.SECP256R1()).private_bytes(*DER)
RANDOM = Random(5).randbytes(64)
READABLE = b"password-password-password-12345"


def secret(value: bytes | str) -> Callable[[], object]:
    text = value if isinstance(value, str) else base64.b64encode(value).decode("ascii")
    return lambda: parse_shared_secret(text)


ROWS: list[tuple[str, Callable[[], object], type[KeyMaterialError], str]] = [
    ("B31 empty", secret(""), KeyMaterialError, "empty"),
    ("B31 5 bytes", secret(RANDOM[:5]), WeakKey, "32 bytes"),
    ("B31 31 bytes", secret(RANDOM[:31]), WeakKey, "32 bytes"),
    ("B32 not Base64", secret("not!base64" * 5), KeyMaterialError, "not complete Base64"),
    ("B32 no padding", secret("A" * 43), KeyMaterialError, "not complete Base64"),
    ("B32 spare bits", secret("A" * 42 + "B="), KeyMaterialError, "end cleanly"),
    ("B32 URL-safe", secret("-_" + "A" * 41 + "="), KeyMaterialError, "URL-safe"),
    ("B32 line break inside", secret("A" * 20 + "\n" + "A" * 24), KeyMaterialError, "white space"),
    ("B33 zeros", secret(bytes(32)), WeakKey, "not random"),
    ("B33 one byte", secret(b"\xa7" * 32), WeakKey, "not random"),
    ("B33 words", secret(READABLE), WeakKey, "not random"),
    ("B33 words and the newline of echo", secret(READABLE + b"\n"), WeakKey, "not random"),
    (
        "B33 words on two lines",
        secret(b"correct horse\r\nbattery staple, my dear"),
        WeakKey,
        "readable",
    ),
    (
        "B33 words beyond ASCII",
        secret("pässword-pässword-my-dear-friend".encode()),
        WeakKey,
        "readable",
    ),
    (
        "B33 words in UTF-16",
        secret("Quick-brown-Fox-jumps".encode("utf-16-le")),
        WeakKey,
        "repeats",
    ),
    ("B33 a key id", secret(b"08c94330-f618-42a3-b09d-e1e43be5efda\n"), WeakKey, "readable"),
    ("B33 Base64 in Base64", secret(base64.b64encode(RANDOM) + b"\n"), WeakKey, "readable"),
    ("B33 said one and a half times", secret(RANDOM[:24] + RANDOM[:12]), WeakKey, "repeats"),
    ("B33 few values", secret(b"\x80\x01\x02\x03" * 12), WeakKey, "not random"),
    ("B33 counting", secret(bytes(range(100, 164))), WeakKey, "not random"),
    ("B33 said twice", secret(RANDOM[:20] * 2), WeakKey, "not random"),
    ("B34 PEM key", secret(PLAIN.decode()), WrongKeyFile, "not a shared secret"),
    (
        "B34 PEM certificate",
        secret(hostile.certificate_pem().decode()),
        WrongKeyFile,
        "not a shared",
    ),
    ("B34 key in Base64", secret(PLAIN_DER), WrongKeyFile, "not a shared secret"),
    ("B34 PEM key in Base64", secret(PLAIN), WrongKeyFile, "too long"),
    ("B34 public PEM key in Base64", secret(PUBLIC), WrongKeyFile, "not a shared secret"),
    ("B34 PEM and more in Base64", secret(RANDOM + PUBLIC), WrongKeyFile, "not a shared secret"),
    ("B34 Ed25519 key in Base64", secret(ED25519_DER), WrongKeyFile, "not a shared secret"),
    ("B34 EC key in Base64", secret(EC_DER), WrongKeyFile, "not a shared secret"),
    ("B34 1 MB", secret("A" * 2**20), WrongKeyFile, "too long"),
    *[
        (f"B36 {name}", lambda value=value: parse_key_id(value), KeyMaterialError, "not a key id")
        for name, value in {
            "slash": "a/b",
            "dots": "..",
            "dots inside": "a..b",
            "quotes": "a'b\"",
            "CRLF": "a\r\nb",
            "line end": "a\n",
            "1 MB": "a" * 2**20,
            "list": ["a"],
            "emoji": "\N{KEY}",
            "empty": "",
            "none": None,
            "Arabic digits": "\u0661\u0662",
        }.items()
    ],
]


@pytest.mark.parametrize(
    ("action", "error", "says"), [pytest.param(*row[1:], id=row[0]) for row in ROWS]
)
def test_is_refused(action: Callable[[], object], error: type[KeyMaterialError], says: str) -> None:
    with pytest.raises(KeyMaterialError, match=says) as caught:
        action()
    assert type(caught.value) is error
    assert READABLE.decode() not in str(caught.value)
    assert "-----BEGIN" not in str(caught.value)
