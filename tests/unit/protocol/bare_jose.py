"""JOSE on bare cryptography: an independent reading, and the forge for hostile tokens."""

from __future__ import annotations

import base64
import hmac
import json
import os
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def oaep(algorithm: hashes.HashAlgorithm | None = None) -> padding.OAEP:
    chosen = algorithm or hashes.SHA256()
    return padding.OAEP(mgf=padding.MGF1(algorithm=chosen), algorithm=chosen, label=None)


SHA1_OAEP = oaep(hashes.SHA1())  # noqa: S303  # what "RSA-OAEP" means; we refuse it


def header(kid: str, /, **changes: Any) -> dict[str, Any]:
    """The JOSE header of an encrypted reply; a change to ... leaves the member out."""
    members = {"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": kid, "iat": 1_794_000_000}
    return {name: value for name, value in {**members, **changes}.items() if value is not ...}


def encrypt(
    key: RSAPublicKey,
    plaintext: bytes,
    head: dict[str, Any] | bytes,
    *,
    cek: bytes | None = None,
    iv: bytes | None = None,
    pad: padding.AsymmetricPadding | None = None,
) -> str:
    """A compact JWE that is honest in all but what the arguments say."""
    first = b64(head if isinstance(head, bytes) else json.dumps(head).encode())
    cek = os.urandom(32) if cek is None else cek
    iv = iv or os.urandom(12)
    # A content key of a length that AES has not is used for nothing but the encrypted key.
    content = AESGCM(cek if len(cek) in (16, 24, 32) else os.urandom(32))
    sealed = content.encrypt(iv, plaintext, first.encode("ascii"))
    parts = (key.encrypt(cek, pad or oaep()), iv, sealed[:-16], sealed[-16:])
    return ".".join((first, *map(b64, parts)))


def decrypt(key: RSAPrivateKey, token: str) -> tuple[dict[str, Any], bytes]:
    """The header and the plaintext of a compact JWE, RSA-OAEP-256 with A256GCM."""
    first, encrypted_key, iv, ciphertext, tag = token.split(".")
    cek = key.decrypt(unb64(encrypted_key), oaep())
    plaintext = AESGCM(cek).decrypt(unb64(iv), unb64(ciphertext) + unb64(tag), first.encode())
    return json.loads(unb64(first)), plaintext


def verify(token: str, key: RSAPublicKey | bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a compact JWS whose signature holds, or an error."""
    first, second, third = token.split(".")
    head, signed = json.loads(unb64(first)), f"{first}.{second}".encode("ascii")
    kind, digest = head["alg"][:2], HASHES[head["alg"][2:]]
    if isinstance(key, bytes):
        assert kind == "HS"
        assert hmac.compare_digest(hmac.digest(key, signed, digest.name), unb64(third))
    else:
        pkcs1, pss = padding.PKCS1v15(), padding.PSS(padding.MGF1(digest), digest.digest_size)
        key.verify(unb64(third), signed, {"RS": pkcs1, "PS": pss}[kind], digest)
    return head, json.loads(unb64(second))
