"""The P12 files that are written: what protects them, and who can read them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from django_cybs_jwt.exceptions import UnreadableKeyFile
from django_cybs_jwt.protocol import der
from django_cybs_jwt.protocol.p12 import load_p12
from django_cybs_jwt.protocol.p12_writer import write_p12
from django_cybs_jwt.testing import material
from tests.services import requires_program

KEY: Final = material.rsa_key(name="p12 writer")
OWN: Final = material.certificate(KEY, common_name="acme", kid="1757695744950028980655")
GATEWAY: Final = material.gateway_certificate()
PASSWORD: Final = "battery-staple-9"
PASSWORDS: Final = [PASSWORD, "pässword-für-ämter", "密码密码密码密码密码密码", "🔑" * 12]


@cache
def written(password: str = PASSWORD) -> bytes:
    return write_p12(KEY, OWN, [GATEWAY.certificate], password)


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_library_reads_what_was_written(password: str) -> None:
    found = pkcs12.load_pkcs12(written(password), password.encode())
    assert found.key is not None
    assert found.key.private_numbers() == KEY.private_numbers()  # type: ignore[union-attr]
    assert found.cert == pkcs12.PKCS12Certificate(
        OWN, b"serialNumber=1757695744950028980655,CN=acme"
    )
    assert [other.certificate for other in found.additional_certs] == [GATEWAY.certificate]


@pytest.mark.parametrize("password", PASSWORDS)
def test_our_own_reader_takes_it_without_a_notice(password: str) -> None:
    bundle = load_p12(written(password), password, now=datetime.now(UTC))
    assert (bundle.kid, bundle.notices) == ("1757695744950028980655", ())


@pytest.mark.parametrize("password", [PASSWORD[:-1], PASSWORD.upper(), " " + PASSWORD])
def test_another_password_opens_nothing(password: str) -> None:
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_pkcs12(written(), password.encode())


def test_key_and_certificates_are_under_aes_256_and_nothing_is_under_a_legacy_cipher() -> None:
    data = written()
    aes_256_cbc = der.object_identifier("2.16.840.1.101.3.4.1.42")
    pbes2 = der.object_identifier("1.2.840.113549.1.5.13")
    legacy = [
        der.object_identifier(name)
        for name in ("1.2.840.113549.1.12.1", "1.2.840.113549.3", "1.3.14.3.2.26")
    ]
    assert (data.count(aes_256_cbc), data.count(pbes2)) == (2, 2)
    assert not any(name in data for name in legacy)


def test_key_certificates_and_mac_each_take_250_000_iterations() -> None:
    """The MAC too: with the library's 2,048 a guess at it would cost a hundredth."""
    _, _, mac = der.parse(written()).children()
    _, _, iterations = mac.children()
    assert iterations.integer() == 250_000
    assert written().count(iterations.encoded) == 3


def test_a_changed_byte_breaks_the_mac() -> None:
    data = bytearray(written())
    data[len(data) // 2] ^= 1
    with pytest.raises(ValueError, match="password"):
        pkcs12.load_pkcs12(bytes(data), PASSWORD.encode())


def test_two_files_of_one_key_share_no_salt() -> None:
    first, second = (
        der.parse(data).children()[2].children()[1].content
        for data in (written(), write_p12(KEY, OWN, [], PASSWORD))
    )
    assert first != second


def test_a_key_without_a_certificate_is_written_too() -> None:
    found = pkcs12.load_pkcs12(write_p12(KEY, None, [], PASSWORD), PASSWORD.encode())
    assert found.cert is None
    assert found.key is not None


def test_a_password_with_nul_is_refused() -> None:
    with pytest.raises(UnreadableKeyFile):
        write_p12(KEY, OWN, [], "battery\0staple")


def test_openssl_reads_it_and_names_the_same_protection(tmp_path: Path) -> None:
    path = tmp_path / "acme.p12"
    path.write_bytes(written())
    openssl = [requires_program("openssl"), "pkcs12", "-in", str(path)]
    line = [*openssl, "-passin", "stdin", "-info", "-noout"]
    told = subprocess.run(line, input=PASSWORD, capture_output=True, text=True, check=True).stderr
    assert "MAC: sha256, Iteration 250000" in told
    assert told.count("PBES2, PBKDF2, AES-256-CBC, Iteration 250000, PRF hmacWithSHA256") == 2
