"""A P12 goes out again: the same key and certificates, a new password, modern encryption."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from django.utils import timezone

from django_cybs_jwt.exceptions import (
    ApprovalRequired,
    CybsError,
    InvalidTransition,
    KeyMaterialError,
    KeyMismatch,
    SecretIntegrityError,
    UnreadableKeyFile,
    WeakKey,
)
from django_cybs_jwt.models import Approval, Credential, KeyEvent, State
from django_cybs_jwt.services import approvals, export, inspection, withdrawal
from django_cybs_jwt.services.inspection import Wanted
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cybs_ring")]

NOW: Final = timezone.now()
NEW: Final = "battery-staple-9"
FILE: Final = material.p12("acme", private_key=material.rsa_key(name="acme export"))


@pytest.fixture
def key(cybs_ring: Any) -> Credential:
    return enrolment.store(enrolment.organization(), enrolment.p12_inspection(FILE))


@pytest.fixture
def four_eyes(key: Credential, settings: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "acme.p12"


def write(key: Credential, path: Path, *, password: str = NEW, reason: str = "moving") -> None:
    export.export(key, path, password, actor="alice", now=NOW, reason=reason)


def opened(path: Path, password: str = NEW) -> pkcs12.PKCS12KeyAndCertificates:
    """By the library alone, not by the reader of this package."""
    return pkcs12.load_pkcs12(path.read_bytes(), password.encode())


def exports() -> list[KeyEvent]:
    return list(KeyEvent.objects.filter(action="export", actor="alice").order_by("seq"))


# -- what is in the file


def test_export__holds_the_key_its_certificate_and_the_others_of_the_original(
    key: Credential, path: Path
) -> None:
    write(key, path)

    found = opened(path)
    assert found.key is not None
    assert found.cert is not None
    assert FILE.gateway is not None
    assert found.key.private_numbers() == FILE.private_key.private_numbers()  # type: ignore[union-attr]
    assert found.cert.certificate == FILE.certificate
    gateway, issuer = (other.certificate for other in found.additional_certs)
    assert gateway == FILE.gateway.certificate
    assert issuer.subject == material.issuer_certificate().subject


def test_export__names_certificates_as_the_gateway_does(key: Credential, path: Path) -> None:
    write(key, path)

    found = opened(path)
    assert found.cert is not None
    assert FILE.gateway is not None
    names = [entry.friendly_name for entry in (found.cert, *found.additional_certs)]
    assert names == [
        f"serialNumber={FILE.kid},CN=acme".encode(),
        f"serialNumber={FILE.gateway.kid},CN=CyberSource_SJC_US".encode(),
        b"CN=CyberSourceCertAuth",
    ]


def test_export__opens_with_the_new_password_only(key: Credential, path: Path) -> None:
    write(key, path)

    with pytest.raises(ValueError, match="password"):
        opened(path, FILE.password)


def test_export__can_be_imported_again(key: Credential, path: Path) -> None:
    write(key, path)

    found = inspection.inspect_file(
        path.read_bytes(), NEW.encode(), Wanted(purpose="signing"), now=NOW
    )
    assert (found.key_id, found.fingerprint) == (key.key_id, key.fingerprint)
    assert found.issued_by_gateway
    assert len(found.gateway_certificates) == 1


def test_export__of_a_key_with_several_certificates_names_its_own(path: Path) -> None:
    wanted = Wanted(purpose="signing", owner="acme")
    data, password = enrolment.twice_named_p12(), material.PASSWORD.encode()
    inspected = inspection.inspect_file(data, password, wanted, now=NOW)
    write(enrolment.store(enrolment.organization(), inspected), path)

    found = opened(path).cert
    assert found is not None
    assert found.friendly_name == f"serialNumber={'1' * 22},CN=acme".encode()


def test_key_that_has_ended__can_still_be_exported(path: Path) -> None:
    born = NOW - timedelta(days=400)
    file = material.p12(
        "acme",
        private_key=material.rsa_key(name="acme export"),
        not_before=born,
        not_after=NOW - timedelta(days=1),
    )
    inspected = inspection.inspect_file(
        file.data, file.password.encode(), Wanted(purpose="signing"), now=born + timedelta(days=1)
    )
    imported = born + timedelta(days=1)
    key = enrolment.store(enrolment.organization(), inspected, now=imported)

    write(key, path)

    assert opened(path).key is not None


@pytest.mark.parametrize("with_certificate", [True, False])
def test_pem_key__becomes_a_p12_with_what_came_with_it(path: Path, with_certificate: bool) -> None:
    inspected = enrolment.rsa_inspection("acme", purpose="signing")
    if not with_certificate:
        inspected = replace(inspected, certificate=None, issued_by_gateway=False)
    key = enrolment.store(enrolment.organization(), inspected)

    write(key, path)

    found = opened(path)
    own = found.cert.certificate.public_bytes(Encoding.PEM).decode() if found.cert else ""
    assert own == key.certificate
    assert bool(own) is with_certificate
    assert found.key.private_numbers() == (  # type: ignore[union-attr]
        material.rsa_key(name="acme signing").private_numbers()
    )


# -- the file itself


def test_file__is_its_owners_alone_whatever_the_umask(key: Credential, path: Path) -> None:
    before = os.umask(0)
    try:
        write(key, path)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_key__lies_in_no_other_file(
    key: Credential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, target = tmp_path / "scratch", tmp_path / "target"
    scratch.mkdir()
    target.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(scratch)

    write(key, target / "acme.p12")

    assert list(scratch.iterdir()) == []
    assert [entry.name for entry in target.iterdir()] == ["acme.p12"]


@pytest.fixture(params=["file", "directory", "dangling link"])
def taken(request: pytest.FixtureRequest, path: Path) -> Iterator[Path]:
    if request.param == "file":
        path.write_text("mine")
    elif request.param == "directory":
        path.mkdir()
    else:
        path.symlink_to(path.with_name("elsewhere"))
    yield path
    assert not path.with_name("elsewhere").exists()


@pytest.mark.usefixtures("four_eyes")
def test_path_that_is_taken__is_left_alone_and_uses_no_approval_up(
    key: Credential, taken: Path
) -> None:
    approval = approve(key)

    with pytest.raises(FileExistsError):
        write(key, taken)

    assert not taken.is_file() or taken.read_text() == "mine"
    assert Approval.objects.get(pk=approval.pk).status == Approval.Status.GRANTED
    assert exports() == []


def test_disk_that_is_full__leaves_no_half_file_and_an_audit_row(
    key: Credential, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space"):
        write(key, path)

    assert not path.exists()
    assert [event.outcome for event in exports()] == ["done"]


# -- what is refused


def shared_secret(key: Credential) -> Credential:
    return enrolment.shared_secret(enrolment.organization("other"))


def destroyed(key: Credential) -> Credential:
    row = withdrawal.retire(key, actor="tests", now=NOW, reason="over")
    return withdrawal.destroy(row, actor="tests", now=NOW, reason="over")


def another_keys_file(key: Credential) -> Credential:
    file = material.p12("other", private_key=material.rsa_key(name="other export"))
    other = enrolment.store(enrolment.organization("other"), enrolment.p12_inspection(file))
    enrolment.change(key, sealed_p12=bytes(Credential.objects.get(pk=other.pk).sealed_p12 or b""))
    return key


def no_file(key: Credential) -> Credential:
    enrolment.change(key, sealed_p12=None)
    return key


def another_fingerprint(key: Credential) -> Credential:
    enrolment.change(key, fingerprint="0" * 64)
    return key


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (shared_secret, KeyMaterialError),
        (destroyed, InvalidTransition),
        (another_keys_file, SecretIntegrityError),
        (no_file, SecretIntegrityError),
        (another_fingerprint, KeyMismatch),
    ],
)
def test_refusal__leaves_no_file_and_a_denied_audit_row(
    key: Credential, path: Path, spoil: Any, error: type[CybsError]
) -> None:
    spoilt = spoil(key)

    with pytest.raises(error):
        write(spoilt, path)

    assert not path.exists()
    assert [event.outcome for event in exports()] == ["denied"]


@pytest.mark.parametrize(
    ("password", "error"),
    [("", WeakKey), ("elevenchars", WeakKey), ("twelve chars\0", UnreadableKeyFile)],
)
def test_password_that_is_short_or_unreadable__is_refused(
    key: Credential, path: Path, password: str, error: type[CybsError]
) -> None:
    with pytest.raises(error) as caught:
        write(key, path, password=password)

    assert not path.exists()
    assert password == "" or password not in str(caught.value)


def test_reason__is_needed(key: Credential, path: Path) -> None:
    with pytest.raises(InvalidTransition, match="reason"):
        write(key, path, reason="")

    assert not path.exists()


# -- the audit trail, and two people


def approve(key: Credential) -> Approval:
    asked = approvals.request(approvals.EXPORT, key, actor="alice", now=NOW)
    return approvals.approve(asked.pk, actor="bob", now=NOW)


def test_audit_row__names_key_path_and_reason_and_no_secret(key: Credential, path: Path) -> None:
    write(key, path)

    (event,) = exports()
    assert (event.outcome, event.fingerprint) == ("done", key.fingerprint)
    assert event.reason == f"{path}: moving"
    assert NEW not in event.reason
    assert FILE.password not in event.reason


@pytest.mark.usefixtures("four_eyes")
def test_export__takes_two_people_each_time(key: Credential, path: Path) -> None:
    with pytest.raises(ApprovalRequired):
        write(key, path)
    assert not path.exists()
    approve(key)

    write(key, path)

    assert opened(path).key is not None
    with pytest.raises(ApprovalRequired):
        write(key, path.with_name("again.p12"))


@pytest.mark.usefixtures("four_eyes")
def test_approval_to_destroy__does_not_export(key: Credential, path: Path) -> None:
    asked = approvals.request("destroy", key, actor="alice", now=NOW)
    approvals.approve(asked.pk, actor="bob", now=NOW)

    with pytest.raises(ApprovalRequired):
        write(key, path)


def test_export__changes_nothing_about_the_key(key: Credential, path: Path) -> None:
    before = Credential.objects.values().get(pk=key.pk)

    write(key, path)

    assert Credential.objects.values().get(pk=key.pk) == before
    assert before["state"] == State.ACTIVE
