from __future__ import annotations

import contextlib
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import ExpiredKey, UnreadableKeyFile, WeakKey, WrongKeyFile
from django_cybs_jwt.protocol import pem, pem_blocks
from django_cybs_jwt.testing import material
from tests.unit.protocol import hostile_files as hostile

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
KEY = hostile.key()
PASSWORD = "Correct-Horse-1"
PLAIN = hostile.pem()
ENCRYPTED = hostile.pem(password=PASSWORD)
TRADITIONAL = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
BAG = (
    b"Bag Attributes\n    localKeyID: 01 \n    friendlyName: serialNumber=17,CN=acme\n"
    b"Key Attributes: <No Attributes>\n"
)
CERTIFICATE_BAG = b"Bag Attributes: <No Attributes>\nsubject=CN = acme\nissuer=CN = CA\n\n"


@pytest.mark.parametrize(
    ("data", "password"),
    [
        pytest.param(PLAIN, None, id="PKCS#8"),
        pytest.param(PLAIN, "", id="empty password"),
        pytest.param(ENCRYPTED, PASSWORD, id="encrypted PKCS#8"),
        pytest.param(ENCRYPTED, PASSWORD.encode(), id="password as bytes"),
        pytest.param(TRADITIONAL, None, id="PKCS#1"),
        pytest.param(PLAIN.replace(b"\n", b"\r\n"), None, id="CRLF"),
        pytest.param(b"\xef\xbb\xbf" + PLAIN, None, id="byte order mark"),
        pytest.param(BAG + PLAIN, None, id="Bag Attributes"),
        pytest.param((BAG + ENCRYPTED).replace(b"\n", b"\r\n"), PASSWORD, id="all of it in CRLF"),
        pytest.param(b"\n\n" + PLAIN.replace(b"-----\n", b"-----  \n") + b"\n", None, id="spaces"),
        pytest.param(
            BAG + PLAIN + CERTIFICATE_BAG + hostile.certificate_pem(), None, id="certificate beside"
        ),
    ],
)
def test_a_private_key_is_read_from(data: bytes, password: str | bytes | None) -> None:
    assert pem.load_private_key(data, password).private_numbers() == KEY.private_numbers()


def test_certificates_beside_the_key_are_sorted_into_its_own_and_others() -> None:
    own, issuer = hostile.certificate(), material.issuer_certificate()
    data = hostile.certificate_pem(issuer) + ENCRYPTED + hostile.certificate_pem(own)
    bundle = pem.load_bundle(data, PASSWORD, now=NOW)
    assert bundle.private_key.private_numbers() == KEY.private_numbers()
    assert (bundle.certificate, bundle.others, bundle.notices) == (own, (issuer,), ())
    assert repr(bundle) == "<PemBundle redacted>"


def test_of_several_own_certificates_that_of_the_organization_is_taken() -> None:
    own, newer = (
        hostile.certificate(common_name=name, not_before=NOW - begin * DAY)
        for name, begin in (("acme", 9), ("rival", 1))
    )
    data = PLAIN + hostile.certificate_pem(newer) + hostile.certificate_pem(own)
    assert pem.load_bundle(data, None, now=NOW).certificate == newer
    assert pem.load_bundle(data, None, now=NOW, common_name="acme").certificate == own


def test_a_key_alone_has_no_certificate() -> None:
    bundle = pem.load_bundle(PLAIN, None, now=NOW)
    assert (bundle.certificate, bundle.others) == (None, ())


def test_certificates_of_which_none_fits_the_key_are_refused() -> None:
    data = PLAIN + hostile.certificate_pem(material.issuer_certificate())
    with pytest.raises(WrongKeyFile, match="No certificate in the file belongs"):
        pem.load_bundle(data, None, now=NOW)


def test_an_ended_certificate_is_refused_and_one_to_come_is_noted() -> None:
    ended = hostile.certificate(not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    with pytest.raises(ExpiredKey):
        pem.load_bundle(PLAIN + hostile.certificate_pem(ended), None, now=NOW)
    later = hostile.certificate(not_before=NOW + DAY)
    bundle = pem.load_bundle(PLAIN + hostile.certificate_pem(later), None, now=NOW)
    assert "cannot sign before" in bundle.notices[0]


def test_3des_is_accepted_with_a_notice() -> None:
    bundle = pem.load_bundle(hostile.triple_des_pem(), hostile.PASSWORD, now=NOW)
    assert bundle.private_key.private_numbers() == KEY.private_numbers()
    assert bundle.notices == ("Legacy encryption (3DES): the password protects little.",)


@pytest.mark.parametrize("in_der", [False, True])
def test_a_certificate_is_read_from_pem_and_der(in_der: bool) -> None:
    made = hostile.certificate()
    encoding = Encoding.DER if in_der else Encoding.PEM
    assert pem.load_certificate(made.public_bytes(encoding)) == made


def test_a_certificate_with_its_bag_attributes_is_read() -> None:
    made = hostile.certificate()
    assert pem.load_certificate(CERTIFICATE_BAG + hostile.certificate_pem(made)) == made


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        pytest.param(PLAIN, WrongKeyFile, "holds a private key", id="a key alone"),
        pytest.param(
            hostile.certificate_pem() + PLAIN, WrongKeyFile, "holds a private key", id="a key too"
        ),
        pytest.param(hostile.certificate_pem() * 2, WrongKeyFile, "several certificates", id="two"),
        pytest.param(hostile.good_p12(), WrongKeyFile, "looks like a P12 file", id="P12"),
        pytest.param(b"hello", WrongKeyFile, "looks like plain text", id="text"),
        pytest.param(b"", WrongKeyFile, "empty", id="nothing"),
        pytest.param(
            hostile.pem_text("CERTIFICATE", b"\x30\x03\x02\x01\x01"),
            UnreadableKeyFile,
            "damaged",
            id="no certificate inside",
        ),
        pytest.param(
            hostile.certificate_pem(hostile.elliptic_certificate()), WeakKey, "not RSA", id="EC"
        ),
        pytest.param(
            hostile.certificate_pem(
                material.certificate(material.rsa_key(1024, name="short"), common_name="x")
            ),
            WeakKey,
            "1024",
            id="1024 bits",
        ),
    ],
)
def test_a_certificate_file_is_refused_when_it_holds(
    data: bytes, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        pem.load_certificate(data)
    assert "PRIVATE KEY-----" not in str(caught.value)


@given(data=st.binary(max_size=300))
def test_any_bytes_are_split_or_refused_with_the_one_error(data: bytes) -> None:
    try:
        blocks = pem_blocks.split(data)
    except UnreadableKeyFile:
        return
    assert blocks == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"-----BEGIN A-----\n" * 3_600, id="begins without ends"),
        pytest.param(b" " * 65_000, id="spaces"),
        pytest.param(b"-----BEGIN A-----\n" + b"A\n" * 32_000, id="a body without end"),
        pytest.param(b"\n" * 65_000, id="empty lines"),
    ],
)
def test_splitting_takes_linear_time(data: bytes) -> None:
    started = time.thread_time()
    with contextlib.suppress(UnreadableKeyFile):
        assert pem_blocks.split(data) == []
    assert time.thread_time() - started < 0.5


SAMPLES = os.environ.get("CYBS_SAMPLES_DIR", "")


@pytest.mark.skipif(not SAMPLES, reason="CYBS_SAMPLES_DIR names no folder of real key files")
def test_the_gateways_encrypted_response_key_is_read() -> None:
    data = (Path(SAMPLES) / "response_key_encrypted.pem").read_bytes()
    assert pem.load_bundle(data, "Changeit@123", now=NOW).private_key.key_size == 2048
    with pytest.raises(UnreadableKeyFile, match="password is wrong"):
        pem.load_private_key(data, "changeit@123")
