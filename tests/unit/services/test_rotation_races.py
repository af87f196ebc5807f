"""Of eight processes at once, on PostgreSQL, one promotes its key; a compromise always wins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_cybs_jwt.exceptions import InvalidTransition
from django_cybs_jwt.models import Credential, KeyEvent, Organization, State, Verdict
from django_cybs_jwt.services import rotation, withdrawal
from django_cybs_jwt.testing import material
from tests.services import postgresql_as_default
from tests.unit.services import enrolment
from tests.unit.services.racing import race

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("postgresql", "cybs_ring", "fresh_chain"),
]

RACER: Final = Path(__file__).with_name("rotation_racer.py")
ONE_WINS: Final = {"done": 1, "InvalidTransition": 7}


@pytest.fixture(scope="module")
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), postgresql_as_default():
        yield


@pytest.fixture
def acme(transactional_db: None, cybs_ring: Any) -> Organization:
    return enrolment.organization()


def verified(owner: Organization, count: int) -> list[Credential]:
    rows = [enrolment.shared_secret(owner, activate=False) for _ in range(count)]
    pks = [row.pk for row in rows]
    Credential.objects.filter(pk__in=pks).update(
        state=State.VERIFIED, verified_at=timezone.now(), verify_outcome=Verdict.ACCEPTED
    )
    return list(Credential.objects.filter(pk__in=pks))


def outcomes(verb: str, rows: list[Credential]) -> Counter[str]:
    return Counter(race(RACER, [(verb, str(row.pk)) for row in rows]))


def told(action: str) -> Counter[str]:
    return Counter(KeyEvent.objects.filter(action=action).values_list("outcome", flat=True))


@pytest.mark.parametrize("verb", ["activate", "rotate", "rotate-now"])
def test_of_eight_processes_that_promote_the_first_key_of_a_slot_one_wins(
    acme: Organization, verb: str
) -> None:
    assert outcomes(verb, verified(acme, 8)) == ONE_WINS
    assert Credential.objects.filter(state=State.ACTIVE).count() == 1
    assert told("activate") == {"done": 1, "denied": 7}


@pytest.mark.parametrize("verb", ["rotate", "rotate-now"])
def test_of_eight_processes_that_promote_over_the_same_key_one_wins(
    acme: Organization, verb: str
) -> None:
    before = enrolment.shared_secret(acme)

    assert outcomes(verb, verified(acme, 8)) == ONE_WINS

    states = Counter(Credential.objects.values_list("state", flat=True))
    left = State.RETIRED if verb == "rotate-now" else State.RETIRING
    assert states == {State.VERIFIED: 7, State.ACTIVE: 1, left: 1}
    assert Credential.objects.get(pk=before.pk).state == left


def test_of_a_key_that_some_promote_and_others_compromise_at_once_the_compromise_holds(
    acme: Organization,
) -> None:
    enrolment.shared_secret(acme)
    for _ in range(3):
        [row] = verified(acme, 1)
        verbs = ["rotate-now", "compromise"] * 4

        ended = race(RACER, [(verb, str(row.pk)) for verb in verbs])

        assert Credential.objects.get(pk=row.pk).state == State.COMPROMISED
        assert Counter(ended[1::2]) == {"done": 1, "InvalidTransition": 3}
        assert Counter(ended[::2])["done"] <= 1


def test_of_one_key_on_two_hosts_both_are_compromised_whoever_meets_there(
    acme: Organization,
) -> None:
    elsewhere = enrolment.organization(host=enrolment.OTHER_HOST)
    for _ in range(3):
        file = material.shared_secret()
        twins = [
            enrolment.shared_secret(
                owner, secret=file.secret, key_id=file.key_id, activate=False, slot=file.key_id
            )
            for owner in (acme, elsewhere)
        ]
        known, other = (str(row.pk) for row in twins)
        racers = [("compromise", known), ("activate", other), ("activate", known)] * 2

        ended = race(RACER, racers)

        rows = Credential.objects.filter(pk__in=[row.pk for row in twins])
        assert set(rows.values_list("state", flat=True)) == {State.COMPROMISED}
        assert set(ended) <= {"done", "InvalidTransition"}


def test_a_compromise_reads_nothing_without_a_lock_before_it_has_its_turn(
    acme: Organization,
) -> None:
    row = enrolment.shared_secret(acme)
    key = Credential.objects.select_related("organization", "slot").get(pk=row.pk)

    with CaptureQueriesContext(connection) as captured:
        withdrawal.compromise(key, actor="anna", now=timezone.now(), reason="leaked")

    told = [query["sql"] for query in captured]
    begins = told.index("BEGIN") + 1
    turn = next(place for place, sql in enumerate(told) if "_audithead" in sql)
    for sql in told[begins : turn + 2]:
        assert (sql.count("SELECT"), sql.endswith("FOR UPDATE")) == (1, True)


def test_who_decided_about_another_key_than_the_one_that_is_active_looks_again(
    acme: Organization,
) -> None:
    first, second = verified(acme, 2)
    seen = rotation.active_id(first.slot, now=timezone.now())
    rotation.rotate(first, actor="anna", now=timezone.now(), replaces=seen)

    with pytest.raises(InvalidTransition, match=f"now it is {first.key_id}. Look again"):
        rotation.rotate(second, actor="bert", now=timezone.now(), replaces=seen)
