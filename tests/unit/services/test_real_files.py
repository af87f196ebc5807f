"""Key files that the gateway issued for its public test accounts, where they are at hand."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import EncryptionImpossible, ExpiredKey, WrongKeyFile
from django_cybs_jwt.models import GatewayCertificate
from django_cybs_jwt.services import inspection
from django_cybs_jwt.services.inspection import Inspection, Wanted
from tests.unit.services import enrolment

FOLDER = os.environ.get("CYBS_SAMPLES_DIR", "")
MERCHANT = "agentic_mid_091225001"
AUTUMN = datetime(2026, 11, 1, tzinfo=UTC)

pytestmark = [
    pytest.mark.skipif(not FOLDER, reason="CYBS_SAMPLES_DIR does not say where the files are."),
    pytest.mark.django_db,
    pytest.mark.usefixtures("cybs_ring"),
]


def read(
    name: str, password: str, *, purpose: str = "signing", now: datetime = AUTUMN, key_id: str = ""
) -> Inspection:
    return inspection.inspect_file(
        Path(FOLDER, name).read_bytes(),
        password.encode(),
        Wanted(purpose=purpose, key_id=key_id),
        now=now,
    )


def test_a_signing_file_is_imported_and_signs_and_its_ended_certificate_encrypts_nothing() -> None:
    inspected = read(f"{MERCHANT}.p12", "Changeit@123")
    assert any("request-MLE certificate inside ended on 2026-07-26" in n for n in inspected.notices)
    row = enrolment.store(enrolment.organization(MERCHANT), inspected, now=AUTUMN)
    assert (row.common_name, f"{row.expires_at:%Y-%m-%d}") == (MERCHANT, "2028-09-12")
    assert f"{GatewayCertificate.objects.get().not_after:%Y-%m-%d}" == "2026-07-26"
    assert cybs.sign(MERCHANT, "GET", "/tss/v2/transactions/1").key_id == row.key_id
    with pytest.raises(EncryptionImpossible, match="2026-07-26"):
        cybs.sign(MERCHANT, "POST", "/pts/v2/payments", b"{}")


def test_a_signing_file_of_somebody_else_is_refused() -> None:
    inspected = read(f"{MERCHANT}.p12", "Changeit@123")
    with pytest.raises(WrongKeyFile, match=MERCHANT):
        enrolment.store(enrolment.organization("acme"), inspected, now=AUTUMN)


def test_a_response_file_is_imported_until_its_end() -> None:
    summer = datetime(2026, 7, 1, tzinfo=UTC)
    inspected = read(f"{MERCHANT}_mle.p12", "Changeit@123", purpose="response-mle", now=summer)
    row = enrolment.store(enrolment.organization(MERCHANT), inspected, now=summer)
    assert (row.algorithm, f"{row.expires_at:%Y-%m-%d}") == ("RSA-OAEP-256", "2026-09-15")
    with pytest.raises(ExpiredKey, match="2026-09-15"):
        read(f"{MERCHANT}_mle.p12", "Changeit@123", purpose="response-mle")


def test_an_encrypted_pem_is_imported_under_the_key_id_that_is_typed() -> None:
    inspected = read(
        "response_key_encrypted.pem", "Changeit@123", purpose="response-mle", key_id="typed-1"
    )
    row = enrolment.store(enrolment.organization(), inspected, now=AUTUMN)
    assert (row.kind, row.key_id) == ("private_key", "typed-1")


def test_an_old_file_is_refused_by_its_end() -> None:
    with pytest.raises(ExpiredKey, match="2021-11-25"):
        read("testrest.p12", "testrest")
