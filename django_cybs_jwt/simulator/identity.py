"""The simulator's own request-MLE key and certificate."""

from __future__ import annotations

import os
import secrets
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

COMMON_NAME: Final = "CyberSource_SJC_US"
_LIFETIME = timedelta(days=3 * 365)


@dataclass(frozen=True, slots=True)
class Identity:
    """What requests are encrypted for. *kid* is the subject's serialNumber."""

    private_key: rsa.RSAPrivateKey = field(repr=False)
    certificate: x509.Certificate

    @property
    def kid(self) -> str:
        """The key id that a request's JWE names."""
        values = self.certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
        return str(values[0].value)

    @property
    def pem(self) -> str:
        """The certificate in PEM, for callers."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    @classmethod
    def generate(cls, now: datetime | None = None) -> Identity:
        """Make a new key and a certificate for three years; *now* carries a zone."""
        now = now or datetime.now(UTC)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        kid = str(10**21 + secrets.randbelow(9 * 10**21))
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.SERIAL_NUMBER, kid),
                x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME),
            ]
        )
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Simulator")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + _LIFETIME)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def load(cls, path: Path) -> Identity:
        """Read key and certificate from one PEM file, or raise ValueError or OSError."""
        pem = path.read_bytes()
        key = serialization.load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
        if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError(f"{path} holds no RSA key with its certificate. Delete it.")
        return cls(key, certificate)

    def save(self, path: Path) -> None:
        """Write key and certificate into one PEM file that only its owner can read."""
        key = self.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        # Complete or not there at all: another simulator may be reading it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "wb") as file:
            file.write(key + self.pem.encode("ascii"))
        Path(name).replace(path)

    @classmethod
    def at(cls, path: Path, now: datetime | None = None) -> Identity:
        """Load the identity kept at *path*; make and keep one if it is missing or has expired."""
        now = now or datetime.now(UTC)
        if path.exists():
            identity = cls.load(path)
            if now < identity.certificate.not_valid_after_utc:
                return identity
        identity = cls.generate(now)
        identity.save(path)
        return identity
