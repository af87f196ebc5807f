"""Message-level encryption: the one place that imports joserfc.

joserfc writes tokens. Replies are opened with cryptography itself: the token has been taken apart
to be held against the profile, and joserfc would do it again for as long as all else takes.

Exactly RSA-OAEP-256 with A256GCM, compact form, no compression, no critical headers.
A token is held against that profile before any private key is touched.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc import jwe
from joserfc.jwk import RSAKey
from joserfc.registry import HeaderParameter

from django_cybs_jwt.exceptions import MLEDecryptError
from django_cybs_jwt.protocol.bodies import decode_json
from django_cybs_jwt.protocol.keys import GatewayCertificate, ResponseKey

ALGORITHM: Final = "RSA-OAEP-256"
ENCRYPTION: Final = "A256GCM"
# 8 MiB of reply in Base64; reports are large.
LONGEST_TOKEN: Final = 11 * 1024 * 1024

# Header (at most 1,024 bytes), encrypted key, 96-bit IV, ciphertext, 128-bit tag:
# Base64url without padding.
_TOKEN: Final = re.compile(
    rb"([\w-]{2,1366})\.([\w-]{342,683})\.([\w-]{16})\.([\w-]+)\.([\w-]{22})\Z"
)
# The last character of a group of 2 or 3 carries unused bits that must be zero: one text a token.
_TRAILING_BITS: Final = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}

# Headers that would change how the rest is read.
_UNKNOWN: Final = frozenset({"zip", "crit", "b64"})

_REGISTRY: Final = jwe.JWERegistry(
    header_registry={"iat": HeaderParameter("iat", "int")},
    algorithms=[ALGORITHM, ENCRYPTION],
    strict_check_header=False,
)
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_CONTENT_KEY: Final = 32  # bytes, for A256GCM


# joserfc's form of a key costs more to make than to use; it lives as long as ours does.
_public: WeakKeyDictionary[GatewayCertificate, RSAKey] = WeakKeyDictionary()


def encrypt(
    plaintext: bytes,
    certificate: GatewayCertificate,
    *,
    now: datetime,
    content_type: str | None = None,
) -> str:
    """Return *plaintext* as a compact JWE for the gateway's certificate; `iat` is in seconds."""
    header: dict[str, Any] = {
        "alg": ALGORITHM,
        "enc": ENCRYPTION,
        "kid": certificate.kid,
        "iat": int(now.timestamp()),
    }
    if content_type is not None:
        header["cty"] = content_type
    key = _public.get(certificate)
    if key is None:
        key = _public[certificate] = RSAKey.import_key(certificate.public_key)
    return jwe.encrypt_compact(header, plaintext, key, registry=_REGISTRY)


def decrypt(token: str, keys: Mapping[str, ResponseKey]) -> tuple[bytes, str]:
    """Open a compact JWE with the key its `kid` names; return the plaintext and that kid.

    Every failure is one MLEDecryptError with one message; `facts["kid"]` tells the kid.
    """
    parts, kid = _read(token)
    own = keys.get(kid)
    if own is None:
        _refuse(kid=kid, known=False)
    try:
        plaintext = _open(parts, own)
    except (InvalidTag, ValueError):
        plaintext = None
    if plaintext is None:
        _refuse(kid=kid, known=True)
    return plaintext, kid


def _read(token: str) -> tuple[tuple[bytes, ...], str]:
    """The five parts of a token that fits the profile, and the kid in its header."""
    if len(token) > LONGEST_TOKEN:
        _refuse()
    match = _TOKEN.match(token.encode("ascii", "replace"))
    if match is None or not all(map(_is_canonical, match.groups())):
        _refuse()
    try:
        header = decode_json(_bytes(match[1]))
    except ValueError:
        header = None
    if not isinstance(header, dict) or not _UNKNOWN.isdisjoint(header):
        _refuse()
    if header.get("alg") != ALGORITHM or header.get("enc") != ENCRYPTION:
        _refuse()
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= 256:
        _refuse()
    if not isinstance(header.get("iat", 0), int):
        _refuse()
    return match.groups(), kid


def _open(parts: tuple[bytes, ...], key: ResponseKey) -> bytes | None:
    protected, wrapped, iv, ciphertext, tag = parts
    content_key = key.private_key.decrypt(_bytes(wrapped), _OAEP)
    if len(content_key) != _CONTENT_KEY:
        return None
    sealed = _bytes(ciphertext) + _bytes(tag)
    return AESGCM(content_key).decrypt(_bytes(iv), sealed, protected)


def _bytes(part: bytes) -> bytes:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _is_canonical(part: bytes) -> bool:
    remainder = len(part) % 4
    return remainder == 0 or part[-1] in _TRAILING_BITS.get(remainder, ())


def _refuse(**facts: Any) -> NoReturn:
    raise MLEDecryptError(**facts) from None
