"""A sealed column opens in its own row and field, under its own ring, and nowhere else."""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core import serializers
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import (
    KeyBlocked,
    KeyMismatch,
    KeyUnavailable,
    SecretIntegrityError,
)
from django_cybs_jwt.models import Credential, KeySlot
from django_cybs_jwt.sealing import open_blob, seal
from django_cybs_jwt.services import inspection, key_payload, keys, opened_keys, signing
from django_cybs_jwt.services.sealed import proof
from django_cybs_jwt.testing import material
from tests.unit.sealing import spec_envelope
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


def stored_p12(org_id: str = "acme") -> tuple[material.P12File, Credential]:
    file = material.p12(org_id, private_key=material.rsa_key(name=f"{org_id} p12"))
    owner = enrolment.organization(org_id)
    return file, enrolment.store(owner, enrolment.p12_inspection(file))


def blob(credential: Credential, field: str = "sealed_secret") -> bytes:
    return bytes(Credential.objects.values_list(field, flat=True).get(pk=credential.pk))


def spec_context(credential: Credential, field: str) -> bytes:
    return spec_envelope.context(
        live=False,
        kind="credential",
        owner=credential.organization_id,
        row=credential.pk,
        field=field,
    )


def kek(ring: dict[str, Any]) -> bytes:
    return base64.b64decode(ring["keys"][ring["primary"]]["key"])


def test_the_kept_p12_is_the_original_file_and_its_password_by_an_independent_reading(
    cybs_ring: dict[str, Any],
) -> None:
    file, credential = stored_p12()
    opened = spec_envelope.read(
        blob(credential, "sealed_p12"), kek(cybs_ring), spec_context(credential, "sealed_p12")
    )
    length = int.from_bytes(opened[:4], "big")
    assert opened[4 : 4 + length] == file.data
    assert opened[4 + length :].decode() == file.password


def test_the_sealed_secret_of_a_p12_is_its_names_and_pkcs8_key_by_an_independent_reading(
    cybs_ring: dict[str, Any],
) -> None:
    file, credential = stored_p12()
    opened = spec_envelope.read(
        blob(credential), kek(cybs_ring), spec_context(credential, "sealed_secret")
    )
    assert opened[:8] == b"cybs-key"
    end = 10 + int.from_bytes(opened[8:10], "big")
    assert json.loads(opened[10:end]) == [file.kid, "RS256"]
    assert opened[end:] == enrolment.pkcs8(file.private_key)


def test_no_two_rows_share_a_byte_string_for_the_same_secret() -> None:
    file = material.shared_secret()
    rows = [
        enrolment.shared_secret(
            enrolment.organization(host=host), secret=file.secret, key_id=file.key_id
        )
        for host in (enrolment.HOST, enrolment.OTHER_HOST)
    ]
    assert blob(rows[0]) != blob(rows[1])
    assert rows[0].fingerprint == rows[1].fingerprint


def test_a_secret_copied_from_another_merchants_row_does_not_sign() -> None:
    own = enrolment.shared_secret(enrolment.organization())
    other = enrolment.shared_secret(enrolment.organization("other"))
    enrolment.change(own, sealed_secret=blob(other), fingerprint=other.fingerprint)
    with pytest.raises(SecretIntegrityError):
        signing.keys_for("acme")


def test_a_secret_copied_from_an_older_version_of_the_same_merchant_does_not_sign() -> None:
    acme = enrolment.organization()
    own = enrolment.shared_secret(acme)
    older = enrolment.shared_secret(acme, activate=False)
    enrolment.change(own, sealed_secret=blob(older), fingerprint=older.fingerprint)
    with pytest.raises(SecretIntegrityError):
        signing.keys_for("acme")


def test_the_kept_p12_put_into_the_secrets_field_does_not_sign() -> None:
    _, credential = stored_p12()
    enrolment.change(credential, sealed_secret=blob(credential, "sealed_p12"))
    with pytest.raises(SecretIntegrityError):
        signing.keys_for("acme")


def test_a_row_moved_to_another_merchant_does_not_sign() -> None:
    own = enrolment.shared_secret(enrolment.organization())
    other = enrolment.organization("other")
    slot = KeySlot.objects.create(organization=other, purpose="signing")
    enrolment.change(own, organization=other, slot=slot, active_slot=slot)
    with pytest.raises(SecretIntegrityError):
        signing.keys_for("other")


def test_a_key_in_a_slot_of_another_owner_does_not_sign() -> None:
    own = enrolment.shared_secret(enrolment.organization())
    slot = KeySlot.objects.create(organization=enrolment.organization("other"), purpose="signing")
    enrolment.change(own, slot=slot, active_slot=slot)
    with pytest.raises(KeyMismatch):
        signing.keys_for("acme")


def test_a_test_secret_is_of_no_use_once_its_row_says_live(settings: Any) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    enrolment.move(own.organization, live=True)
    settings.CYBS_JWT = {**settings.CYBS_JWT, "LIVE": True}
    with pytest.raises(SecretIntegrityError):
        signing.keys_for("acme")


WRITTEN: dict[str, Callable[[bytes], bytes | None]] = {
    "plaintext": lambda _: material.shared_secret().secret.encode(),
    "empty": lambda _: b"",
    "null": lambda _: None,
    "truncated": lambda sealed: sealed[:-1],
    "extended": lambda sealed: sealed + b"\0",
    "flipped": lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]),
    "header only": lambda sealed: sealed[:80],
    "hex text": lambda sealed: sealed.hex().encode(),
    "base64 text": base64.b64encode,
    "other suite": lambda sealed: sealed[:4] + b"\2" + sealed[5:],
    "pickle": lambda _: b"\x80\x04K\x01.",
}


@pytest.mark.parametrize("written", WRITTEN)
def test_what_somebody_else_wrote_into_the_column_does_not_sign(written: str) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    enrolment.change(own, sealed_secret=WRITTEN[written](blob(own)))
    with pytest.raises(SecretIntegrityError):
        signing.keys_for("acme")


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview], ids=lambda form: form.__name__)
def test_every_binary_form_that_a_database_driver_hands_out_opens(form: Any) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    own.sealed_secret = form(blob(own))
    assert isinstance(opened_keys.material(own), bytes)


NO_BINARY = {"hex": lambda b: b.hex(), "str": lambda b: b.decode("latin-1"), "int": lambda _: 7}


@pytest.mark.parametrize("form", NO_BINARY)
def test_a_column_that_is_no_binary_is_an_integrity_error_not_a_type_error(form: str) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    own.sealed_secret = NO_BINARY[form](blob(own))
    with pytest.raises(SecretIntegrityError):
        opened_keys.material(own)


@pytest.mark.parametrize("purpose", ["signing", "response-mle"])
def test_a_changed_fingerprint_is_a_mismatch(purpose: str) -> None:
    acme = enrolment.organization()
    rows = {
        "signing": enrolment.shared_secret(acme),
        "response-mle": enrolment.rsa_key(acme),
    }
    enrolment.change(rows[purpose], fingerprint="0" * 64)
    with pytest.raises(KeyMismatch):
        signing.keys_for("acme")


@pytest.mark.parametrize(
    "columns", [{"sealed_secret": b"damaged"}, {"fingerprint": "0" * 64}, {"key_id": "9"}], ids=str
)
def test_an_old_response_key_that_does_not_open_stops_no_payment(
    caplog: pytest.LogCaptureFixture, columns: dict[str, Any]
) -> None:
    acme = enrolment.organization()
    enrolment.shared_secret(acme)
    old = enrolment.rsa_key(acme, key=material.rsa_key(name="old response"), slot="old")
    enrolment.put(old, enrolment.State.RETIRED)
    current = enrolment.rsa_key(acme)
    enrolment.change(old, **columns)
    assert set(signing.keys_for("acme").response_keys) == {current.key_id}
    old.refresh_from_db()
    assert f"Response key {old.key_id}" in caplog.text
    (own,) = signing.reply_keys("acme")
    assert set(own.response_keys) == {current.key_id}


def test_an_announced_response_key_that_does_not_open_is_an_error() -> None:
    acme = enrolment.organization()
    enrolment.shared_secret(acme)
    enrolment.change(enrolment.rsa_key(acme), sealed_secret=b"damaged")
    with pytest.raises(SecretIntegrityError):
        signing.keys_for("acme")


def test_a_changed_secret_key_leaves_every_secret_readable(settings: Any) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    settings.SECRET_KEY = "changed"
    settings.SECRET_KEY_FALLBACKS = []
    signing.forget()
    assert signing.keys_for("acme").signing.kid == own.key_id


def rings(settings: Any, **changes: Any) -> None:
    ring = settings.CYBS_JWT["KEYRING"]
    settings.CYBS_JWT = {**settings.CYBS_JWT, "KEYRING": {**ring, **changes}}
    signing.forget()


def random_key() -> str:
    return base64.b64encode(uuid.uuid4().bytes + uuid.uuid4().bytes).decode()


@pytest.mark.parametrize(
    ("status", "error"), [("blocked", KeyBlocked), ("decrypt_only", None), (None, KeyUnavailable)]
)
def test_what_a_key_encryption_keys_status_means_for_signing(
    settings: Any, cybs_ring: dict[str, Any], status: str | None, error: type[Exception] | None
) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    keks = {"second": {"key": random_key(), "status": "enabled"}}
    if status is not None:
        keks["testing"] = {**cybs_ring["keys"]["testing"], "status": status}
    rings(settings, primary="second", keys=keks)
    if error is None:
        assert signing.keys_for("acme").signing.kid == own.key_id
    else:
        with pytest.raises(error, match="testing"):
            signing.keys_for("acme")


def test_the_key_encryption_key_may_be_rotated_and_fingerprints_stay(
    settings: Any, cybs_ring: dict[str, Any]
) -> None:
    """Index and audit key are not the KEK: a stored secret is still known as a duplicate."""
    file = material.shared_secret()
    enrolment.shared_secret(enrolment.organization(), secret=file.secret)
    second = {"key": random_key(), "status": "enabled"}
    rings(settings, primary="second", keys={**cybs_ring["keys"], "second": second})
    again = enrolment.shared_secret(
        enrolment.organization("acme", host=enrolment.OTHER_HOST), secret=file.secret
    )
    first = Credential.objects.exclude(pk=again.pk).get()
    assert first.fingerprint == again.fingerprint
    assert b"second" in blob(again)[:16]
    assert b"testing" in blob(first)[:16]


def test_a_dumped_and_reloaded_row_still_signs() -> None:
    """Its context is the UUIDs of the row, which a dump keeps."""
    own = enrolment.shared_secret(enrolment.organization())
    dumped = serializers.serialize("json", [own])
    Credential.objects.all().delete()
    for loaded in serializers.deserialize("json", dumped):
        loaded.save()
    signing.forget()
    assert signing.keys_for("acme", now=timezone.now()).signing.kid == own.key_id


def test_a_dump_holds_no_secret_in_clear() -> None:
    file, credential = stored_p12()
    dumped = serializers.serialize("json", [Credential.objects.get(pk=credential.pk)])
    for secret in (file.data, enrolment.pkcs8(file.private_key), file.password.encode()):
        assert base64.b64encode(secret).decode() not in dumped
        assert secret.hex() not in dumped
    assert file.password not in dumped


def resealed(credential: Credential, plaintext: bytes, **columns: Any) -> None:
    """What somebody with the key ring itself could write."""
    context = keys.sealing_context(credential, "sealed_secret")
    sealed = seal(plaintext, context=context, ring=conf.keyring())
    enrolment.change(credential, sealed_secret=sealed, **columns)


def elliptic() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize("kind", ["elliptic", "text", "empty sequence"])
def test_what_opens_and_is_no_rsa_key_is_an_integrity_error(kind: str) -> None:
    row = enrolment.rsa_key(enrolment.organization(), purpose="signing")
    resealed(row, {"elliptic": elliptic(), "text": b"x", "empty sequence": b"\x30\x00"}[kind])
    with pytest.raises(SecretIntegrityError):
        signing.keys_for("acme")


def test_another_key_sealed_for_the_row_is_a_mismatch() -> None:
    row = enrolment.rsa_key(enrolment.organization(), purpose="signing")
    resealed(row, enrolment.pkcs8(material.rsa_key(name="another")))
    with pytest.raises(KeyMismatch):
        signing.keys_for("acme")


def test_a_shared_secret_opens_no_replies_whatever_its_row_says() -> None:
    acme = enrolment.organization()
    enrolment.shared_secret(acme)
    response = enrolment.rsa_key(acme)
    secret = material.shared_secret().secret.encode()
    fingerprint = inspection.secret_fingerprint(secret)
    resealed(response, secret, kind="shared_secret", fingerprint=fingerprint)
    with pytest.raises(KeyMismatch):
        signing.keys_for("acme")


# Under its own key ID and algorithm only


def stored_key(kind: str) -> Credential:
    acme = enrolment.organization()
    if kind == "shared secret":
        return enrolment.shared_secret(acme, secret=base64.b64encode(os.urandom(64)).decode())
    if kind == "p12":
        file = material.p12("acme", private_key=material.rsa_key(name="acme p12"))
        return enrolment.store(acme, enrolment.p12_inspection(file))
    enrolment.shared_secret(acme)
    return enrolment.rsa_key(acme)


CHANGED = [
    ("shared secret", {"key_id": "999", "live_key_id": "999"}),
    ("shared secret", {"algorithm": "HS512"}),
    ("p12", {"key_id": "999", "live_key_id": "999"}),
    ("p12", {"algorithm": "PS512"}),
    ("response", {"key_id": "999", "live_key_id": "999"}),
]


@pytest.mark.parametrize(("kind", "columns"), CHANGED, ids=str)
@pytest.mark.parametrize("warm", [True, False], ids=["opened before", "cold"])
def test_a_row_with_another_key_id_or_algorithm_signs_and_opens_nothing(
    kind: str, columns: dict[str, str], warm: bool
) -> None:
    own = stored_key(kind)
    if warm:
        opened_keys.material(own)
    Credential.objects.filter(pk=own.pk).update(**columns)
    signing._cache.clear()
    with pytest.raises(KeyMismatch):
        signing.keys_for("acme")


@pytest.mark.parametrize(("kind", "columns"), CHANGED, ids=str)
def test_the_doctor_names_such_a_row(kind: str, columns: dict[str, str]) -> None:
    own = stored_key(kind)
    enrolment.change(own, **columns)
    found = [each for each in proof.prove().findings() if each.finding == "mismatch"]
    assert [str(own.pk) in each.subject for each in found] == [True]


def as_it_was_sealed_before(credential: Credential) -> None:
    """The secret alone."""
    context = keys.sealing_context(credential, "sealed_secret")
    opened = open_blob(blob(credential), context=context, ring=conf.keyring())
    resealed(credential, key_payload.unpack(opened).secret)


@pytest.mark.parametrize("kind", ["shared secret", "p12", "response"])
def test_a_key_that_was_sealed_without_its_names_still_serves(kind: str) -> None:
    own = stored_key(kind)
    as_it_was_sealed_before(own)
    found = signing.keys_for("acme")
    assert own.key_id in {found.signing.kid, *found.response_keys}
    assert "mismatch" not in {each.finding for each in proof.prove().findings()}


@pytest.mark.parametrize("kind", ["p12", "response"])
def test_its_key_id_is_then_held_against_its_certificate(kind: str) -> None:
    own = stored_key(kind)
    as_it_was_sealed_before(own)
    enrolment.change(own, key_id="999", live_key_id="999")
    with pytest.raises(KeyMismatch):
        signing.keys_for("acme")
    enrolment.change(own, key_id=own.key_id, certificate="damaged")
    with pytest.raises(KeyMismatch):
        signing.keys_for("acme")


def test_names_never_mix_with_the_secret_behind_them() -> None:
    for secret in (b"", b"cybs-key", os.urandom(64), b"\0" * 70_000):
        packed = key_payload.pack(secret, key_id='a"\x00é', algorithm="RS256")
        found = key_payload.unpack(packed)
        assert (found.secret, found.key_id, found.algorithm) == (secret, 'a"\x00é', "RS256")
    assert key_payload.unpack(b"0\x82").key_id is None
    assert "redacted" in repr(found)
