"""How often keys are read, for how long they are kept, and who shares them."""

from __future__ import annotations

import asyncio
import enum
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from cryptography.hazmat.primitives.serialization import load_der_private_key
from django.db import transaction
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import (
    KeyMismatch,
    KeyNotUsable,
    KeyUnavailable,
    SecretIntegrityError,
)
from django_cybs_jwt.models import Credential, Epoch, KeySlot, State
from django_cybs_jwt.protocol import MerchantKeys
from django_cybs_jwt.services import (
    coverage,
    epoch,
    gateway_certificates,
    key_cache,
    opened_keys,
    rotation,
    signing,
    withdrawal,
)
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


def under_a_meta_key() -> None:
    """The costliest way to a key: a meta key, a response key, two request-MLE certificates."""
    portfolio, _, _ = enrolment.family()
    own = material.gateway_certificate().certificate
    enrolment.rsa_key(portfolio, purpose="signing", covers="all", gateway=own)
    enrolment.rsa_key(portfolio)
    add_host_certificate()


def add_host_certificate(**options: Any) -> None:
    shared = material.gateway_certificate(private_key=material.rsa_key(name="host certificate"))
    gateway_certificates.add(
        shared.pem.encode(), host=enrolment.HOST, actor="tests", now=timezone.now(), **options
    )


def look_again() -> None:
    """As if the last look at the epoch were old."""
    signing._cache.looked_at = float("-inf")


def test_a_cold_merchant_costs_at_most_four_queries(
    django_assert_max_num_queries: Callable[[int], Any],
) -> None:
    under_a_meta_key()
    with django_assert_max_num_queries(4):
        keys = signing.keys_for("acme")
    assert keys.response_kid
    assert keys.gateway_certificate


def test_it_costs_no_more_where_somebody_else_has_looked_at_the_epoch(
    django_assert_max_num_queries: Callable[[int], Any],
) -> None:
    under_a_meta_key()
    enrolment.shared_secret(enrolment.organization("other"))
    signing.keys_for("other")
    with django_assert_max_num_queries(4):
        signing.keys_for("acme")
    assert {"acme", "other"} <= signing._cache.assembled.keys()


def test_a_warm_merchant_costs_no_query(django_assert_num_queries: Callable[[int], Any]) -> None:
    under_a_meta_key()
    first = signing.keys_for("acme")
    with django_assert_num_queries(0):
        assert signing.keys_for("acme") is first
        cybs.sign("acme", "POST", "/pts/v2/payments", b"{}")


def test_a_look_at_an_unchanged_epoch_costs_one_query_and_keeps_the_keys(
    django_assert_num_queries: Callable[[int], Any],
) -> None:
    under_a_meta_key()
    first = signing.keys_for("acme")
    look_again()
    with django_assert_num_queries(1):
        assert signing.keys_for("acme") is first


def test_the_epoch_is_looked_at_again_within_five_seconds() -> None:
    assert 0 < key_cache.LOOK_EVERY <= 2


CHANGES: dict[str, Callable[[Credential], object]] = {
    "import": lambda own: enrolment.rsa_key(own.organization, activate=False),
    "activate": lambda own: enrolment.rsa_key(own.organization),
    "host certificate": lambda _: add_host_certificate(),
    "epoch": lambda _: epoch.bump(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_that_signing_must_see_is_seen_at_the_next_look(change: str) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    first = signing.keys_for("acme")
    CHANGES[change](own)
    assert signing.keys_for("acme") is first
    look_again()
    assert signing.keys_for("acme") is not first


def test_a_list_of_selected_merchants_counts_from_the_next_look() -> None:
    portfolio, _, _ = enrolment.family()
    enrolment.shared_secret(portfolio, covers="selected")
    coverage.add("portfolio", ["acme"], actor="tests")
    assert signing.keys_for("acme").signing.owner == "portfolio"
    coverage.remove("portfolio", ["acme"], actor="tests")
    look_again()
    with pytest.raises(cybs_error("NoKey")):
        signing.keys_for("acme")


def cybs_error(name: str) -> type[Exception]:
    from django_cybs_jwt import exceptions

    found: type[Exception] = getattr(exceptions, name)
    return found


def test_a_change_that_was_rolled_back_does_not_stay_when_another_follows_it() -> None:
    """The epoch of a change that never was is not the epoch of the next one."""
    own = enrolment.shared_secret(enrolment.organization())
    signing.keys_for("acme")
    with transaction.atomic():
        end = timezone.now() + timedelta(hours=1)
        Credential.objects.update(expires_at=end)
        epoch.bump()
        look_again()
        assert signing.keys_for("acme").signing.not_after == end
        transaction.set_rollback(True)
    epoch.bump()
    look_again()
    assert signing.keys_for("acme").signing.not_after is None
    assert signing.keys_for("acme").signing.kid == own.key_id


# Transactions that see a state which is over


def test_what_was_read_under_another_epoch_is_shared_with_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection is older than the last look, or has changed keys and not committed."""
    own = enrolment.shared_secret(enrolment.organization())
    enrolment.rsa_key(own.organization)
    signing.forget()
    signing._cache.look()
    with monkeypatch.context() as patch:
        patch.setattr(signing._cache, "epoch", 7)
        assert signing.keys_for("acme").signing.kid == own.key_id
        assert signing.reply_keys("acme")
        assert not signing._cache.assembled
        assert not signing._cache.shelf.replies
    signing.keys_for("acme")
    assert set(signing._cache.assembled) == {"acme"}


def test_a_look_from_within_a_snapshot_counts_for_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    with monkeypatch.context() as patch:
        patch.setattr(epoch, "is_of_now", lambda: False)
        assert signing.keys_for("acme").signing.kid == own.key_id
    withdrawal.suspend(own, actor="tests", now=timezone.now(), reason="stolen")
    with pytest.raises(KeyNotUsable):  # at once: nobody waits for the next look
        signing.keys_for("acme")


class Level(enum.IntEnum):
    """The names are the same in both psycopgs, the numbers are not."""

    READ_COMMITTED = 1
    REPEATABLE_READ = 2


@pytest.mark.parametrize(
    ("vendor", "facts", "expected"),
    [
        ("postgresql", {"isolation_level": Level.READ_COMMITTED}, True),
        ("postgresql", {"isolation_level": Level.REPEATABLE_READ}, False),
        ("mysql", {"isolation_level": "read committed"}, True),
        ("mysql", {"isolation_level": "repeatable read"}, False),
        ("mysql", {"isolation_level": None}, False),
        ("sqlite", {"transaction_mode": "IMMEDIATE"}, True),
        ("sqlite", {"transaction_mode": None}, False),
        ("oracle", {}, False),
    ],
)
def test_a_transaction_sees_what_is_where_it_keeps_to_no_snapshot(
    monkeypatch: pytest.MonkeyPatch, vendor: str, facts: dict[str, Any], expected: bool
) -> None:
    inside = SimpleNamespace(vendor=vendor, in_atomic_block=True, **facts)
    outside = SimpleNamespace(vendor=vendor, in_atomic_block=False, **facts)
    monkeypatch.setattr(epoch, "connection", inside)
    assert epoch.is_of_now() is expected
    monkeypatch.setattr(epoch, "connection", outside)
    assert epoch.is_of_now()


def test_the_epoch_is_one_row_that_differs_after_each_bump() -> None:
    seen = {epoch.value()}
    for _ in range(5):
        epoch.bump()
        seen.add(epoch.value())
    assert len(seen) == 6
    assert Epoch.objects.count() == 1


@pytest.fixture
def keys_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], MerchantKeys]:
    """What a send at that time gets for acme, by this process's clock."""

    def asked(moment: datetime) -> MerchantKeys:
        with monkeypatch.context() as patch:
            patch.setattr(timezone, "now", lambda: moment)
            return signing.keys_for("acme")

    return asked


def test_keys_in_memory_are_not_used_past_the_end_of_the_signing_key(
    keys_at: Callable[[datetime], MerchantKeys],
) -> None:
    end = timezone.now() + timedelta(seconds=100)
    enrolment.shared_secret(enrolment.organization(), expires_at=end)
    keys_at(end - timedelta(seconds=1))
    with pytest.raises(KeyNotUsable):
        keys_at(end)


def test_a_certificate_that_ends_makes_room_for_the_next_without_any_change(
    keys_at: Callable[[datetime], MerchantKeys],
) -> None:
    acme = enrolment.organization()
    soon = timezone.now().replace(microsecond=0) + timedelta(seconds=100)
    own = material.gateway_certificate(not_after=soon)
    enrolment.rsa_key(acme, purpose="signing", gateway=own.certificate)
    add_host_certificate()
    before = keys_at(soon - timedelta(seconds=1)).gateway_certificate
    after = keys_at(soon).gateway_certificate
    assert before is not None
    assert after is not None
    assert before.kid == own.kid != after.kid


def test_keys_are_read_again_after_five_minutes_even_when_the_epoch_stands_still(
    keys_at: Callable[[datetime], MerchantKeys],
) -> None:
    enrolment.shared_secret(enrolment.organization())
    now = timezone.now()
    first = keys_at(now)
    Credential.objects.update(expires_at=now + timedelta(days=1))  # past the services: no bump
    assert keys_at(now + timedelta(seconds=299)) is first
    assert keys_at(now + timedelta(seconds=300)).signing.not_after is not None


def test_a_retired_key_signs_no_more_after_the_next_look() -> None:
    own = enrolment.shared_secret(enrolment.organization())
    signing.keys_for("acme")
    withdrawal.retire(own, actor="tests", now=timezone.now(), reason="left")
    look_again()
    with pytest.raises(cybs_error("NoKey")):
        signing.keys_for("acme")


def test_an_error_is_not_kept() -> None:
    own = enrolment.shared_secret(enrolment.organization())
    enrolment.put(own, State.SUSPENDED)
    with pytest.raises(KeyNotUsable):
        signing.keys_for("acme")
    Credential.objects.update(state=State.ACTIVE, active_slot=own.slot)
    assert signing.keys_for("acme").signing.kid == own.key_id


def test_memory_for_assembled_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_cache, "MOST", 3)
    for number in range(8):
        enrolment.shared_secret(enrolment.organization(f"m{number}"))
        signing.keys_for(f"m{number}")
        assert len(signing._cache.assembled) <= 3


def test_memory_for_opened_keys_is_bounded_and_keeps_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opened_keys, "MOST", 3)
    rows = [enrolment.shared_secret(enrolment.organization(f"m{n}")) for n in range(5)]
    for row in rows:
        opened_keys.material(row)
    assert [key[0] for key in opened_keys._entries] == [row.pk for row in rows[-3:]]


def test_an_opened_key_is_opened_again_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = enrolment.rsa_key(enrolment.organization())
    first = opened_keys.material(own)
    assert opened_keys.material(own) is first
    monkeypatch.setattr(opened_keys, "LIFETIME", -1.0)
    opened_keys.forget()
    assert opened_keys.material(own) is not opened_keys.material(own)


def test_a_thousand_threads_that_want_one_cold_key_open_it_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = enrolment.rsa_key(enrolment.organization())
    own.organization  # noqa: B018  # loaded here: the threads have no database
    loads = []

    def counted(*arguments: Any, **options: Any) -> Any:
        loads.append(threading.get_ident())
        return load_der_private_key(*arguments, **options)

    monkeypatch.setattr(opened_keys, "load_der_private_key", counted)
    opened_keys.forget()
    with ThreadPoolExecutor(max_workers=64) as executor:
        found = set(map(id, executor.map(opened_keys.material, [own] * 1000)))
    assert len(found) == 1
    assert len(loads) == 1


@pytest.mark.parametrize("warm", [True, False])
def test_a_key_whose_row_was_given_to_another_merchant_signs_for_nobody(warm: bool) -> None:
    """By somebody who writes to the database; the key was just opened for its owner."""
    key = enrolment.shared_secret(enrolment.organization("victim"))
    thief = enrolment.organization("thief")
    if warm:
        cybs.keys_for("victim")
    KeySlot.objects.filter(pk=key.slot_id).update(organization=thief)
    Credential.objects.filter(pk=key.pk).update(organization=thief)
    with pytest.raises(SecretIntegrityError):
        cybs.keys_for("thief")


def test_a_key_in_memory_is_held_against_a_fingerprint_that_changes() -> None:
    key = enrolment.shared_secret(enrolment.organization())
    opened_keys.material(key)
    key.fingerprint = "0" * 64
    with pytest.raises(KeyMismatch):
        opened_keys.material(key)


def test_a_failure_to_open_is_not_remembered(settings: Any, cybs_ring: dict[str, Any]) -> None:
    own = enrolment.shared_secret(enrolment.organization())
    signing.forget()
    other = material.shared_secret().secret
    absent = {**cybs_ring, "primary": "x", "keys": {"x": {"key": other, "status": "enabled"}}}
    settings.CYBS_JWT = {"KEYRING": absent}
    with pytest.raises(KeyUnavailable):
        signing.keys_for("acme")
    settings.CYBS_JWT = {"KEYRING": cybs_ring}
    assert signing.keys_for("acme").signing.kid == own.key_id


def test_a_repaired_blob_is_opened_although_the_damaged_one_was_tried() -> None:
    own = enrolment.shared_secret(enrolment.organization())
    good = own.sealed_secret
    enrolment.change(own, sealed_secret=b"damaged")
    with pytest.raises(SecretIntegrityError):
        signing.keys_for("acme")
    Credential.objects.update(sealed_secret=good)
    assert signing.keys_for("acme").signing.kid == own.key_id


def test_a_warm_merchant_does_not_leave_the_event_loop() -> None:
    enrolment.shared_secret(enrolment.organization())
    threads: set[int] = set()

    async def look() -> None:
        await signing.akeys_for("acme")  # cold: asks the database in Django's thread
        for _ in range(100):
            before = asyncio.current_task()
            coroutine = signing.akeys_for("acme").__await__()
            with pytest.raises(StopIteration):  # done at the first step: nothing was awaited
                next(coroutine)
            assert asyncio.current_task() is before
            threads.add(threading.get_ident())

    async_to_sync(look)()
    assert len(threads) == 1


@pytest.fixture
def opened() -> Credential:
    row = enrolment.shared_secret(enrolment.organization())
    signing.keys_for("acme")
    return row


def test_a_forked_child_inherits_no_opened_key(opened: Credential) -> None:
    assert signing._cache.assembled
    assert opened_keys._entries
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            left = len(signing._cache.assembled) + len(opened_keys._entries)
            os.write(writing, b"%d" % left)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"0"
    os.waitpid(child, 0)


def test_keys_of_another_moment_are_given_to_whoever_asked_and_to_no_send() -> None:
    acme, now = enrolment.organization(), timezone.now()
    old = enrolment.shared_secret(acme)
    new = enrolment.shared_secret(acme, activate=False)
    at = now + timedelta(days=3)
    rotation.rotate(new, actor="tests", now=now, at=at, force=True, reason="test")
    assert signing.keys_for("acme", now=at).signing.kid == new.key_id
    assert signing.keys_for("acme").signing.kid == old.key_id
    assert signing.keys_for("acme", now=at).signing.kid == new.key_id
    assert cybs.sign("acme", "GET", "/tss/v2/transactions/1").key_id == old.key_id
