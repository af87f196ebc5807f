"""cybs_doctor: exit codes, and a list of findings that a machine reads."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from django_cybs_jwt.models import JobRun
from django_cybs_jwt.services import alerts, gateway_certificates
from django_cybs_jwt.testing import material
from tests.unit.management.running import run
from tests.unit.services import enrolment
from tests.unit.services.sealed_keys import key, use_ring

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def healthy(settings: Any, cybs_ring: dict[str, Any]) -> None:
    use_ring(settings, "old")
    now = timezone.now()
    pem = material.gateway_certificate().pem.encode()
    gateway_certificates.add(pem, host=enrolment.HOST, actor="tests", now=now)
    JobRun.objects.create(name=alerts.JOB, succeeded_at=now)


def test_nothing_found_is_0() -> None:
    key()
    ended = run("cybs_doctor")
    assert (ended.code, ended.out) == (0, "2 secrets open under old.\nNothing found.\n")
    assert run("cybs_doctor", "--json").json == []


def test_a_finding_is_1_and_a_line_and_an_object() -> None:
    row = key()
    enrolment.change(row, sealed_secret=b"damaged")

    text, found = run("cybs_doctor"), run("cybs_doctor", "--json")

    assert (text.code, found.code) == (1, 1)
    [finding] = found.json
    assert set(finding) == {"finding", "subject", "detail", "organization"}
    assert finding["finding"] == "damaged"
    assert finding["organization"] == f"acme@{enrolment.HOST}"
    assert f"damaged: Credential {row.pk} sealed_secret of acme@{enrolment.HOST}: " in text.out


def test_a_sample_is_opened_where_one_is_asked_for() -> None:
    for number in range(4):
        key(f"m{number}")
    assert run("cybs_doctor", "--sample", "2").out.startswith("4 secrets open under old.")


def test_without_a_ring_it_cannot_run(settings: Any) -> None:
    settings.CYBS_JWT = {}
    assert run("cybs_doctor").code == 2


@pytest.mark.django_db(transaction=True)
def test_without_its_tables_it_cannot_run() -> None:
    with connection.schema_editor() as editor:
        editor.execute("ALTER TABLE cybs_jwt_credential RENAME TO gone")
    try:
        ended = run("cybs_doctor", "--json")
    finally:
        with connection.schema_editor() as editor:
            editor.execute("ALTER TABLE gone RENAME TO cybs_jwt_credential")
    assert ended.code == 2
    assert ended.err.startswith("The database refused this, ")


@pytest.mark.parametrize("number", ["0", "-3", "x"])
def test_a_sample_that_is_no_count_is_a_usage_error(number: str) -> None:
    ended = run("cybs_doctor", f"--sample={number}")
    assert ended.code != 0
    assert "argument --sample: give a whole number of at least 1." in ended.err
