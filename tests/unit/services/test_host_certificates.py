"""Request-MLE certificates: whose they are, and which one is used."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import (
    EncryptionImpossible,
    ExpiredKey,
    InvalidHost,
    KeyMaterialError,
    WeakKey,
    WrongKeyFile,
)
from django_cybs_jwt.models import Credential, GatewayCertificate, KeyEvent, Organization
from django_cybs_jwt.services import epoch, gateway_certificates, rotation, signing, withdrawal
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST, OTHER_HOST

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

DAY = timedelta(days=1)


def made(name: str, **options: Any) -> material.GatewayMaterial:
    return material.gateway_certificate(private_key=material.rsa_key(name=f"gw {name}"), **options)


def add(
    gateway: material.GatewayMaterial, *, host: str = HOST, preferred: bool = False
) -> GatewayCertificate:
    return gateway_certificates.add(
        gateway.pem.encode(), host=host, actor="tests", now=timezone.now(), preferred=preferred
    )


def made_again(row: GatewayCertificate) -> material.GatewayMaterial:
    certificate = x509.load_pem_x509_certificate(row.certificate.encode())
    key = material.rsa_key(name="gw own")
    return material.GatewayMaterial(
        certificate=certificate, private_key=key, kid=row.key_id, pem=row.certificate
    )


def remove(key_id: str) -> list[GatewayCertificate]:
    return gateway_certificates.remove(key_id, host=HOST, actor="tests", now=timezone.now())


def merchant(gateway: material.GatewayMaterial | None, org_id: str = "acme") -> Organization:
    owner = enrolment.organization(org_id)
    certificate = gateway.certificate if gateway else None
    enrolment.rsa_key(owner, purpose="signing", gateway=certificate)
    return owner


def used(org_id: str = "acme") -> str | None:
    signing.forget()
    found = signing.keys_for(org_id).gateway_certificate
    return found.kid if found else None


def test_without_any_certificate_encryption_is_an_error_that_names_the_cure() -> None:
    merchant(None)
    with pytest.raises(EncryptionImpossible, match="cybs_gateway_cert add"):
        cybs.sign("acme", "POST", "/pts/v2/payments", b"{}", mle=True)


def test_the_owners_own_certificate_goes_before_the_hosts() -> None:
    own = made("own")
    merchant(own)
    add(made("host"))
    assert used() == own.kid


def test_a_preferred_certificate_of_the_host_goes_before_the_owners() -> None:
    merchant(made("own"))
    preferred = made("preferred")
    add(preferred, preferred=True)
    assert used() == preferred.kid


def test_the_newest_valid_one_of_the_owner_is_used() -> None:
    now = timezone.now()
    owner = merchant(made("old", not_before=now - 9 * DAY))
    newer = made("new", not_before=now - DAY)
    enrolment.rsa_key(owner, gateway=newer.certificate)
    future = made("future", not_before=now + DAY)
    enrolment.shared_secret(owner, slot="other")
    gateway_certificates.keep(owner, [future.certificate], owner.credentials.first())
    assert used() == newer.kid


def test_a_valid_certificate_of_the_host_goes_before_the_owners_ended_one() -> None:
    now = timezone.now()
    merchant(made("ended", not_before=now - 9 * DAY, not_after=now - DAY))
    shared = made("host")
    add(shared)
    assert used() == shared.kid


def test_a_valid_own_certificate_goes_before_an_ended_preferred_one() -> None:
    own = made("own")
    merchant(own)
    row = add(made("preferred"), preferred=True)
    GatewayCertificate.objects.filter(pk=row.pk).update(not_after=timezone.now() - DAY)
    assert used() == own.kid


def test_an_ended_certificate_is_named_in_the_error_and_nothing_goes_out_in_clear() -> None:
    now = timezone.now()
    ended = made("ended", not_before=now - 9 * DAY, not_after=now - DAY)
    merchant(ended)
    with pytest.raises(EncryptionImpossible, match=f"{ended.kid} is valid from"):
        cybs.sign("acme", "POST", "/pts/v2/payments", b"{}")


def test_a_certificate_of_the_host_serves_its_host_only() -> None:
    merchant(None)
    add(made("elsewhere"), host=OTHER_HOST)
    assert used() is None


def test_a_certificate_in_one_merchants_upload_serves_no_other() -> None:
    merchant(made("own"))
    merchant(None, "other")
    assert used("other") is None


def rotated_from(gateway: material.GatewayMaterial) -> Credential:
    """The retired key whose file carried the only certificate; another one signs."""
    owner, now = merchant(gateway), timezone.now()
    old = Credential.objects.get(organization=owner)
    new = enrolment.shared_secret(owner, activate=False)
    rotation.rotate(new, actor="tests", now=now, overlap=0 * DAY, force=True, reason="test")
    return old


@pytest.mark.parametrize("verbs", [["suspend"], ["suspend", "resume"], ["destroy"]])
def test_a_certificate_that_came_into_use_stays_whatever_becomes_of_its_key(
    verbs: list[str],
) -> None:
    gateway = made("own")
    old = rotated_from(gateway)
    assert used() == gateway.kid
    for verb in verbs:
        getattr(withdrawal, verb)(old, actor="tests", now=timezone.now(), reason="tidied")
        assert used() == gateway.kid


def test_a_compromised_keys_file_is_trusted_no_more_nor_what_it_carried() -> None:
    old = rotated_from(made("own"))
    withdrawal.compromise(old, actor="tests", now=timezone.now(), reason="a forged upload")
    assert used() is None
    with pytest.raises(EncryptionImpossible, match="cybs_gateway_cert add"):
        cybs.sign("acme", "POST", "/pts/v2/payments", b"{}", mle=True)


def test_what_a_planned_key_brings_is_used_from_its_time_on_ticked_or_not() -> None:
    now = timezone.now()
    ended, fresh = made("own", not_after=now - DAY, not_before=now - 9 * DAY), made("fresh")
    owner = merchant(ended)
    inspected = enrolment.rsa_inspection(
        "acme",
        purpose="signing",
        key=material.rsa_key(name="planned"),
        gateway=fresh.certificate,
    )
    planned = enrolment.store(owner, inspected, activate=False)
    enrolment.change(planned, activate_at=timezone.now())
    signed = cybs.sign("acme", "POST", "/pts/v2/payments", b"{}")
    assert (signed.key_id, signed.request_mle_kid) == (planned.key_id, fresh.kid)
    rotation.carry_out_due(now=timezone.now())
    assert used() == fresh.kid


@pytest.mark.parametrize("verb", ["suspend", "retire", "compromise"])
def test_a_certificate_whose_key_was_never_used_comes_into_use_by_no_other_step(verb: str) -> None:
    owner = merchant(None)
    inspected = enrolment.rsa_inspection("acme", gateway=made("own").certificate)
    row = enrolment.store(owner, inspected, activate=False)
    getattr(withdrawal, verb)(row, actor="tests", now=timezone.now(), reason="not meant")
    assert used() is None


def test_under_a_meta_key_the_key_owners_certificate_is_used_not_the_merchants() -> None:
    portfolio, _, acme = enrolment.family()
    owners, merchants = made("owners"), made("merchants")
    enrolment.rsa_key(portfolio, purpose="signing", covers="all", gateway=owners.certificate)
    gateway_certificates.keep(acme, [merchants.certificate], portfolio.credentials.get())
    assert used() == owners.kid


def test_adding_is_audited_with_kid_and_fingerprint() -> None:
    row = add(made("host"))
    event = KeyEvent.objects.get()
    assert (event.action, event.organization) == ("gateway-cert", f"@{HOST}")
    assert event.reason == f"kid {row.key_id} fingerprint {row.fingerprint}"
    assert row.source == "added by tests"


def test_a_certificate_that_is_not_the_gateways_is_refused_with_the_setting_that_names_it(
    settings: Any,
) -> None:
    merchants = made("acme", common_name="acme")
    with pytest.raises(WrongKeyFile, match="'acme', not of the gateway") as no:
        add(merchants)
    assert "(CyberSource_SJC_US)" in str(no.value)
    assert "GATEWAY_CERTIFICATE_NAMES" in str(no.value)
    assert not GatewayCertificate.objects.exists()
    settings.CYBS_JWT = {**settings.CYBS_JWT, "GATEWAY_CERTIFICATE_NAMES": ["ACME"]}
    assert add(merchants).common_name == "acme"


def test_the_one_that_is_preferred_last_goes_first_whatever_began_later() -> None:
    now = timezone.now()
    merchant(None)
    older, newer = made("older", not_before=now - 9 * DAY), made("newer", not_before=now - DAY)
    elsewhere = add(made("elsewhere"), host=OTHER_HOST, preferred=True)
    add(newer, preferred=True)
    add(older, preferred=True)
    assert used() == older.kid
    assert KeyEvent.objects.latest("seq").reason.endswith(f"; no longer preferred: {newer.kid}")
    add(newer, preferred=True)
    assert used() == newer.kid
    elsewhere.refresh_from_db()
    assert elsewhere.preferred


def test_two_that_were_preferred_at_once_are_put_in_order_by_one_that_is_there() -> None:
    row, _other = add(made("one"), preferred=True), add(made("two"))
    GatewayCertificate.objects.update(preferred=True)
    add(made_again(row), preferred=True)
    assert list(GatewayCertificate.objects.filter(preferred=True)) == [row]
    events = KeyEvent.objects.count()
    add(made_again(row), preferred=True)
    assert KeyEvent.objects.count() == events, "nothing changed"


def test_what_was_added_can_be_taken_back_which_is_audited_and_told_to_all() -> None:
    own = made("own")
    merchant(own)
    row = add(made("wrong"), preferred=True)
    assert used() == row.key_id
    before = epoch.value()
    (removed,) = remove(row.key_id)
    assert removed == row
    assert used() == own.kid
    assert epoch.value() != before
    event = KeyEvent.objects.latest("seq")
    assert (event.action, event.organization) == ("gateway-cert-remove", f"@{HOST}")
    assert event.reason == f"kid {row.key_id} fingerprint {row.fingerprint}"


def test_what_came_with_a_p12_or_serves_another_host_is_not_taken_back() -> None:
    own, elsewhere = made("own"), made("elsewhere")
    merchant(own)
    add(elsewhere, host=OTHER_HOST)
    with pytest.raises(WrongKeyFile, match="came with an organization's P12"):
        remove(own.kid)
    assert remove(elsewhere.kid) == []
    assert GatewayCertificate.objects.count() == 2


def test_der_is_taken_too() -> None:
    gateway = made("host")
    row = gateway_certificates.add(
        gateway.certificate.public_bytes(Encoding.DER),
        host=HOST,
        actor="tests",
        now=timezone.now(),
    )
    assert row.certificate == gateway.pem


def test_an_ended_certificate_is_not_added() -> None:
    now = timezone.now()
    with pytest.raises(ExpiredKey, match="Get the newer one"):
        add(made("ended", not_before=now - 9 * DAY, not_after=now - DAY))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", KeyMaterialError),
        (b"not a certificate", KeyMaterialError),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", KeyMaterialError),
        (b"\x30\x82" + bytes(70_000), KeyMaterialError),
    ],
    ids=["empty", "text", "broken", "long"],
)
def test_what_is_no_certificate_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        gateway_certificates.add(data, host=HOST, actor="tests", now=timezone.now())


def test_a_private_key_is_not_taken_for_a_certificate_and_not_repeated() -> None:
    key = material.rsa_key(name="gw own")
    from tests.unit.services.enrolment import serialization

    text = key.private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(WrongKeyFile) as caught:
        gateway_certificates.add(text, host=HOST, actor="tests", now=timezone.now())
    assert text.decode().splitlines()[1] not in str(caught.value)


def test_a_weak_certificate_is_refused_for_a_host_and_left_out_of_an_upload() -> None:
    weak = material.gateway_certificate(private_key=material.rsa_key(1024, name="weak"))
    with pytest.raises(WeakKey):
        add(weak)
    merchant(weak)
    assert not GatewayCertificate.objects.exists()


def test_a_bad_host_is_refused() -> None:
    with pytest.raises(InvalidHost):
        add(made("host"), host="https://apitest.cybersource.com/")


def test_hosts_in_use_without_a_valid_certificate_are_counted() -> None:
    now = timezone.now()
    merchant(None)
    merchant(None, "second")
    merchant(made("own"), "third")
    enrolment.shared_secret(enrolment.organization("staged"), activate=False)
    assert gateway_certificates.hosts_without_certificate(now=now) == {HOST: 2}
    add(made("host"))
    assert gateway_certificates.hosts_without_certificate(now=timezone.now()) == {}
