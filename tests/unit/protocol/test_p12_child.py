from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from django_cybs_jwt.protocol import key_reader, p12_child, p12_scan
from django_cybs_jwt.testing import material
from tests.unit.protocol import hostile_files as hostile

DER = (Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PLAIN = hostile.key().private_bytes(*DER)
CHILD = [sys.executable, "-I", "-B", str(key_reader.CHILD)]


def ask(*fields: bytes) -> list[bytes]:
    ended = subprocess.run(
        CHILD, input=p12_child.pack(*fields), capture_output=True, env={}, timeout=30, check=True
    )
    return p12_child.unpack(ended.stdout)


@given(fields=st.lists(st.binary(max_size=300)))
def test_fields_survive_the_pipe(fields: list[bytes]) -> None:
    assert p12_child.unpack(p12_child.pack(*fields)) == fields


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0", b"\0\0\0\2a", b"\0\0\0\1ab"])
def test_fields_that_do_not_come_out_even_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cut off"):
        p12_child.unpack(data)


def test_the_child_imports_the_standard_library_and_cryptography_only() -> None:
    tree = ast.parse(key_reader.CHILD.read_text(encoding="utf-8"))
    imported = {
        alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names
    }
    imported |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    roots = {name.split(".")[0] for name in imported}
    assert roots - set(sys.stdlib_module_names) == {"cryptography"}


def test_the_child_answers_with_the_key_and_every_certificate() -> None:
    made = material.p12("acme", private_key=hostile.key())
    data = p12_scan.scan(made.data).data
    status, key, *certificates = ask(b"p12", made.password.encode(), data)
    assert status == b"ok"
    assert load_der_private_key(key, None).public_key() == hostile.key().public_key()
    assert made.certificate.public_bytes(Encoding.DER) in certificates
    assert len(certificates) == 3


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        pytest.param((b"p12", b"pw"), b"unreadable", id="a request cut off"),
        pytest.param((b"p12", b"pw", b"no key file"), b"unreadable", id="no P12"),
        pytest.param((b"key", b"", b"no key"), b"unreadable", id="no PKCS#8"),
        pytest.param(
            (b"p12", hostile.PASSWORD.encode(), hostile.good_p12()), b"not-der", id="still not DER"
        ),
        pytest.param((b"p12", b"a\0b", hostile.good_p12()), b"unreadable", id="a panic"),
    ],
)
def test_the_child_refuses_in_one_word(fields: tuple[bytes, ...], word: bytes) -> None:
    assert ask(*fields) == [word]


def test_a_p12_file_is_opened_in_any_process_the_same_way() -> None:
    own = hostile.certificate()
    opened = p12_child.open_p12(hostile.PASSWORD.encode(), hostile.modern_p12(hostile.key(), own))
    assert list(opened) == [PLAIN, own.public_bytes(Encoding.DER)]


@pytest.mark.parametrize(
    ("word", "data"),
    [
        ("not-der", hostile.good_p12()),
        ("no-key", hostile.modern_p12(None, None, [hostile.certificate()])),
        ("not-rsa", hostile.modern_p12(ed25519.Ed25519PrivateKey.generate())),
    ],
)
def test_a_p12_file_without_an_rsa_key_in_der_is_refused(word: str, data: bytes) -> None:
    with pytest.raises(p12_child.Refusal, match=word):
        list(p12_child.open_p12(hostile.PASSWORD.encode(), data))


def test_a_key_is_opened_and_validated() -> None:
    assert list(p12_child.open_key(b"", PLAIN)) == [PLAIN]
    broken = hostile.inconsistent_key().private_bytes(*DER)
    with pytest.raises(ValueError, match=r"[Ii]nvalid"):
        list(p12_child.open_key(b"", broken))


def test_a_key_that_is_too_long_to_validate_is_left_to_the_parent() -> None:
    enormous = hostile.enormous_key().private_bytes(*DER)
    assert list(p12_child.open_key(b"", enormous)) == [enormous]


def test_the_limits_are_set_before_anything_is_read() -> None:
    program = (
        "import json, resource, sys\n"
        "from django_cybs_jwt.protocol import p12_child\n"
        "p12_child.limit_resources()\n"
        "names = ('CPU', 'AS', 'FSIZE', 'CORE')\n"
        "print(json.dumps([resource.getrlimit(getattr(resource, 'RLIMIT_' + n)) for n in names]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ended.stdout.decode().strip() == str([[n, n] for n in (2, 512 * 2**20, 0, 0)])
