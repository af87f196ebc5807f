from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import pkcs12

from django_cybs_jwt.protocol import der, keys, p12_scan
from django_cybs_jwt.testing import material

KEY = material.rsa_key(name="material")
NOW = datetime.now(UTC).replace(microsecond=0)


def opened(made: material.P12File) -> pkcs12.PKCS12KeyAndCertificates:
    return pkcs12.load_pkcs12(p12_scan.scan(made.data).data, made.password.encode())


def certificates(made: material.P12File) -> list[x509.Certificate]:
    bundle = opened(made)
    found = [bundle.cert, *bundle.additional_certs]
    return [entry.certificate for entry in found if entry is not None]


def test_a_p12_file_opens_and_holds_what_it_says() -> None:
    made = material.p12("acme", private_key=KEY)
    bundle = opened(made)
    assert bundle.cert is not None
    assert bundle.cert.certificate == made.certificate
    assert bundle.cert.friendly_name == f"serialNumber={made.kid},CN=acme".encode()
    assert bundle.key.public_key() == KEY.public_key()  # type: ignore[union-attr]
    assert made.gateway is not None
    names = {c.friendly_name for c in bundle.additional_certs}
    assert names == {
        f"serialNumber={made.gateway.kid},CN=CyberSource_SJC_US".encode(),
        b"CN=CyberSourceCertAuth",
    }


def test_a_p12_file_has_the_oddities_of_the_gateways_own() -> None:
    made = material.p12("acme", private_key=KEY)
    mac = der.parse(made.data).children()[2].children()
    assert mac[2].encoded == der.encode(der.INTEGER, b"\1")
    assert p12_scan.scan(made.data).notices == (
        "Legacy encryption (3DES, one MAC iteration): the password protects little.",
    )


def test_its_certificates_are_signed_by_the_issuer_inside() -> None:
    own, *others = certificates(material.p12("acme", private_key=KEY))
    issuer = next(c for c in others if keys.common_name(c) == material.ISSUER_NAME)
    for certificate in (own, *others):
        certificate.verify_directly_issued_by(issuer)


@pytest.mark.parametrize("order", ["own-first", "gateway-first", "issuer-first"])
def test_the_order_of_certificates_is_the_one_asked_for(order: material.Order) -> None:
    made = material.p12("acme", private_key=KEY, order=order)
    friendly_names = {
        "own-first": f"serialNumber={made.kid},CN=acme",
        "gateway-first": ",CN=CyberSource_SJC_US",
        "issuer-first": "CN=CyberSourceCertAuth",
    }
    places = {place: made.data.find(n.encode("utf-16-be")) for place, n in friendly_names.items()}
    assert min(places.values()) > 0
    assert min(places, key=places.__getitem__) == order


def test_everything_can_be_chosen() -> None:
    gateway = material.gateway_certificate(common_name="Brand_SJC_US", kid="7" * 22)
    begin, end = NOW - timedelta(days=3), NOW + timedelta(days=3)
    made = material.p12(
        "acme",
        kid="5" * 22,
        password=" p\u00e4ss ",
        gateway=gateway,
        not_before=begin,
        not_after=end,
        private_key=KEY,
        common_name="another",
    )
    own = opened(made).cert
    assert own is not None
    assert keys.common_name(own.certificate) == "another"
    assert keys.subject_serial_number(own.certificate) == made.kid == "5" * 22
    assert (own.certificate.not_valid_before_utc, own.certificate.not_valid_after_utc) == (
        begin,
        end,
    )
    assert gateway.certificate in certificates(made)
    assert (made.org_id, made.private_key, made.gateway) == ("acme", KEY, gateway)


def test_the_gateway_certificate_can_be_left_out() -> None:
    made = material.p12("acme", private_key=KEY, gateway=None)
    assert made.gateway is None
    assert len(certificates(made)) == 2


def test_a_gateway_certificate_comes_with_the_key_that_decrypts_for_it() -> None:
    made = material.gateway_certificate()
    oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
    read = keys.GatewayCertificate.from_x509(x509.load_pem_x509_certificate(made.pem.encode()))
    assert made.private_key.decrypt(read.public_key.encrypt(b"hello", oaep), oaep) == b"hello"
    assert (read.kid, read.common_name) == (made.kid, "CyberSource_SJC_US")
    assert read.is_valid(NOW)


def test_named_keys_are_made_once_and_others_each_time() -> None:
    assert material.rsa_key(1024, name="once") is material.rsa_key(1024, name="once")
    assert material.rsa_key(1024, name="once") is not material.rsa_key(1024, name="other")
    assert material.rsa_key(1024).private_numbers() != material.rsa_key(1024).private_numbers()
    assert material.rsa_key(1024).key_size == 1024


def test_key_ids_are_22_digits_and_new_each_time() -> None:
    kids = {material.new_kid() for _ in range(200)}
    assert len(kids) == 200
    assert all(len(kid) == 22 and kid.isdecimal() for kid in kids)


def test_a_shared_secret_is_32_random_bytes_in_base64() -> None:
    one, two = material.shared_secret(), material.shared_secret()
    assert len(base64.b64decode(one.secret, validate=True)) == 32
    assert one.secret != two.secret
    assert one.key_id != two.key_id


def test_what_holds_secrets_shows_none() -> None:
    made = material.p12("acme", private_key=KEY)
    for value in (made, made.gateway, material.shared_secret()):
        assert repr(value) == f"<{type(value).__name__} redacted>"
