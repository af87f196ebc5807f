"""The encrypted parts of P12 files are opened as the library opens them, so that keys are counted.

A part that we decrypt in another way than the library would hide its keys from the count.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12

from django_cybs_jwt.exceptions import WrongKeyFile
from django_cybs_jwt.protocol import der, p12_child, p12_scan
from django_cybs_jwt.protocol.p12_child import Refusal, Safe
from django_cybs_jwt.protocol.p12_safes import take_apart
from tests.unit.protocol import hostile_files as hostile

OWN: Final = hostile.certificate()
DER: Final = OWN.public_bytes(Encoding.DER)
PASSWORDS: Final = ["Bomb-Password-7", "pässword", "密码", "🔑" * 12, "x" * 200, " "]
PBES: Final = [pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC, pkcs12.PBES.PBESv2SHA256AndAES256CBC]
# What OpenSSL calls the ciphers that are looked into.
CIPHERS: Final = ["AES-128-CBC", "AES-192-CBC", "AES-256-CBC", "DES-EDE3-CBC"]
LEGACY: Final = ["PBE-SHA1-3DES", "PBE-SHA1-2DES"]
HASHES: Final = ["SHA1", "SHA224", "SHA256", "SHA384", "SHA512"]


@cache
def written(password: str, cipher: pkcs12.PBES, rounds: int = 100) -> bytes:
    """A P12 of cryptography, its certificates encrypted."""
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(rounds)
        .key_cert_algorithm(cipher)
        .hmac_hash(hashes.SHA256())
        .build(password.encode())
    )
    return pkcs12.serialize_key_and_certificates(None, hostile.key(), OWN, None, encryption)


def opened(data: bytes, password: str) -> bytes:
    """What lies in the one encrypted part of a file."""
    (safe,) = p12_scan.scan(data).safes
    return p12_child.decrypt(safe, password.encode())


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("cipher", PBES, ids=["PBES1", "PBES2"])
@pytest.mark.parametrize("rounds", [1, 2_048])
def test_what_the_library_encrypts_is_decrypted(
    password: str, cipher: pkcs12.PBES, rounds: int
) -> None:
    assert DER in opened(written(password, cipher, rounds), password)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("cipher", [*CIPHERS, *LEGACY])
def test_what_openssl_encrypts_is_decrypted(cipher: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(hostile.pem() + hostile.certificate_pem(OWN))
    line = ["openssl", "pkcs12", "-export", "-in", str(path), "-passout", "pass:pw"]
    line += ["-certpbe", cipher, "-macalg", "sha256"]
    data = subprocess.run(line, capture_output=True, check=True).stdout
    assert DER in opened(data, "pw")


@pytest.mark.parametrize("digest", HASHES)
def test_each_hash_of_a_derivation_is_known(digest: str) -> None:
    safe = take_apart(der.parse(hostile.encrypted_content(b"\x30\x00", digest)))
    assert (safe.kdf.decode(), safe.iterations) == (digest.lower(), b"2048")
    assert p12_child.decrypt(safe, hostile.PASSWORD.encode()) == b"\x30\x00"


@pytest.mark.parametrize("cipher", PBES, ids=["PBES1", "PBES2"])
def test_a_wrong_password_is_never_taken_for_an_empty_safe(cipher: pkcs12.PBES) -> None:
    data = written("right", cipher)
    for number in range(600):  # one in 256 has a padding that fits
        with pytest.raises((Refusal, ValueError)):
            opened(data, f"wrong {number}")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30", id="no length"),
        pytest.param(b"\x31\x00", id="a SET"),
        pytest.param(b"\x30\x80\x00\x00", id="length left open"),
        pytest.param(b"\x30\x01", id="too short"),
        pytest.param(b"\x30\x00\x00", id="too long"),
        pytest.param(b"\x30\x81", id="length cut off"),
        pytest.param(b"\x30\x82\x00\x01", id="too short for a long length"),
    ],
)
def test_what_is_not_exactly_one_sequence_is_refused(text: bytes) -> None:
    with pytest.raises((Refusal, IndexError)):
        p12_child.checked_sequence(text)


def test_a_long_sequence_comes_back_as_it_is() -> None:
    for size in (0, 127, 128, 255, 256, 70_000):
        text = der.encode(der.SEQUENCE, bytes(size))
        assert p12_child.checked_sequence(text) == text


def test_a_file_all_in_clear_has_no_safes() -> None:
    assert p12_scan.scan(hostile.good_p12()).safes == ()


def test_the_fields_of_safes_come_back_from_a_request() -> None:
    safes = [Safe(*(bytes([n, field]) for field in range(7))) for n in range(3)]
    assert p12_child.safes_of([field for safe in safes for field in safe]) == safes


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(hostile.ENCRYPTED_DATA, hostile.oid("1.2.840.113549.1.7.3"), id="enveloped"),
        pytest.param(hostile.PBES2, hostile.oid("1.2.840.113549.1.12.1.1"), id="another scheme"),
        pytest.param(hostile.PBKDF2, hostile.SCRYPT, id="scrypt"),
        pytest.param(
            hostile.AES_256_CBC, hostile.oid("1.2.392.200011.61.1.1.1.4"), id="another cipher"
        ),
        pytest.param(
            hostile.SHA256_PRF,
            der.encode(der.SEQUENCE, hostile.oid("1.2.840.113549.2.99"), b"\x05\x00"),
            id="another hash",
        ),
        pytest.param(hostile.SHA256_PRF, der.encode(der.SEQUENCE), id="no hash"),
    ],
)
def test_what_cannot_be_looked_into_is_refused(old: bytes, new: bytes) -> None:
    content = hostile.replaced(hostile.encrypted_content(b"\x30\x00"), old, new)
    with pytest.raises(WrongKeyFile, match="more keys could hide there"):
        take_apart(der.parse(content))
