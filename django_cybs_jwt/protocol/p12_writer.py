"""Writes P12 files: AES-256 under PBKDF2, and a MAC that is as slow to guess at."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12
from cryptography.x509.oid import NameOID

from django_cybs_jwt.protocol import der
from django_cybs_jwt.protocol.file_password import encode_password
from django_cybs_jwt.tracebacks import forgetful

ITERATIONS: Final = 250_000
"""For each of key, certificates and MAC. Readers limit them: .NET to 300,000 for one."""

_BLOCK: Final = 64
_SHA256: Final = der.encode(
    der.SEQUENCE,
    der.encode(der.OBJECT_IDENTIFIER, der.object_identifier("2.16.840.1.101.3.4.2.1")),
    der.encode(0x05),
)


@forgetful
def write_p12(
    private_key: RSAPrivateKey,
    certificate: x509.Certificate | None,
    others: Sequence[x509.Certificate],
    password: str,
) -> bytes:
    """A P12 file with certificates named as the gateway names them.

    Raises UnreadableKeyFile for a password that could not be read back.
    """
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(ITERATIONS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(encode_password(password))
    )
    written = pkcs12.serialize_key_and_certificates(
        _name(certificate) if certificate else None,
        private_key,
        certificate,
        [pkcs12.PKCS12Certificate(other, _name(other)) for other in others],
        encryption,
    )
    return _with_slow_mac(written, password)


def _name(certificate: x509.Certificate) -> bytes:
    return certificate.subject.rfc4514_string({NameOID.SERIAL_NUMBER: "serialNumber"}).encode()


def _with_slow_mac(file: bytes, password: str) -> bytes:
    """*file* under a MAC of ITERATIONS.

    The library's MAC always takes 2,048, whatever it is told: guessing at that one would go round
    the encryption.
    """
    version, content, _ = der.parse(file).children()
    safe = content.children()[1].children()[0].content
    salt = os.urandom(20)
    mac = der.encode(
        der.SEQUENCE,
        der.encode(
            der.SEQUENCE,
            _SHA256,
            der.encode(der.OCTET_STRING, hmac.digest(_mac_key(password, salt), safe, "sha256")),
        ),
        der.encode(der.OCTET_STRING, salt),
        der.encode(der.INTEGER, ITERATIONS.to_bytes(3)),
    )
    return der.encode(der.SEQUENCE, version.encoded, content.encoded, mac)


def _mac_key(password: str, salt: bytes) -> bytes:
    """RFC 7292, appendix B.2 with SHA-256 and identifier 3; one block of output is the key."""
    text = (password + "\0").encode("utf-16-be")
    digest = hashlib.sha256(b"\3" * _BLOCK + _stretched(salt) + _stretched(text)).digest()
    for _ in range(ITERATIONS - 1):
        digest = hashlib.sha256(digest).digest()
    return digest


def _stretched(data: bytes) -> bytes:
    """*data* repeated to a whole number of blocks."""
    length = -(-len(data) // _BLOCK) * _BLOCK
    return (data * (length // len(data) + 1))[:length]
