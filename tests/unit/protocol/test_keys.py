from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import pickle
import pprint
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from django_cybs_jwt.exceptions import KeyMismatch, WeakKey, WrongKeyFile
from django_cybs_jwt.protocol import GatewayCertificate, MerchantKeys, ResponseKey, SigningKey
from django_cybs_jwt.protocol.keys import (
    RSA_ALGORITHMS,
    Secret,
    check_rsa,
    common_name,
    spki_fingerprint,
    subject_serial_number,
)
from django_cybs_jwt.testing import material
from tests.unit.protocol.protocol_samples import (
    NOW,
    RESPONSE,
    RSA,
    SECRET,
    SHARED,
    SIGNING,
    certificate,
    merchant,
)

HOLDERS = [SIGNING, SHARED, RESPONSE, merchant(), merchant(signing=SHARED)]
every_holder = pytest.mark.parametrize("holder", HOLDERS, ids=range(len(HOLDERS)))

SHOWN: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "format": format,
    "f-string": lambda holder: f"{holder} {holder!r} {holder!s} {holder:}",
    "percent": lambda holder: "%s %r" % (holder, holder),  # noqa: UP031
    "str.format": lambda holder: "{} {0.__class__}".replace("{}", "{0}").format(holder),
    "list": lambda holder: str([holder]),
    "dict": lambda holder: str({"key": holder}),
    "pprint": pprint.pformat,
    "exception": lambda holder: repr(ValueError(holder)),
    "json with default=str": lambda holder: json.dumps(holder, default=str),
}


def secrets_of(holder: Any) -> list[str]:
    """Spellings of what a holder of keys must never show."""
    holders = [holder]
    if isinstance(holder, MerchantKeys):
        holders = [holder.signing, *holder.response_keys.values()]
    texts = []
    for item in holders:
        key = getattr(item, "material", None) or item.private_key
        if isinstance(key, bytes):
            texts += [repr(key)[2:-1], key.hex(), key.decode("latin-1")]
        else:
            texts += [str(key.private_numbers().d), f"{key.private_numbers().p:x}", "RSAPrivateKey"]
    return texts


@every_holder
@pytest.mark.parametrize("show", SHOWN)
def test_no_way_of_printing_shows_a_secret(holder: Any, show: str) -> None:
    shown = SHOWN[show](holder)
    assert "redacted" in shown or "class" in shown
    for secret in secrets_of(holder):
        assert secret not in shown


@every_holder
@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        lambda holder: copy.deepcopy({"keys": [holder]}),
        *(
            lambda holder, protocol=protocol: pickle.dumps(holder, protocol)
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
        lambda holder: pickle.dumps([holder]),
        lambda holder: holder.__reduce__(),
        lambda holder: holder.__reduce_ex__(2),
        lambda holder: holder.__getstate__(),
    ],
    ids=["copy", "deepcopy", "deepcopy inside"]
    + [f"pickle {protocol}" for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    + ["pickle inside", "reduce", "reduce_ex", "getstate"],
)
def test_a_holder_of_secrets_is_never_copied_or_pickled(
    holder: Any, duplicate: Callable[[Any], Any]
) -> None:
    with pytest.raises(TypeError, match="never pickled or copied"):
        duplicate(holder)


@every_holder
@pytest.mark.parametrize(
    "read", [json.dumps, iter, vars, bytes, len], ids=lambda read: read.__name__
)
def test_a_holder_of_secrets_is_no_container(holder: Any, read: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        read(holder)


@every_holder
@pytest.mark.parametrize("read", [dataclasses.asdict, dataclasses.astuple])
def test_a_holder_of_secrets_becomes_no_dictionary_and_no_tuple(
    holder: Any, read: Callable[[Any], Any]
) -> None:
    with pytest.raises(TypeError, match="never pickled or copied"):
        read(holder)


@every_holder
def test_two_holders_are_equal_only_when_they_are_one(holder: Any) -> None:
    assert holder == holder  # noqa: PLR0124
    assert holder != dataclasses.replace(holder)
    assert len({holder, holder}) == 1


def kinds(kind: type) -> set[type]:
    """A class and all that inherit from it."""
    return {kind}.union(*map(kinds, kind.__subclasses__()))


def test_no_kind_of_secret_weakens_what_it_inherits() -> None:
    assert {SigningKey, ResponseKey, MerchantKeys} < kinds(Secret)
    for kind in kinds(Secret):
        assert kind.__repr__ is Secret.__repr__
        assert kind.__getstate__ is Secret.__getstate__
        assert kind.__reduce_ex__ is Secret.__reduce_ex__
        assert kind.__str__ is object.__str__
        assert kind.__format__ is object.__format__


@every_holder
def test_a_key_value_cannot_be_changed(holder: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(holder, dataclasses.fields(holder)[0].name, "other")
    with pytest.raises((AttributeError, TypeError)):
        holder.extra = 1


def signing(algorithm: str, key: Any) -> SigningKey:
    return SigningKey(owner="acme_001", kid="1", algorithm=algorithm, material=key)


@pytest.mark.parametrize("algorithm", RSA_ALGORITHMS)
def test_an_rsa_key_signs_under_rsa_names(algorithm: str) -> None:
    assert signing(algorithm, RSA).algorithm == algorithm


@pytest.mark.parametrize("algorithm", ["HS256", "HS512", "none", "", "rs256", "ES256", "RS1"])
def test_an_rsa_key_signs_under_no_other_name(algorithm: str) -> None:
    with pytest.raises(WeakKey, match="An RSA key signs RS256"):
        signing(algorithm, RSA)


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_shared_secret_is_as_long_as_its_hash(algorithm: str, least: int) -> None:
    assert signing(algorithm, SECRET[:least]).material == SECRET[:least]
    with pytest.raises(WeakKey, match=f"{algorithm} needs a secret of {least} bytes") as caught:
        signing(algorithm, SECRET[: least - 1])
    assert repr(SECRET[:4])[2:-1] not in str(caught.value)


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "none", "", "hs256", "HS1"])
def test_a_shared_secret_signs_under_no_other_name(algorithm: str) -> None:
    with pytest.raises(WeakKey, match="A shared secret signs HS256, HS384, HS512"):
        signing(algorithm, SECRET)


@pytest.mark.parametrize("bits", [1024, 2047, 4097])
def test_an_rsa_key_outside_2048_to_4096_bits_is_refused(bits: int) -> None:
    weak = rsa.RSAPublicNumbers(e=65537, n=(1 << (bits - 1)) | 1).public_key()
    with pytest.raises(WeakKey, match=f"this one has {bits}"):
        check_rsa(weak)


@pytest.mark.parametrize("exponent", [3, 17, 65539])
def test_another_exponent_is_refused(exponent: int) -> None:
    odd = rsa.RSAPublicNumbers(e=exponent, n=RSA.public_key().public_numbers().n).public_key()
    with pytest.raises(WeakKey, match="exponent must be 65537"):
        check_rsa(odd)


def test_a_short_key_signs_nothing() -> None:
    with pytest.raises(WeakKey, match="this one has 1024"):
        signing("RS256", material.rsa_key(1024, name="short"))


def test_the_fingerprint_is_of_the_whole_public_key_and_of_nothing_else() -> None:
    der = RSA.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert spki_fingerprint(RSA.public_key()) == hashlib.sha256(der).hexdigest()
    assert spki_fingerprint(RSA.public_key()) != spki_fingerprint(RESPONSE.private_key.public_key())


@pytest.mark.parametrize(
    ("seconds", "valid"),
    [(-1, False), (0, True), (1, True), (86_399, True), (86_400, False), (86_401, False)],
)
def test_a_certificate_is_valid_from_its_first_second_and_not_at_its_last(
    seconds: int, valid: bool
) -> None:
    lives_a_day = certificate(begin=0, end=1)
    assert lives_a_day.is_valid(NOW + timedelta(seconds=seconds)) is valid


def test_the_kid_of_a_certificate_is_the_subjects_serial_number_and_not_its_own() -> None:
    made = material.certificate(RSA, common_name="CyberSource_SJC_US", kid="1763424170787064972884")
    read = GatewayCertificate.from_x509(made)
    assert read.kid == subject_serial_number(made) == "1763424170787064972884"
    assert read.kid != str(made.serial_number)
    assert read.common_name == common_name(made) == "CyberSource_SJC_US"
    assert read.public_key.public_numbers() == RSA.public_key().public_numbers()
    assert (read.not_before, read.not_after) == (
        made.not_valid_before_utc,
        made.not_valid_after_utc,
    )


def test_a_subject_without_names_has_empty_ones() -> None:
    bare = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")])
    made = self_signed(RSA, bare)
    assert (common_name(made), subject_serial_number(made)) == ("", "")


def test_a_certificate_of_another_kind_of_key_is_the_wrong_file() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CyberSource_SJC_US")])
    with pytest.raises(WrongKeyFile, match="carries an RSA key"):
        GatewayCertificate.from_x509(self_signed(ec.generate_private_key(ec.SECP256R1()), name))


def test_a_certificate_of_a_weak_key_encrypts_nothing() -> None:
    short = material.rsa_key(1024, name="short")
    with pytest.raises(WeakKey, match="this one has 1024"):
        GatewayCertificate.from_x509(material.certificate(short, common_name="x", kid="1"))


def test_a_gateway_certificate_shows_its_facts_without_its_key() -> None:
    assert "CyberSource_SJC_US" in repr(certificate())
    assert "RSAPublicKey" not in repr(certificate())


def self_signed(key: Any, name: x509.Name) -> x509.Certificate:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )


def test_merchant_keys_have_no_response_key_and_no_certificate_unless_given() -> None:
    keys = MerchantKeys(merchant="acme_001", host="a.b", signing=SIGNING)
    assert (dict(keys.response_keys), keys.response_kid) == ({}, None)
    assert keys.gateway_certificate is keys.response_mle is None


def test_the_facts_that_explain_a_refusal_are_empty_unless_given() -> None:
    assert (SIGNING.fingerprint, SIGNING.common_name, SIGNING.state) == ("", "", "")
    assert SIGNING.not_after is None
    assert isinstance(RESPONSE, ResponseKey)


def test_a_response_key_is_as_strong_as_a_signing_key() -> None:
    short = material.rsa_key(1024, name="short")
    with pytest.raises(WeakKey, match="this one has 1024"):
        ResponseKey(owner="acme_001", kid="1", private_key=short)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"response_kid": "another"}, "another is to be announced and is not there"),
        ({"response_keys": {}}, "is not there"),
        ({"response_keys": {"another": RESPONSE}, "response_kid": None}, "listed under another"),
        (
            {"response_keys": {RESPONSE.kid: dataclasses.replace(RESPONSE, owner="rival")}},
            "is rival's, and acme_001 signs",
        ),
        ({"signing": dataclasses.replace(SIGNING, owner="portfolio")}, "and portfolio signs"),
    ],
)
def test_keys_that_do_not_belong_together_are_no_merchants_keys(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(KeyMismatch, match=says):
        merchant(**changes)
