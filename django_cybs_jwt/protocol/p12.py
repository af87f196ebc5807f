"""Reads the P12 files that the Business Center issues.

Such a file holds one RSA key, its certificate (whose subject serialNumber is the key id), the
gateway's request-MLE certificate and the issuer's. It is taken as hostile until proven: a scan
that runs no cryptography, then a child process with limits, then checks of what came out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from django_cybs_jwt.exceptions import UnreadableKeyFile, WrongKeyFile
from django_cybs_jwt.protocol import keys, p12_scan
from django_cybs_jwt.protocol.certificate_facts import (
    GATEWAY_ALIASES,
    CertificateFacts,
    Role,
    clean_text,
    find_own,
    is_gateway,
    read_certificates,
)
from django_cybs_jwt.protocol.file_kind import check_size, looks_like, wrong_kind
from django_cybs_jwt.protocol.file_password import encode_password
from django_cybs_jwt.protocol.key_reader import read_key_file
from django_cybs_jwt.protocol.shared_secrets import parse_key_id
from django_cybs_jwt.texts import Text
from django_cybs_jwt.tracebacks import forgetful

_EXPECTED: Final = Text("the P12 file (.p12 or .pfx) of a key, as the Business Center issues it")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class P12Bundle(keys.Secret):
    """What a P12 file holds.

    *kid* is the subject serialNumber of *certificate*, empty where there is none, as in
    certificates that customers submit; *common_name* is its CN, cleaned for display.
    *gateway_certificates* are all with a gateway alias as CN, ended ones included.
    """

    private_key: RSAPrivateKey
    certificate: x509.Certificate
    kid: str
    common_name: str
    gateway_certificates: tuple[x509.Certificate, ...]
    others: tuple[x509.Certificate, ...]
    notices: tuple[str, ...]

    def describe(self) -> list[CertificateFacts]:
        """What is in the file, for a preview: no secrets, hostile texts cleaned."""
        return [
            CertificateFacts.from_x509(self.certificate, "own"),
            *(CertificateFacts.from_x509(c, "request-MLE") for c in self.gateway_certificates),
            *(CertificateFacts.from_x509(c, self._role(c)) for c in self.others),
        ]

    def _role(self, other: x509.Certificate) -> Role:
        return "issuer" if other.subject == self.certificate.issuer else "other"


@forgetful
def load_p12(
    data: bytes,
    password: str | bytes,
    *,
    now: datetime,
    common_name: str = "",
    gateway_aliases: Collection[str] = GATEWAY_ALIASES,
    interpreter: str | None = None,
) -> P12Bundle:
    """Open a P12 file with its password and check everything that can be checked offline.

    *now* carries a zone. *common_name*, the organization's id, says which of several certificates
    of the key is its own. *interpreter* is as for `key_reader.read_key_file`.
    Raises UnreadableKeyFile, WrongKeyFile, WeakKey or ExpiredKey; ConfigurationError when no
    child process can be started.
    """
    check_size(data, _EXPECTED)
    if looks_like(data) not in {"", "a P12 file"} or data[:1] != b"\x30":
        raise wrong_kind(data, _EXPECTED)
    scanned = p12_scan.scan(data)
    secret = encode_password(password)
    if not secret:
        raise UnreadableKeyFile("The password is empty. Type the one chosen at the download.")
    private_key, ders = read_key_file(
        "p12", scanned.data, secret, *scanned.safes, interpreter=interpreter
    )
    if len(ders) > p12_scan.MAX_CERTIFICATES:
        raise p12_scan.too_many_certificates()
    certificates, unread = read_certificates(ders)
    own = find_own(certificates, private_key, now, common_name=common_name)
    if own is None:
        raise WrongKeyFile("No certificate in the file belongs to its private key.")
    rest = [c for c in certificates if c is not own.certificate]
    return P12Bundle(
        private_key=private_key,
        certificate=own.certificate,
        kid=_kid(own.certificate),
        common_name=clean_text(keys.common_name(own.certificate)),
        gateway_certificates=tuple(c for c in rest if is_gateway(c, gateway_aliases)),
        others=tuple(c for c in rest if not is_gateway(c, gateway_aliases)),
        notices=(*scanned.notices, *own.notices, *unread),
    )


def _kid(certificate: x509.Certificate) -> str:
    found = keys.subject_serial_number(certificate)
    return parse_key_id(found) if found else ""
