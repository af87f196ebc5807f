"""Whatever bytes come in, nothing but our own errors comes out of what reads them.

Each reader gets what it accepts with a few bytes changed, taken out, put in or said twice: nearer
to its edges than anything random.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.protocol import bodies, der, hosts, jwe, open_response, p12_scan, pem_blocks
from django_cybs_jwt.protocol.certificate_facts import CertificateFacts, read_certificate
from django_cybs_jwt.protocol.file_kind import looks_like
from django_cybs_jwt.protocol.headers import check_headers
from django_cybs_jwt.protocol.keys import GatewayCertificate
from django_cybs_jwt.protocol.operations import default_operations
from django_cybs_jwt.protocol.paths import check_path
from django_cybs_jwt.protocol.pem import load_certificate
from django_cybs_jwt.protocol.shared_secrets import parse_key_id, parse_shared_secret
from django_cybs_jwt.sealing import Context, KeyRing, open_blob, payload_digest, rewrap, seal
from django_cybs_jwt.testing import material
from tests.unit.protocol import hostile_files as hostile
from tests.unit.protocol.hostile_tokens import FITTING
from tests.unit.protocol.protocol_samples import RESPONSE, RESPONSE_KID, merchant

RING = KeyRing.generate("2026-11")
HOME = Context(live=False, kind="k", owner=UUID(int=1), row=UUID(int=2), field="f")
OWN = hostile.certificate()
EDGES = [b"\x00", b"\x80", b"\xff", b"\x7f", b"\x30", b"\xa0", b"\x1f", b"\n", b"%", b"..", b'"']


@st.composite
def mutations(draw: st.DrawFn, sample: bytes) -> bytes:
    """*sample* with one to three changes."""
    data = sample
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        size = draw(st.sampled_from([0, 1, 1, 2, 9]))
        other = draw(st.integers(0, len(data)))
        new = draw(
            st.one_of(
                st.sampled_from(EDGES), st.binary(max_size=4), st.just(data[other : other + 8])
            )
        )
        data = data[:at] + new + data[at + size :]
    return data


def as_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("latin-1"))


def certificate(data: bytes) -> None:
    found = read_certificate(data)
    CertificateFacts.from_x509(found, "own")
    GatewayCertificate.from_x509(found)


def blob(data: bytes) -> None:
    for read in (payload_digest, lambda b: rewrap(b, context=HOME, ring=RING)):
        with suppress(CybsError):
            read(data)
    open_blob(data, context=HOME, ring=RING)


def path(text: str) -> None:
    default_operations().policy("POST", check_path(text))
    default_operations().name("POST", text)


def reply(data: bytes) -> None:
    open_response(merchant(), data, status=200)


def walk(data: bytes) -> None:
    list(der.walk(der.parse(data)))
    looks_like(data)


GATEWAY_FILE, MODERN_FILE = hostile.good_p12(), hostile.modern_p12(hostile.key(), OWN)
READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "a sealed blob": (seal(b"secret", context=HOME, ring=RING), blob),
    "a key ring": (RING.to_json().encode(), KeyRing.from_json),
    "a P12 of the gateway": (GATEWAY_FILE, p12_scan.scan),
    "a P12 with an encrypted part": (MODERN_FILE, p12_scan.scan),
    "DER": (MODERN_FILE, walk),
    "PEM": (hostile.pem(password="x") + hostile.certificate_pem(OWN), pem_blocks.split),
    "a certificate in PEM": (hostile.certificate_pem(OWN), load_certificate),
    "a certificate": (OWN.public_bytes(Encoding.DER), certificate),
    "a hostile certificate": (hostile.named("acm\u00e9").public_bytes(Encoding.DER), certificate),
    "an elliptic certificate": (
        hostile.elliptic_certificate().public_bytes(Encoding.DER),
        certificate,
    ),
    "a shared secret": (material.shared_secret().secret.encode(), as_text(parse_shared_secret)),
    "a key id": (material.shared_secret().key_id.encode(), as_text(parse_key_id)),
    "a JWE and its key": (
        FITTING.encode(),
        as_text(lambda token: jwe.decrypt(token, {RESPONSE_KID: RESPONSE})),
    ),
    "a reply": (json.dumps({"encryptedResponse": FITTING}).encode(), reply),
    "a path": (b"/pts/v2/payments/7012/refunds?a=%20b", as_text(path)),
    "a header": (
        b"application/json; charset=utf-8",
        as_text(lambda text: check_headers({text: text})),
    ),
    "a host": (b"apitest.cybersource.com", as_text(hosts.parse_host)),
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=150, deadline=None, database=None)
@given(data=st.data())
def test_a_reader_takes_changed_bytes_or_refuses_them(name: str, data: st.DataObject) -> None:
    sample, read = READERS[name]
    with suppress(CybsError):
        read(data.draw(st.one_of(mutations(sample), st.binary(max_size=80))))


@given(data=st.binary(max_size=200))
def test_json_that_is_none_is_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        bodies.decode_json(data)


@pytest.mark.parametrize("name", READERS)
def test_the_samples_themselves_are_taken(name: str) -> None:
    sample, read = READERS[name]
    if name not in ("an elliptic certificate", "a header"):
        read(sample)
