"""However many merchants there are, PostgreSQL reads the keys of one by an index."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from typing import Any, Final
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_cybs_jwt.models import Credential, KeySlot, Organization
from django_cybs_jwt.services import gateway_certificates, merchant_rows, organizations, resolution
from tests.services import postgresql_as_default
from tests.unit.services import enrolment

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("postgresql", "cybs_ring"),
]

READ_WHOLE: Final = re.compile(r"Seq Scan on cybs_jwt_(credential|organization|keyslot)\b")


@pytest.fixture(scope="module")
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), postgresql_as_default():
        yield


@pytest.fixture
def merchant() -> Organization:
    """One of some thousand, each with a key."""
    enrolment.organization("portfolio", kind="portfolio")
    merchant = enrolment.organization("acme", parent="portfolio")
    crowd(enrolment.shared_secret(merchant))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return organizations.find("acme")


def named(merchant: Organization) -> object:
    return merchant_rows.merchant(merchant.org_id)


def of_its_chain(merchant: Organization) -> object:
    """As signing reads the keys of most, whom no slot selects."""
    merchant.selected = False  # type: ignore[attr-defined]
    return merchant_rows.keys(merchant)


def of_its_host(merchant: Organization) -> object:
    """As signing reads the certificates, of the host, of the owner and of the key."""
    return merchant_rows.certificates(merchant, Credential(pk=uuid4()))


@pytest.mark.parametrize(
    "read",
    [
        lambda merchant: organizations.find(merchant.org_id),
        named,
        resolution.candidates,
        of_its_chain,
        gateway_certificates.candidates,
        of_its_host,
    ],
    ids=["find", "named", "candidates", "of its chain", "certificates", "of its host"],
)
def test_what_a_cold_merchant_needs_is_found_by_index(
    merchant: Organization, read: Callable[[Organization], object]
) -> None:
    with CaptureQueriesContext(connection) as queries:
        read(merchant)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {queries[0]['sql']}")
        plan = [line for (line,) in cursor.fetchall()]
    assert [line for line in plan if READ_WHOLE.search(line)] == []


def crowd(key: Credential, size: int = 3000) -> None:
    """Others like the owner of *key*; nobody opens what is sealed of theirs."""
    others = [
        Organization(org_id=f"other{n}", kind="merchant", host=key.organization.host)
        for n in range(size)
    ]
    slots = [KeySlot(organization=other, purpose="signing") for other in others]
    Organization.objects.bulk_create(others)
    KeySlot.objects.bulk_create(slots)
    Credential.objects.bulk_create(map(partial(copied, key), slots))


def copied(key: Credential, slot: KeySlot) -> Credential:
    other = copy(key)
    other.pk, other.slot, other.active_slot, other.organization = (
        uuid4(),
        slot,
        slot,
        slot.organization,
    )
    other.key_id = other.live_key_id = str(other.pk)
    other.fingerprint = other.pk.hex * 2
    return other
