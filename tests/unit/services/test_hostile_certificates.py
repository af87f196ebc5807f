"""Certificates that somebody wrote to hurt: what they say is stored harmless, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from django.utils import timezone

from django_cybs_jwt.exceptions import (
    KeyMaterialError,
)
from django_cybs_jwt.models import (
    GatewayCertificate,
)
from django_cybs_jwt.protocol import der
from django_cybs_jwt.services import gateway_certificates, keys, signing
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.p12_encoding import gateway_p12
from tests.unit.services import enrolment
from tests.unit.services.test_importing import DAY, key, pem, read

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]


def certificate_for(private_key: Any, *names: x509.NameAttribute) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(private_key.public_key())
        .serial_number(1)
        .not_valid_before(timezone.now() - DAY)
        .not_valid_after(timezone.now() + DAY)
        .sign(private_key, hashes.SHA256())
    )


def utf8(oid: x509.ObjectIdentifier, text: str) -> x509.NameAttribute:
    return x509.NameAttribute(oid, text, _ASN1Type.UTF8String, _validate=False)


BAD_IDS = {
    "long": "k" * 200,
    "NUL": "a\0b",
    "path": "../../etc",
    "markup": "<script>",
    "direction": "1\u202e2",
    "none": None,
}


def gateway_with(kid: str | None) -> x509.Certificate:
    names = [utf8(NameOID.COMMON_NAME, material.GATEWAY_NAME)]
    if kid is not None:
        names.append(utf8(NameOID.SERIAL_NUMBER, kid))
    return certificate_for(key("gateway"), *names)


@pytest.mark.parametrize("bad", BAD_IDS)
def test_a_request_mle_certificate_whose_key_id_is_none_is_left_out(bad: str) -> None:
    own = material.certificate(key("acme"), common_name="acme", kid="1" * 22)
    data = gateway_p12(key("acme"), [own, gateway_with(BAD_IDS[bad])], material.PASSWORD)
    enrolment.store(enrolment.organization(), read(data))
    assert not GatewayCertificate.objects.exists()
    assert signing.keys_for("acme").gateway_certificate is None


@pytest.mark.parametrize("bad", BAD_IDS)
def test_a_request_mle_certificate_whose_key_id_is_none_is_not_added_for_a_host(bad: str) -> None:
    data = gateway_with(BAD_IDS[bad]).public_bytes(Encoding.PEM)
    with pytest.raises(KeyMaterialError):
        gateway_certificates.add(data, host=enrolment.HOST, actor="tests", now=timezone.now())
    assert not GatewayCertificate.objects.exists()


HOSTILE_NAMES = {
    "NUL": "Acme\0Holding",
    "direction": "A\u202ecme",
    "newline": "Acme\nWARNING forged log line",
    "long": "A" * 10_000,
}


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize("hostile", HOSTILE_NAMES)
def test_a_hostile_name_is_stored_harmless(hostile: str) -> None:
    certificate = certificate_for(key("own"), utf8(NameOID.COMMON_NAME, HOSTILE_NAMES[hostile]))
    data = pem(key("own")) + certificate.public_bytes(Encoding.PEM)
    inspected = read(data, None, key_id="submitted-1")
    acme = enrolment.organization()
    row = enrolment.store(acme, inspected)
    row.refresh_from_db()
    warning = keys.owner_warning(acme, inspected)
    assert warning is not None
    for text in (row.common_name, warning):
        assert len(text) < 500
        assert not set(text) & set("\0\n\u202e")


def test_a_certificate_serial_of_any_length_can_be_stored() -> None:
    """Nothing limits it but the size of the file; on PostgreSQL the column would."""
    certificate = material.certificate(key("own"), common_name="acme")
    tbs = der.parse(certificate.tbs_certificate_bytes)
    version, _, *rest = [child.encoded for child in tbs.children()]
    longest = der.encode(der.INTEGER, b"\x01" + bytes(3000))
    _, algorithm, signature = [
        child.encoded for child in der.parse(certificate.public_bytes(Encoding.DER)).children()
    ]
    forged = der.encode(
        der.SEQUENCE, der.encode(der.SEQUENCE, version, longest, *rest), algorithm, signature
    )
    text = x509.load_der_x509_certificate(forged).public_bytes(Encoding.PEM)
    row = enrolment.store(
        enrolment.organization(), read(pem(key("own")) + text, None, key_id="submitted-1")
    )
    row.refresh_from_db()
    row.full_clean(exclude=["slot", "organization", "active_slot"])
