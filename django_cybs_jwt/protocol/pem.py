"""Reads RSA private keys and certificates in PEM, and single certificates in DER too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from django_cybs_jwt.exceptions import UnreadableKeyFile, WeakKey, WrongKeyFile
from django_cybs_jwt.protocol import der, keys, p12_scan, password_encryption, pem_blocks
from django_cybs_jwt.protocol.certificate_facts import (
    CertificateFacts,
    find_own,
    read_certificate,
    read_certificates,
)
from django_cybs_jwt.protocol.file_kind import check_size, looks_like, wrong_kind
from django_cybs_jwt.protocol.file_password import encode_password
from django_cybs_jwt.protocol.key_reader import read_key_file
from django_cybs_jwt.protocol.pem_blocks import PemBlock
from django_cybs_jwt.texts import Text
from django_cybs_jwt.tracebacks import forgetful

_KEY: Final = Text("one RSA private key in PEM (BEGIN PRIVATE KEY or BEGIN ENCRYPTED PRIVATE KEY)")
_CERTIFICATE: Final = Text("one certificate in PEM (BEGIN CERTIFICATE) or DER")
_CERTIFICATE_LABELS: Final = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
_SHAPES: Final = {
    "PRIVATE KEY": (der.INTEGER, der.SEQUENCE, der.OCTET_STRING),
    "RSA PRIVATE KEY": (der.INTEGER, der.INTEGER, der.INTEGER),
    "ENCRYPTED PRIVATE KEY": (der.SEQUENCE, der.OCTET_STRING),
}
_RSA_PSS: Final = der.object_identifier("1.2.840.113549.1.1.10")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class PemBundle(keys.Secret):
    """A private key with the certificates that stood beside it.

    *certificate* is the key's own, None when the file holds no certificate at all.
    """

    private_key: RSAPrivateKey
    certificate: x509.Certificate | None
    others: tuple[x509.Certificate, ...]
    notices: tuple[str, ...]

    def describe(self) -> list[CertificateFacts]:
        """What is in the file beside the key, for a preview: hostile texts cleaned."""
        own = [] if self.certificate is None else [self.certificate]
        return [
            *(CertificateFacts.from_x509(certificate, "own") for certificate in own),
            *(CertificateFacts.from_x509(certificate, "other") for certificate in self.others),
        ]


@forgetful
def load_private_key(
    data: bytes, password: str | bytes | None, *, interpreter: str | None = None
) -> RSAPrivateKey:
    """The one RSA private key of a PEM file; certificates beside it are not looked at.

    PKCS#8, encrypted or not, or PKCS#1; *password* is None or empty for a plain key.
    *interpreter* is as for `key_reader.read_key_file`.
    Raises UnreadableKeyFile, WrongKeyFile or WeakKey; ConfigurationError without a child.
    """
    key, _ = _split(data)
    _check_key(key, password)
    return _open(key, password, interpreter)


@forgetful
def load_bundle(
    data: bytes,
    password: str | bytes | None,
    *,
    now: datetime,
    common_name: str = "",
    interpreter: str | None = None,
) -> PemBundle:
    """A private key as `load_private_key` reads it, and the certificates in the same file.

    *now* carries a zone, *common_name* is as for `p12.load_p12`. Raises ExpiredKey too, and
    WrongKeyFile when there are certificates and none belongs to the key.
    """
    key, blocks = _split(data)
    legacy = _check_key(key, password)
    private_key = _open(key, password, interpreter)
    certificates, unread = read_certificates(block.der for block in blocks)
    own = find_own(certificates, private_key, now, common_name=common_name)
    if blocks and own is None:
        raise WrongKeyFile(
            "No certificate in the file belongs to its private key. "
            "Leave the certificates out, or add the right one."
        )
    return PemBundle(
        private_key=private_key,
        certificate=own.certificate if own else None,
        others=tuple(c for c in certificates if own is None or c is not own.certificate),
        notices=(*legacy, *(own.notices if own else ()), *unread),
    )


def load_certificate(data: bytes) -> x509.Certificate:
    """The one RSA certificate of a PEM or DER file; 2048 to 4096 bits.

    Raises UnreadableKeyFile, WrongKeyFile (also when a private key is in the file) or WeakKey.
    """
    check_size(data, _CERTIFICATE)
    certificate = read_certificate(_certificate_der(data))
    public_key = certificate.public_key()
    if not isinstance(public_key, RSAPublicKey):
        raise WeakKey("The certificate's key is not RSA.")
    keys.check_rsa(public_key)
    return certificate


def _certificate_der(data: bytes) -> bytes:
    if looks_like(data) == "a certificate in DER":
        return data
    if b"-----BEGIN" not in data:
        raise wrong_kind(data, _CERTIFICATE)
    blocks = pem_blocks.split(data)
    if any("PRIVATE KEY" in block.label for block in blocks):
        raise WrongKeyFile(
            "The file holds a private key, which has no place here. Give the certificate alone."
        )
    if not blocks or any(block.label not in _CERTIFICATE_LABELS for block in blocks):
        raise wrong_kind(data, _CERTIFICATE)
    if len(blocks) > 1:
        raise WrongKeyFile(
            "The file holds several certificates ({count}). Give the right one alone.",
            count=len(blocks),
        )
    return blocks[0].der


def _split(data: bytes) -> tuple[PemBlock, list[PemBlock]]:
    """The one private key and the certificates."""
    check_size(data, _KEY)
    if b"-----BEGIN" not in data:
        raise wrong_kind(data, _KEY)
    blocks = pem_blocks.split(data)
    private = [block for block in blocks if "PRIVATE KEY" in block.label]
    rest = [block for block in blocks if "PRIVATE KEY" not in block.label]
    if len(private) > 1:
        raise WrongKeyFile(
            "The file holds {count} private keys. Give each one alone.", count=len(private)
        )
    if not private or any(block.label not in _CERTIFICATE_LABELS for block in rest):
        raise wrong_kind(data, _KEY)
    if len(rest) > p12_scan.MAX_CERTIFICATES:
        raise p12_scan.too_many_certificates()
    return private[0], rest


def _check_key(block: PemBlock, password: str | bytes | None) -> tuple[str, ...]:
    """What need not be decrypted: kind, presence of a password, work factors; returns notices."""
    shape = _SHAPES.get(block.label)
    if shape is None:
        raise WeakKey(
            "This is a key of another kind ({kind}). What belongs here is {expected}.",
            kind=block.label,
            expected=_KEY,
        )
    if block.label == "ENCRYPTED PRIVATE KEY" and not password:
        raise UnreadableKeyFile("The private key is encrypted. Type its password.")
    if block.label != "ENCRYPTED PRIVATE KEY" and password:
        raise UnreadableKeyFile(
            "The private key is not encrypted. Leave the password empty, and --password-env out.",
            page="The private key is not encrypted. Leave the password empty.",
        )
    root = der.parse(block.der)
    root.expect(*shape)
    elements = list(der.walk(root))
    if any(element.content == _RSA_PSS for element in elements):
        raise WeakKey("The key is restricted to RSA-PSS. Generate a plain RSA key.")
    legacy = password_encryption.check(elements)
    return password_encryption.legacy_notice("3DES") if legacy else ()


def _open(block: PemBlock, password: str | bytes | None, interpreter: str | None) -> RSAPrivateKey:
    secret = encode_password(password or b"")
    return read_key_file("key", block.der, secret, interpreter=interpreter)[0]
