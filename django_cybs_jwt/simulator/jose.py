"""JSON Web Signature and Encryption on bare `cryptography`, as much as the gateway uses.

Deliberately apart from what the package signs and encrypts with: a mistake made in both places
would be made twice. Compact serialisation only, and only one spelling of everything.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

MAX_TOKEN: Final = 8 * 1024
MAX_JWE: Final = 1024 * 1024
MAX_HEADER: Final = 1024
MIN_RSA_BITS: Final = 2048
KEY_ENCRYPTION: Final = "RSA-OAEP-256"
CONTENT_ENCRYPTION: Final = "A256GCM"

_HASHES: Final[Mapping[str, HashAlgorithm]] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
_ALGORITHM = re.compile(r"(RS|PS|HS)(256|384|512)", re.ASCII)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_OAEP = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)


class JoseError(ValueError):
    """Not a token this gateway reads; the message says why and never repeats the token."""


@dataclass(frozen=True, slots=True)
class Jws:
    """A parsed token. Nothing in it is true before `verify` says so."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def algorithm(self) -> str:
        """The header's `alg`."""
        return str(self.header["alg"])

    @property
    def kid(self) -> str:
        """The header's `kid`."""
        return str(self.header["kid"])


def parse_jws(token: str) -> Jws:
    """Take a compact JWS apart, or raise JoseError."""
    parts = _split(token, 3, MAX_TOKEN)
    header = _header(parts[0])
    if str(header.get("typ", "JWT")).upper() != "JWT":
        raise JoseError("typ is not JWT")
    return Jws(
        header=header,
        claims=strict_object(decode_base64url(parts[1])),
        signing_input=f"{parts[0]}.{parts[1]}".encode("ascii"),
        signature=decode_base64url(parts[2]),
    )


def fits(algorithm: str, key: RSAPublicKey | bytes) -> bool:
    """True if *algorithm* is one of ours and *key* is of its kind and long enough for it."""
    match = _ALGORITHM.fullmatch(algorithm)
    if match is None:
        return False
    if isinstance(key, bytes):
        # RFC 7518, 3.2: an HMAC key is at least as long as the hash.
        return match[1] == "HS" and len(key) >= _HASHES[match[2]].digest_size
    return match[1] != "HS" and key.key_size >= MIN_RSA_BITS


def verify(jws: Jws, key: RSAPublicKey | bytes) -> bool:
    """True if *key*, which fits the algorithm, made the signature."""
    family, bits = jws.algorithm[:2], jws.algorithm[2:]
    algorithm = _HASHES[bits]
    if isinstance(key, bytes):
        expected = hmac.digest(key, jws.signing_input, f"sha{bits}")
        return hmac.compare_digest(expected, jws.signature)
    try:
        key.verify(jws.signature, jws.signing_input, _padding(family, algorithm), algorithm)
    except InvalidSignature:
        return False
    return True


def decrypt(token: str, private_key: RSAPrivateKey, *, kid: str) -> bytes:
    """Open a compact JWE that was made for *kid*, or raise JoseError."""
    parts = _split(token, 5, MAX_JWE)
    header = _header(parts[0])
    if header["alg"] != KEY_ENCRYPTION or header.get("enc") != CONTENT_ENCRYPTION:
        raise JoseError(f"a JWE here is {KEY_ENCRYPTION} with {CONTENT_ENCRYPTION}")
    if "zip" in header:
        raise JoseError("a compressed JWE is refused")
    if header["kid"] != kid:
        raise JoseError("this kid is not the gateway's request-MLE certificate")
    key, iv, ciphertext, tag = (decode_base64url(part) for part in parts[1:])
    try:
        content_key = private_key.decrypt(key, _OAEP)
    except ValueError:
        raise JoseError("the JWE does not open") from None
    return open_content(content_key, iv, ciphertext, tag, parts[0].encode("ascii"))


def open_content(key: bytes, iv: bytes, ciphertext: bytes, tag: bytes, aad: bytes) -> bytes:
    """Decrypt A256GCM content, or raise JoseError."""
    if (len(key), len(iv), len(tag)) != (32, 12, 16):
        raise JoseError("the JWE does not open")
    try:
        return AESGCM(key).decrypt(iv, ciphertext + tag, aad)
    except InvalidTag:
        raise JoseError("the JWE does not open") from None


def encrypt(plaintext: bytes, public_key: RSAPublicKey, *, kid: str, iat: int) -> str:
    """Make a compact JWE; *iat* is in epoch seconds."""
    header = {"alg": KEY_ENCRYPTION, "enc": CONTENT_ENCRYPTION, "kid": kid, "iat": iat}
    protected = encode_base64url(json.dumps(header, separators=(",", ":")).encode())
    content_key, iv = os.urandom(32), os.urandom(12)
    sealed = AESGCM(content_key).encrypt(iv, plaintext, protected.encode("ascii"))
    wrapped = public_key.encrypt(content_key, _OAEP)
    segments = (wrapped, iv, sealed[:-16], sealed[-16:])
    return ".".join((protected, *map(encode_base64url, segments)))


def encode_base64url(data: bytes) -> str:
    """Base64URL without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Decode the one spelling of Base64URL: no padding, no spare bits, no other alphabet."""
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise JoseError("not Base64URL without padding")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode_base64url(data) != text:
        raise JoseError("Base64URL with spare bits")
    return data


def strict_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object in which no member comes twice, or raise JoseError."""
    try:
        document = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except JoseError:
        raise
    except (ValueError, RecursionError):
        raise JoseError("not JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise JoseError("not a JSON object")
    return document


def _split(token: str, count: int, limit: int) -> list[str]:
    if len(token) > limit:
        raise JoseError(f"longer than {limit} characters")
    parts = token.split(".")
    if len(parts) != count:
        raise JoseError(f"not {count} segments")
    return parts


def _header(segment: str) -> dict[str, Any]:
    if len(segment) > MAX_HEADER:
        raise JoseError(f"a header longer than {MAX_HEADER} characters")
    header = strict_object(decode_base64url(segment))
    if "crit" in header:
        raise JoseError("critical extensions are not understood")
    for name in ("alg", "kid"):
        if not isinstance(header.get(name), str) or not header[name]:
            raise JoseError(f"a header without {name}")
    return header


def _padding(family: str, algorithm: HashAlgorithm) -> padding.AsymmetricPadding:
    if family == "RS":
        return padding.PKCS1v15()
    # RFC 7518, 3.5: the salt is as long as the hash.
    return padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JoseError("a JSON member that comes twice")
    return members


def _no_constant(name: str) -> None:
    raise JoseError(f"{name} is not JSON")
