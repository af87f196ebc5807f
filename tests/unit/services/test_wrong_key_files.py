"""What is not imported, and what is said about it: the file is named, the secret is not."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from django_cybs_jwt.exceptions import (
    KeyMaterialError,
    UnreadableKeyFile,
    WeakKey,
    WrongKeyFile,
)
from django_cybs_jwt.services import inspection, keys
from django_cybs_jwt.services.inspection import Inspection, Wanted
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment
from tests.unit.services.test_importing import counts, key, p12, pem, read, read_secret

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]


def test_a_file_for_another_organization_is_refused_and_named() -> None:
    owner, before = enrolment.organization(), counts()
    before = counts()
    with pytest.raises(WrongKeyFile, match="belongs to organization 'other', not to 'acme'"):
        enrolment.store(owner, read(p12("other").data))
    assert counts() == before


def test_the_name_in_the_certificate_may_differ_in_case() -> None:
    row = enrolment.store(enrolment.organization("Acme"), read(p12("ACME").data))
    assert row.common_name == "ACME"


def test_of_several_certificates_of_one_key_the_organizations_own_is_stored() -> None:
    data, acme = enrolment.twice_named_p12(), enrolment.organization()
    row = enrolment.store(acme, read(data, owner="acme"))
    assert (row.common_name, row.key_id) == ("acme", "1" * 22)
    with pytest.raises(WrongKeyFile, match="belongs to organization 'rival'"):
        enrolment.store(acme, read(data))


def own_certificate(name: str) -> Inspection:
    """A PEM with a certificate that the customer submitted: no serialNumber in its subject."""
    private_key = key("own")
    certificate = material.certificate(private_key, common_name=name)
    data = pem(private_key) + certificate.public_bytes(Encoding.PEM)
    return read(data, None, key_id="submitted-1")


def test_a_certificate_of_ones_own_with_another_name_is_stored_with_a_warning() -> None:
    acme, inspected = enrolment.organization(), own_certificate("Acme Holding")
    warning = keys.owner_warning(acme, inspected)
    assert warning is not None
    assert "'Acme Holding'" in warning
    assert "'acme'" in warning
    assert enrolment.store(acme, inspected).common_name == "Acme Holding"


def test_a_certificate_of_ones_own_with_the_right_name_needs_no_warning() -> None:
    assert keys.owner_warning(enrolment.organization(), own_certificate("acme")) is None


def test_a_key_id_typed_that_is_not_the_files_is_refused() -> None:
    file = p12()
    with pytest.raises(WrongKeyFile, match=f"key ID is {file.kid}, not 123"):
        read(file.data, key_id="123")


def test_a_key_stored_for_the_other_purpose_is_named() -> None:
    acme, file = enrolment.organization(), p12()
    enrolment.store(acme, read(file.data))
    with pytest.raises(WrongKeyFile, match="stored already as the request signing key"):
        enrolment.store(acme, read(file.data, purpose="response-mle"))


def test_a_shared_secret_cannot_open_replies() -> None:
    wanted = Wanted(purpose="response-mle", key_id="k")
    with pytest.raises(WrongKeyFile, match="A shared secret signs requests"):
        inspection.inspect_shared_secret(
            material.shared_secret().secret, wanted, now=timezone.now()
        )


def test_a_response_key_has_no_choice_of_algorithm() -> None:
    with pytest.raises(WrongKeyFile, match="RSA-OAEP-256"):
        read(p12().data, purpose="response-mle", algorithm="RSA1_5")


@pytest.mark.parametrize("algorithm", ["HS256", "none", "ES256", "x" * 500])
def test_an_rsa_key_signs_with_no_other_family(algorithm: str) -> None:
    with pytest.raises(WrongKeyFile, match="An RSA key signs") as caught:
        read(p12().data, algorithm=algorithm)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("algorithm", ["RS256", "none", "HS1"])
def test_a_shared_secret_signs_with_no_other_family(algorithm: str) -> None:
    with pytest.raises(WeakKey, match="A shared secret signs"):
        read_secret(material.shared_secret().secret, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_a_longer_hash_needs_a_longer_secret(algorithm: str) -> None:
    with pytest.raises(WeakKey, match="needs a secret of"):
        read_secret(material.shared_secret().secret, algorithm=algorithm)


def test_wrong_password_and_damage_say_the_same_thing() -> None:
    """B9: nobody learns which of them it was."""
    data = p12().data
    damaged = data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]
    texts = set()
    for content, password in [(data, "wrong"), (damaged, material.PASSWORD), (damaged, "wrong")]:
        with pytest.raises(UnreadableKeyFile) as caught:
            read(content, password)
        texts.add(str(caught.value))
    assert len(texts) == 1


def test_a_password_is_tried_exactly_as_typed() -> None:
    """B8: no trimming, no other normal form."""
    file = p12(password=" café ")
    assert read(file.data, " café ").key_id == file.kid
    for variant in ("café", " cafe\u0301 ", " café"):
        with pytest.raises(UnreadableKeyFile):
            read(file.data, variant)


SECRETS: dict[str, str] = {
    "empty": "",
    "5 bytes": base64.b64encode(b"12345").decode(),
    "31 bytes": base64.b64encode(bytes(range(60, 91))).decode(),
    "no base64": "not base64 at all!",
    "url-safe": "_-" * 21 + "_-A=",
    "inner newline": material.shared_secret().secret.replace("=", "\n="),
    "zeros": base64.b64encode(bytes(32)).decode(),
    "one byte": base64.b64encode(b"\xa7" * 32).decode(),
    "words": base64.b64encode(b"password" * 4).decode(),
    "certificate": material.gateway_certificate().pem,
    "private key": pem(material.rsa_key(name="import pem")).decode(),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_bad_shared_secret_is_refused_and_not_repeated(kind: str) -> None:
    with pytest.raises(KeyMaterialError) as caught:
        read_secret(SECRETS[kind])
    assert len(SECRETS[kind]) < 9 or SECRETS[kind] not in str(caught.value)


@pytest.mark.parametrize("around", ["{}\n", " {}\r\n", "\t{}"])
def test_white_space_around_a_shared_secret_is_dropped_with_a_notice(around: str) -> None:
    secret = material.shared_secret().secret
    inspected = read_secret(around.format(secret))
    assert inspected.secret == base64.b64decode(secret)
    assert "White space around the shared secret was dropped." in inspected.notices
    assert not any("White space" in notice for notice in read_secret(secret).notices)


@pytest.mark.parametrize(
    "key_id",
    ["", "/", "a/b", "..", "a..b", "'", '"', "a\r\nb", "a b", "🔑", "k" * 129, "k" * 1_000_000],
    ids=lambda text: repr(text[:9]) + str(len(text)),
)
def test_a_key_id_that_is_none_is_refused(key_id: str) -> None:
    with pytest.raises(KeyMaterialError) as caught:
        read_secret(material.shared_secret().secret, key_id=key_id)
    assert len(str(caught.value)) < 400
