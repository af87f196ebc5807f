"""Writes P12 files byte for byte as the gateway does, which cryptography cannot.

Certificates lie in clear, the key under 3DES, both with one iteration; the MAC's iteration
count is spelled out although it is the default, so the file is not quite DER.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12
from cryptography.x509.oid import NameOID

from django_cybs_jwt.protocol import der
from django_cybs_jwt.protocol.der import encode, object_identifier

_BMP_STRING = 0x1E
_SET = 0x31
_NULL = encode(0x05)


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from its dotted name."""
    return encode(der.OBJECT_IDENTIFIER, object_identifier(dotted))


DATA = oid("1.2.840.113549.1.7.1")


def gateway_p12(
    private_key: RSAPrivateKey, certificates: Sequence[x509.Certificate], password: str
) -> bytes:
    """A P12 file in the gateway's shape: certificates in the order given, then the key."""
    own = next(c for c in certificates if c.public_key() == private_key.public_key())
    key_content, own_attributes = _encrypted_key(private_key, own, password)
    bags = b"".join(
        _certificate_bag(c, own_attributes if c is own else _friendly_name(c)) for c in certificates
    )
    return p12_around(encode(der.SEQUENCE, data_content(bags), key_content), password)


def data_content(bags: bytes) -> bytes:
    """Bags in clear, as one ContentInfo of the authenticated safe."""
    safe = encode(der.OCTET_STRING, encode(der.SEQUENCE, bags))
    return encode(der.SEQUENCE, DATA, encode(der.CONTEXT_0, safe))


def p12_around(safe: bytes, password: str, *, declared_iterations: bytes = b"\1") -> bytes:
    """A P12 file around an encoded AuthenticatedSafe; its MAC is made with one iteration."""
    salt = secrets.token_bytes(20)
    digest = hmac.digest(mac_key(password, salt), safe, "sha256")
    algorithm = encode(der.SEQUENCE, oid("2.16.840.1.101.3.4.2.1"), _NULL)
    mac = encode(
        der.SEQUENCE,
        encode(der.SEQUENCE, algorithm, encode(der.OCTET_STRING, digest)),
        encode(der.OCTET_STRING, salt),
        encode(der.INTEGER, declared_iterations),
    )
    content = encode(der.SEQUENCE, DATA, encode(der.CONTEXT_0, encode(der.OCTET_STRING, safe)))
    return encode(der.SEQUENCE, encode(der.INTEGER, b"\3"), content, mac)


def mac_key(password: str, salt: bytes) -> bytes:
    """The SHA-256 MAC key of RFC 7292, appendix B, with one iteration."""
    text = (password + "\0").encode("utf-16-be")
    return hashlib.sha256(b"\3" * 64 + _stretched(salt) + _stretched(text)).digest()


def _stretched(data: bytes) -> bytes:
    """*data* repeated to a multiple of 64 bytes, SHA-256's block."""
    length = -(-len(data) // 64) * 64
    return (data * (length // len(data) + 1))[:length]


def _certificate_bag(certificate: x509.Certificate, attributes: bytes) -> bytes:
    encoded = certificate.public_bytes(serialization.Encoding.DER)
    value = encode(
        der.SEQUENCE,
        oid("1.2.840.113549.1.9.22.1"),
        encode(der.CONTEXT_0, encode(der.OCTET_STRING, encoded)),
    )
    kind = oid("1.2.840.113549.1.12.10.1.3")
    return encode(der.SEQUENCE, kind, encode(der.CONTEXT_0, value), attributes)


def _friendly_name(certificate: x509.Certificate) -> bytes:
    text = encode(_BMP_STRING, _name(certificate).encode("utf-16-be"))
    return encode(_SET, encode(der.SEQUENCE, oid("1.2.840.113549.1.9.20"), encode(_SET, text)))


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string({NameOID.SERIAL_NUMBER: "serialNumber"})


def _encrypted_key(
    private_key: RSAPrivateKey, own: x509.Certificate, password: str
) -> tuple[bytes, bytes]:
    """The ContentInfo with the key, and its bag's attributes (name and id).

    Both are taken out of a file that cryptography writes.
    """
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(1)
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA256())
        .build(password.encode())
    )
    file = pkcs12.serialize_key_and_certificates(
        _name(own).encode(), private_key, own, None, encryption
    )
    safe = der.parse(file).children()[1].children()[1].children()[0]
    content = der.parse(safe.content).children()[-1]
    bags = content.children()[1].children()[0]
    return content.encoded, der.parse(bags.content).children()[0].children()[2].encoded
