"""Importing a key: what is stored, what is refused, and that a refusal stores nothing."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from django_cybs_jwt.exceptions import (
    CybsError,
    DuplicateKey,
    ExpiredKey,
    InvalidTransition,
    OrganizationConflict,
    WrongKeyFile,
)
from django_cybs_jwt.models import (
    Credential,
    GatewayCertificate,
    KeyEvent,
    KeySlot,
    Organization,
    State,
)
from django_cybs_jwt.protocol.keys import spki_fingerprint
from django_cybs_jwt.services import inspection, keys, rotation, signing, withdrawal
from django_cybs_jwt.services.inspection import Inspection, Wanted
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]

DAY = timedelta(days=1)


def key(name: str) -> Any:
    return material.rsa_key(name=f"import {name}")


def p12(org_id: str = "acme", **options: Any) -> material.P12File:
    return material.p12(org_id, **{"private_key": key(org_id)} | options)


def read(
    data: bytes, password: str | None = material.PASSWORD, purpose: str = "signing", **wanted: Any
) -> Inspection:
    secret = None if password is None else password.encode()
    return inspection.inspect_file(
        data, secret, Wanted(purpose=purpose, **wanted), now=timezone.now()
    )


def read_secret(text: str, key_id: str = "k", **wanted: Any) -> Inspection:
    return inspection.inspect_shared_secret(
        text, Wanted(purpose="signing", key_id=key_id, **wanted), now=timezone.now()
    )


def pem(private_key: Any, password: str | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    data: bytes = private_key.private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return data


def counts() -> tuple[int, ...]:
    return tuple(
        model.objects.count() for model in (Credential, KeySlot, GatewayCertificate, Organization)
    )


# What is stored


def test_a_p12_is_stored_with_its_facts_in_clear_and_its_secrets_sealed() -> None:
    file = p12()
    row = enrolment.store(enrolment.organization(), read(file.data), activate=False)
    row = Credential.objects.get(pk=row.pk)
    certificate = file.certificate
    assert (row.kind, row.key_id, row.algorithm, row.state) == ("p12", file.kid, "RS256", "STAGED")
    assert (row.common_name, row.serial) == ("acme", str(certificate.serial_number))
    assert (row.not_before, row.not_after) == (
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
    assert row.expires_at == row.not_after
    assert row.certificate == certificate.public_bytes(Encoding.PEM).decode()
    assert row.fingerprint == spki_fingerprint(file.private_key.public_key())
    assert (row.uploaded_by, row.live_key_id) == ("tests", file.kid)
    assert row.staged_at is not None
    assert row.activated_at is None
    assert row.sealed_secret.startswith(b"CJE1")
    assert row.sealed_p12.startswith(b"CJE1")


def test_a_staged_key_does_not_sign() -> None:
    enrolment.store(enrolment.organization(), read(p12().data), activate=False)
    with pytest.raises(CybsError, match="No active signing key"):
        signing.keys_for("acme")


def test_an_activated_key_signs() -> None:
    file = p12()
    row = enrolment.store(enrolment.organization(), read(file.data))
    assert row.state == State.ACTIVE
    assert row.active_slot == row.slot
    assert signing.keys_for("acme").signing.kid == file.kid


def test_a_p12s_request_mle_certificate_is_kept_for_its_owner_alone() -> None:
    file = p12()
    acme = enrolment.organization()
    enrolment.store(acme, read(file.data))
    assert file.gateway is not None
    row = GatewayCertificate.objects.get()
    assert (row.organization, row.host, row.key_id) == (acme, acme.host, file.gateway.kid)
    assert row.source == f"P12 {file.kid}"
    assert row.preferred is False


def test_one_request_mle_certificate_in_two_files_belongs_to_both_keys() -> None:
    acme = enrolment.organization()
    gateway = material.gateway_certificate()
    enrolment.store(acme, read(p12(gateway=gateway).data))
    second = p12(gateway=gateway, private_key=key("response"))
    enrolment.store(acme, read(second.data, purpose="response-mle"))
    rows = GatewayCertificate.objects.filter(key_id=gateway.kid)
    assert rows.values("credential").distinct().count() == 2


def test_an_upload_redirects_no_encryption_before_its_key_is_used() -> None:
    acme = enrolment.organization()
    enrolment.store(acme, read(p12().data))
    before = signing.keys_for("acme").gateway_certificate
    forged = material.gateway_certificate(not_before=timezone.now() - DAY / 24)
    upload = read(p12(gateway=forged, private_key=key("second")).data)
    staged = keys.stage(acme, upload, actor="mallory", now=timezone.now())
    signing.forget()

    after = signing.keys_for("acme").gateway_certificate

    assert staged.state == "STAGED"
    assert before is not None
    assert after is not None
    assert after.kid == before.kid != forged.kid
    assert GatewayCertificate.stored.filter(key_id=forged.kid).count() == 1


def test_a_p12_with_an_ended_request_mle_certificate_still_signs() -> None:
    ended = material.gateway_certificate(
        not_before=timezone.now() - 2 * DAY, not_after=timezone.now() - DAY
    )
    enrolment.store(enrolment.organization(), read(p12(gateway=ended).data))
    found = signing.keys_for("acme").gateway_certificate
    assert found is not None
    assert found.kid == ended.kid  # to be named in the error of who wants to encrypt
    assert not found.is_valid(timezone.now())


@pytest.mark.parametrize("password", [None, material.PASSWORD], ids=["clear", "encrypted"])
def test_a_pem_key_is_stored_under_the_key_id_that_is_typed(password: str | None) -> None:
    data = pem(key("pem"), password)
    row = enrolment.store(
        enrolment.organization(), read(data, password, purpose="response-mle", key_id="123")
    )
    assert (row.kind, row.key_id, row.algorithm) == ("private_key", "123", "RSA-OAEP-256")
    assert (row.certificate, row.expires_at, row.sealed_p12) == ("", None, None)


def test_a_pem_key_without_a_key_id_is_refused_with_the_place_to_find_it() -> None:
    with pytest.raises(WrongKeyFile, match="--key-id"):
        read(pem(key("pem")), None)


def test_a_shared_secret_is_stored_with_its_typed_end() -> None:
    file = material.shared_secret()
    end = timezone.now() + DAY
    row = enrolment.store(
        enrolment.organization(), read_secret(file.secret, file.key_id, expires_at=end)
    )
    assert (row.kind, row.key_id, row.algorithm) == ("shared_secret", file.key_id, "HS256")
    assert row.expires_at == end
    assert row.fingerprint not in base64.b64decode(file.secret).hex()


def test_a_shared_secret_without_an_end_is_noted() -> None:
    file = material.shared_secret()
    assert read_secret(file.secret).notices == ("No end is stored: a shared secret carries none.",)


def test_the_fingerprint_of_a_shared_secret_is_no_bare_hash(
    settings: Any, cybs_ring: dict[str, Any]
) -> None:
    secret = material.shared_secret().secret
    here = read_secret(secret).fingerprint
    other = {**cybs_ring, "index_key": material.shared_secret().secret}
    settings.CYBS_JWT = {"KEYRING": other}
    assert read_secret(secret).fingerprint != here


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_an_rsa_key_signs_with_the_algorithm_that_is_chosen(algorithm: str) -> None:
    row = enrolment.store(
        enrolment.organization(), read(pem(key("pem")), None, key_id="1", algorithm=algorithm)
    )
    assert row.algorithm == algorithm
    assert signing.keys_for("acme").signing.algorithm == algorithm


# Stored already


def test_the_same_file_twice_is_refused() -> None:
    acme, file = enrolment.organization(), p12()
    enrolment.store(acme, read(file.data), activate=False)
    before = counts()
    with pytest.raises(DuplicateKey, match=f"stored already: {file.kid}, STAGED"):
        enrolment.store(acme, read(file.data), activate=False)
    assert counts() == before


def test_another_key_under_a_key_id_that_is_stored_is_refused() -> None:
    acme = enrolment.organization()
    enrolment.shared_secret(acme, key_id="one")
    with pytest.raises(DuplicateKey, match="has a key one already"):
        enrolment.shared_secret(acme, key_id="one", activate=False)


@pytest.mark.parametrize("state", [State.ACTIVE, State.RETIRED, State.SUSPENDED])
def test_a_shared_secret_of_any_version_is_not_stored_again(state: State) -> None:
    acme, secret = enrolment.organization(), material.shared_secret().secret
    enrolment.put(enrolment.shared_secret(acme, secret=secret), state)
    with pytest.raises(DuplicateKey):
        enrolment.shared_secret(acme, secret=secret, activate=False)


def test_a_compromised_key_does_not_come_back_though_it_was_destroyed() -> None:
    acme, secret = enrolment.organization(), material.shared_secret().secret
    row = enrolment.shared_secret(acme, secret=secret)
    for step in (withdrawal.compromise, withdrawal.destroy):
        step(row, actor="tests", now=timezone.now(), reason="found in a mailbox")
        for slot in ("default", "other"):
            with pytest.raises(DuplicateKey, match=r"compromised on 20.*make a new one"):
                enrolment.shared_secret(acme, secret=secret, slot=slot)


@pytest.mark.parametrize(
    ("org_id", "host"), [("acme", enrolment.OTHER_HOST), ("other", enrolment.HOST)]
)
def test_a_compromised_key_is_stored_for_nobody_on_no_host(org_id: str, host: str) -> None:
    secret = material.shared_secret().secret
    row = enrolment.shared_secret(enrolment.organization(), secret=secret)
    withdrawal.compromise(row, actor="tests", now=timezone.now(), reason="found in a mailbox")
    with pytest.raises(DuplicateKey, match=r"compromised on 20.*make a new one"):
        enrolment.shared_secret(enrolment.organization(org_id, host=host), secret=secret)


def test_a_destroyed_key_that_nobody_else_has_may_come_back() -> None:
    acme, secret = enrolment.organization(), material.shared_secret().secret
    row = enrolment.shared_secret(acme, secret=secret, activate=False)
    for step in (withdrawal.retire, withdrawal.destroy):
        step(row, actor="tests", now=timezone.now(), reason="tidied")
    assert enrolment.shared_secret(acme, secret=secret).state == State.ACTIVE


@pytest.mark.parametrize("other_host", [enrolment.HOST, enrolment.OTHER_HOST])
def test_the_same_key_at_another_merchant_is_refused(other_host: str) -> None:
    secret = material.shared_secret().secret
    enrolment.shared_secret(enrolment.organization(), secret=secret)
    with pytest.raises(DuplicateKey, match=f"stored for acme@{enrolment.HOST} already"):
        enrolment.shared_secret(enrolment.organization("other", host=other_host), secret=secret)


def test_the_same_rsa_key_at_another_merchant_is_refused_even_for_another_purpose() -> None:
    enrolment.store(enrolment.organization(), read(pem(key("pem")), None, key_id="1"))
    with pytest.raises(DuplicateKey):
        enrolment.store(
            enrolment.organization("other"),
            read(pem(key("pem")), None, purpose="response-mle", key_id="2"),
        )


def test_one_id_may_use_one_key_on_two_hosts_of_a_side() -> None:
    file = p12()
    for host in (enrolment.HOST, enrolment.OTHER_HOST):
        enrolment.store(enrolment.organization(host=host), read(file.data))
    assert signing.keys_for(f"acme@{enrolment.OTHER_HOST}").signing.kid == file.kid


def test_a_test_key_is_refused_on_the_live_side_of_the_same_id() -> None:
    file = p12()
    enrolment.store(enrolment.organization(), read(file.data))
    live = enrolment.organization(host=enrolment.LIVE_HOST)
    with pytest.raises(DuplicateKey):
        enrolment.store(live, read(file.data))


# Validity


def test_an_ended_certificate_is_refused() -> None:
    now = timezone.now()
    file = p12(not_before=now - 3 * DAY, not_after=now - DAY)
    with pytest.raises(ExpiredKey):
        read(file.data)


@pytest.mark.parametrize("end", [timezone.now() - DAY, datetime(2020, 1, 1, tzinfo=UTC)])
def test_a_typed_end_that_is_over_is_refused(end: datetime) -> None:
    with pytest.raises(ExpiredKey, match=f"{end:%Y-%m-%d}"):
        read_secret(material.shared_secret().secret, expires_at=end)


def test_a_typed_end_shortens_a_certificate_and_never_prolongs_it() -> None:
    file = p12()
    ends = file.certificate.not_valid_after_utc
    assert read(file.data, expires_at=ends - DAY).expires_at == ends - DAY
    assert read(file.data, expires_at=ends + DAY).expires_at == ends


def test_a_certificate_that_has_not_begun_may_be_staged_and_not_activated() -> None:
    acme = enrolment.organization()
    begin = timezone.now() + DAY
    file = p12(not_before=begin, not_after=begin + DAY)
    before = counts()
    with pytest.raises(InvalidTransition, match=f"begins on {begin:%Y-%m-%d}"):
        enrolment.store(acme, read(file.data))
    assert counts() == before
    staged = enrolment.store(acme, read(file.data), activate=False)
    assert staged.state == State.STAGED
    assert rotation.activate(staged, actor="tests", now=begin).state == State.ACTIVE


def test_a_key_that_ended_while_staged_cannot_be_activated() -> None:
    end = timezone.now() + DAY
    staged = enrolment.shared_secret(enrolment.organization(), expires_at=end, activate=False)
    with pytest.raises(InvalidTransition, match="ended on"):
        rotation.activate(staged, actor="tests", now=end)


# First activation


def test_only_the_first_key_of_a_slot_is_activated_at_import_and_a_later_one_is_not_stored() -> (
    None
):
    acme = enrolment.organization()
    enrolment.shared_secret(acme)
    before = counts()
    with pytest.raises(InvalidTransition, match="verify the key and rotate"):
        enrolment.store(acme, read(p12().data))
    assert counts() == before


def test_the_first_key_of_another_slot_is_activated() -> None:
    acme = enrolment.organization()
    enrolment.shared_secret(acme)
    assert enrolment.rsa_key(acme).state == State.ACTIVE
    assert enrolment.shared_secret(acme, slot="second").state == State.ACTIVE


def test_a_slot_that_once_had_an_active_key_takes_none_unverified() -> None:
    acme = enrolment.organization()
    first = enrolment.shared_secret(acme)
    withdrawal.retire(first, actor="tests", now=timezone.now(), reason="left")
    with pytest.raises(InvalidTransition):
        enrolment.shared_secret(acme)


def test_a_staged_key_may_be_made_the_first_later() -> None:
    staged = enrolment.shared_secret(enrolment.organization(), activate=False)
    active = rotation.activate(staged, actor="tests", now=timezone.now())
    assert (active.state, active.lock_version) == (State.ACTIVE, 1)
    assert KeyEvent.objects.filter(action="activate", outcome="done").count() == 1


@pytest.mark.parametrize("state", [State.RETIRED, State.SUSPENDED, State.COMPROMISED])
def test_a_key_in_another_state_is_not_activated(state: State) -> None:
    staged = enrolment.shared_secret(enrolment.organization(), activate=False)
    enrolment.put(staged, state)
    with pytest.raises(InvalidTransition):
        rotation.activate(staged, actor="tests", now=timezone.now())


def test_a_transacting_merchant_cannot_own_a_meta_key() -> None:
    with pytest.raises(OrganizationConflict, match="cannot own a meta key"):
        enrolment.shared_secret(enrolment.organization(), covers="all")


def test_a_slot_keeps_its_coverage() -> None:
    portfolio = enrolment.organization("portfolio", kind="portfolio")
    enrolment.shared_secret(portfolio, covers="selected")
    with pytest.raises(OrganizationConflict, match="covers 'Selected merchants' already"):
        enrolment.shared_secret(portfolio, covers="all", activate=False)
    again = enrolment.shared_secret(portfolio, activate=False)
    assert again.slot.coverage == "selected"
