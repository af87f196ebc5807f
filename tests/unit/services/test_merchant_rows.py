"""What signing reads by statements of its own is what the queries of the services would give it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_cybs_jwt.models import Credential, GatewayCertificate, KeySlot, Organization, State
from django_cybs_jwt.services import (
    epoch,
    gateway_certificates,
    merchant_rows,
    organizations,
    resolution,
    signing,
)
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST, OTHER_HOST

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

TIMES = ("activated_at", "retired_at", "suspended_at", "compromised_at")


def in_every_state(slot: KeySlot) -> Iterator[Credential]:
    """One for each state and each set of times that a row can have, likely or not."""
    for state, *times in itertools.product(State, *[(None, timezone.now())] * len(TIMES)):
        yield Credential(
            slot=slot,
            active_slot=None,
            organization=slot.organization,
            kind=Credential.Kind.SHARED_SECRET,
            key_id=uuid.uuid4().hex,
            live_key_id=None,
            algorithm="HS256",
            state=State.RETIRED if state == State.ACTIVE else state,
            sealed_secret=None if state == State.DESTROYED else b"sealed",
            fingerprint=uuid.uuid4().hex,
            expires_at=timezone.now() + timedelta(days=9),
            activate_at=None,
            lock_version=3,
            **dict(zip(TIMES, times, strict=True)),
        )


@pytest.fixture
def acme() -> Organization:
    """A merchant under two others, each with keys in every state, and a stranger beside them."""
    family = enrolment.family()
    stranger = enrolment.organization("stranger")
    for owner in (*family, stranger):
        for purpose, coverage in [("signing", "all"), ("response-mle", "own")]:
            slot = KeySlot.objects.create(organization=owner, purpose=purpose, coverage=coverage)
            Credential.objects.bulk_create(in_every_state(slot))
    return organizations.find("acme")


def told(row: Any, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in names)


def facts(rows: list[Credential]) -> set[tuple[Any, ...]]:
    return {
        (
            *told(row, *merchant_rows._KEY),
            *told(row.slot, *merchant_rows._SLOT),
            *told(row.organization, *merchant_rows._ABOVE),
            bool(row.selects),  # type: ignore[attr-defined]
        )
        for row in rows
    }


def test_the_keys_are_the_candidates(
    acme: Organization, django_assert_num_queries: Callable[[int], Any]
) -> None:
    expected = facts(resolution.candidates(acme))
    merchant, _ = merchant_rows.merchant("acme")
    with django_assert_num_queries(1):
        found = facts(merchant_rows.keys(merchant))
    assert len(expected) > 100
    assert found == expected


def test_so_they_are_where_a_strangers_slot_selects_the_merchant(acme: Organization) -> None:
    slot = KeySlot.objects.get(organization__org_id="stranger", purpose="signing")
    slot.coverage = "selected"
    slot.save()
    slot.merchants.add(acme)
    merchant, _ = merchant_rows.merchant("acme")
    found = facts(merchant_rows.keys(merchant))
    assert found == facts(resolution.candidates(acme))
    assert any(row[-1] for row in found)


@pytest.mark.parametrize("name", ["acme", "account", "portfolio", f"acme@{HOST.upper()}"])
def test_the_merchant_is_the_one_that_is_found_with_all_above_it(
    acme: Organization, django_assert_num_queries: Callable[[int], Any], name: str
) -> None:
    expected = [told(row, *merchant_rows._ABOVE) for row in organizations.find(name).chain()]
    epoch.bump()
    with django_assert_num_queries(1):
        merchant, seen = merchant_rows.merchant(name)
        found = [told(row, *merchant_rows._ABOVE) for row in merchant.chain()]
    assert found == expected
    assert seen == epoch.value()


def test_before_the_first_change_the_epoch_is_that_of_nothing() -> None:
    Organization.objects.create(org_id="acme", kind="merchant", host=HOST)
    assert merchant_rows.merchant("acme")[1] == epoch.value() == 0


def test_the_certificates_are_the_candidates(acme: Organization) -> None:
    stranger = organizations.find("stranger")
    signs = enrolment.shared_secret(acme, activate=False)
    cases = itertools.product(
        (acme, stranger, None), (HOST, OTHER_HOST), (True, False), (signs, None)
    )
    for owner, host, in_use, credential in cases:
        GatewayCertificate.stored.create(
            organization=owner,
            host=host,
            in_use=in_use,
            credential=credential,
            key_id=uuid.uuid4().hex,
            not_before=timezone.now(),
            not_after=timezone.now(),
        )
    found = {row.pk for row in merchant_rows.certificates(acme, signs)}
    assert found == {row.pk for row in gateway_certificates.candidates(acme, signs)}
    # Own and the host's, in use or beside the key that signs.
    assert len(found) == 4 + 2 + 2 + 1


def test_nothing_more_is_read_for_keys_that_retire_or_wait_for_their_time(
    django_assert_num_queries: Callable[[int], Any],
) -> None:
    owner = enrolment.organization()
    enrolment.shared_secret(owner)
    waits = enrolment.shared_secret(owner, activate=False)
    enrolment.change(waits, activate_at=timezone.now() + timedelta(hours=1))
    old = enrolment.rsa_key(owner)
    enrolment.change(old, state=State.RETIRING, retiring_at=timezone.now(), active_slot=None)
    signing.forget()
    signing._cache.look()
    with django_assert_num_queries(3):
        assert set(signing.keys_for("acme").response_keys) == {old.key_id}
