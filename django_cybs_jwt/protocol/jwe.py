"""Message-level encryption: the one place that imports joserfc.

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
from joserfc import jwe
from joserfc.errors import JoseError
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
    r"([\w-]{2,1366})\.([\w-]{342,683})\.([\w-]{16})\.([\w-]+)\.([\w-]{22})\Z", re.ASCII
)
# The last character of a group of 2 or 3 carries unused bits that must be zero: one text a token.
_TRAILING_BITS: Final = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}

_REGISTRY: Final = jwe.JWERegistry(
    header_registry={"iat": HeaderParameter("iat", "int")},
    algorithms=[ALGORITHM, ENCRYPTION],
    strict_check_header=False,
)
# Which of joserfc's kinds of algorithm these are is known here, not to the type checker.
_UNWRAPPING: Final[Any] = _REGISTRY.get_alg(ALGORITHM)
_CONTENT: Final[Any] = _REGISTRY.get_enc(ENCRYPTION)
_CONTENT_KEY: Final = 32  # bytes, for A256GCM


class _Key(RSAKey):
    """An RSA key that is never written out as a JWK, which would be a copy of it as text."""

    @property
    def dict_value(self) -> dict[str, str | list[str]]:
        """Where joserfc looks for `use` and `key_ops`; ours has neither."""
        return {}


# joserfc's form of a key costs more to make than to use; it lives as long as ours does.
_public: WeakKeyDictionary[GatewayCertificate, _Key] = WeakKeyDictionary()
_private: WeakKeyDictionary[ResponseKey, _Key] = WeakKeyDictionary()


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
        key = _public[certificate] = _Key.import_key(certificate.public_key)
    return jwe.encrypt_compact(header, plaintext, key, registry=_REGISTRY)


def decrypt(token: str, keys: Mapping[str, ResponseKey]) -> tuple[bytes, str]:
    """Open a compact JWE with the key its `kid` names; return the plaintext and that kid.

    Every failure is one MLEDecryptError with one message; `facts["kid"]` tells the kid.
    """
    parts, header = _read(token)
    kid: str = header["kid"]
    own = keys.get(kid)
    if own is None:
        _refuse(kid=kid, known=False)
    key = _private.get(own)
    if key is None:
        key = _private[own] = _Key.import_key(own.private_key)
    try:
        plaintext = _open(parts, header, key)
    except (JoseError, InvalidTag, ValueError, TypeError, AssertionError):
        plaintext = None
    if plaintext is None:
        _refuse(kid=kid, known=True)
    return plaintext, kid


def _read(token: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The five parts of a token that fits the profile, and its header."""
    match = _TOKEN.match(token) if len(token) <= LONGEST_TOKEN else None
    if match is None or not all(map(_is_canonical, match.groups())):
        _refuse()
    try:
        header = decode_json(_bytes(match[1]))
    except ValueError:
        header = None
    if not isinstance(header, dict) or "zip" in header or "crit" in header or "b64" in header:
        _refuse()
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM or header.get("enc") != ENCRYPTION:
        _refuse()
    if not isinstance(kid, str) or not 0 < len(kid) <= 256:
        _refuse()
    return match.groups(), header


def _open(parts: tuple[str, ...], header: dict[str, Any], key: _Key) -> bytes | None:
    # Step by step: `decrypt_compact` would take the token apart a second time, which costs as
    # much as everything else around the RSA operation.
    protected, wrapped, iv, ciphertext, tag = parts
    _REGISTRY.check_header(header)
    recipient = jwe.Recipient(jwe.CompactEncryption(header), recipient_key=key)
    recipient.encrypted_key = _bytes(wrapped)
    content_key: bytes = _UNWRAPPING.decrypt_cek(recipient)
    if len(content_key) != _CONTENT_KEY:
        return None
    plaintext: bytes = _CONTENT.decrypt(
        _bytes(ciphertext), _bytes(tag), content_key, _bytes(iv), protected.encode("ascii")
    )
    return plaintext


def _bytes(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _is_canonical(part: str) -> bool:
    remainder = len(part) % 4
    return remainder == 0 or part[-1] in _TRAILING_BITS.get(remainder, ())


def _refuse(**facts: Any) -> NoReturn:
    raise MLEDecryptError(**facts) from None
