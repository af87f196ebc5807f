"""One key that one id uses on two hosts is one key: whoever knows it, knows it on both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_cybs_jwt.exceptions import KeyNotUsable
from django_cybs_jwt.models import Credential, KeyEvent, State
from django_cybs_jwt.services import signing, usage, withdrawal
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment

NOW = datetime(2027, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
IDLE = timedelta(days=usage.IDLE_DAYS)
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


@pytest.fixture
def twins() -> tuple[Credential, Credential]:
    file = material.shared_secret()
    here, there = (
        enrolment.shared_secret(
            enrolment.organization(host=host), secret=file.secret, key_id=file.key_id, now=NOW
        )
        for host in (enrolment.HOST, enrolment.OTHER_HOST)
    )
    return here, there


def test_a_key_that_others_know_signs_on_no_host(twins: tuple[Credential, Credential]) -> None:
    other = enrolment.shared_secret(enrolment.organization("other"))
    withdrawal.compromise(twins[0], actor="anna", now=NOW, reason="leaked")
    for row in twins:
        with pytest.raises(KeyNotUsable):
            signing.keys_for(str(row.organization))
    moved = KeyEvent.objects.filter(action="compromise", outcome="done")
    assert set(moved.values_list("credential", "organization", "reason")) == {
        (row.pk, str(row.organization), "leaked") for row in twins
    }
    assert signing.keys_for("other").signing.kid == other.key_id


@pytest.mark.parametrize("before", ["destroy", "compromise"])
def test_a_twin_that_cannot_be_marked_any_more_keeps_no_key_from_it(
    twins: tuple[Credential, Credential], before: str
) -> None:
    here, there = twins
    if before == "destroy":
        withdrawal.retire(there, actor="anna", now=NOW, reason="replaced")
        withdrawal.destroy(there, actor="anna", now=NOW, reason="replaced")
    else:
        enrolment.put(there, State.COMPROMISED, compromised_at=NOW)
    withdrawal.compromise(here, actor="anna", now=NOW, reason="leaked")
    here.refresh_from_db()
    assert here.state == State.COMPROMISED
    assert KeyEvent.objects.filter(action="compromise", outcome="done").count() == 1


def test_no_key_is_safe_to_delete_while_it_is_in_use_on_another_host(
    twins: tuple[Credential, Credential],
) -> None:
    here, there = twins
    here = withdrawal.retire(here, actor="anna", now=NOW, reason="replaced")
    assert usage.idle_since(here) is None
    assert not usage.is_safe_to_delete(here, now=NOW + 10 * IDLE)
    withdrawal.suspend(there, actor="anna", now=NOW, reason="a doubt")
    assert not usage.is_safe_to_delete(here, now=NOW + 10 * IDLE)


def test_a_key_is_idle_since_its_last_use_on_any_host(
    twins: tuple[Credential, Credential],
) -> None:
    here, there = (withdrawal.retire(row, actor="anna", now=NOW, reason="old") for row in twins)
    usage.opened(str(there.pk), NOW + DAY)
    usage.flush()
    for row in (here, Credential.objects.get(pk=there.pk)):
        assert usage.idle_since(row) == NOW + DAY
        assert not usage.is_safe_to_delete(row, now=NOW + IDLE)
        assert usage.is_safe_to_delete(row, now=NOW + DAY + IDLE)


def test_the_twins_of_many_keys_take_one_query(
    twins: tuple[Credential, Credential], django_assert_num_queries: Any
) -> None:
    rows = [withdrawal.retire(row, actor="anna", now=NOW, reason="old") for row in twins]
    with django_assert_num_queries(1):
        found = usage.twins(rows)
        assert [usage.idle_since(row, found) for row in rows] == [NOW, NOW]
