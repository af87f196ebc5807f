"""What an upload held is kept in clear beside the sealed key."""

from __future__ import annotations

import base64
import json

import pytest
from django.utils import timezone

from django_cybs_jwt.models import Credential
from django_cybs_jwt.services import contents, inspection
from django_cybs_jwt.services.inspection import Wanted
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


def test_what_was_inspected_is_read_back_as_it_was() -> None:
    file = material.p12("acme")
    inspected = enrolment.p12_inspection(file)
    row = enrolment.store(enrolment.organization(), inspected)

    kept = contents.read(Credential.objects.get(pk=row.pk))

    assert kept.certificates == tuple(inspected.certificates)
    assert set(inspected.notices) <= set(kept.notices)
    assert kept.bits == 2048
    assert contents.missing(row) == []
    text = json.dumps(row.contents)
    assert file.password not in text
    assert "PRIVATE" not in text


def test_a_certificate_of_ones_own_keeps_its_warning() -> None:
    key = material.rsa_key(name="own")
    pem = enrolment.pkcs8(key)
    wanted = Wanted(purpose="signing", key_id="kid-1")
    inspected = inspection.inspect_file(_pem(pem), None, wanted, now=timezone.now())
    row = enrolment.store(enrolment.organization(), inspected)
    gaps = " ".join(contents.missing(row))
    assert "the key ID was typed by hand" in gaps
    assert "nothing will warn of it" in gaps
    assert contents.looks_like(row).startswith("A PEM private key")


def test_a_key_from_before_has_no_contents_and_a_page_all_the_same() -> None:
    row = enrolment.shared_secret(enrolment.organization())
    row.contents = {}
    assert contents.read(row) == contents.Contents(bits=None, certificates=(), notices=())


def _pem(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN PRIVATE KEY-----\n" + body + b"-----END PRIVATE KEY-----\n"
