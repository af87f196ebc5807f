"""Uses of both keys of a rotation, by the hour: those before the switch are not told as after."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_cybs_jwt.models import Credential, KeyUse, State
from django_cybs_jwt.services.overview import watching
from tests.unit.services import estate
from tests.unit.services.estate import DAY, NOW

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
SWITCHED = NOW - 3 * HOUR + timedelta(minutes=40)


@pytest.fixture
def old() -> Credential:
    return estate.key(
        estate.organization("acme"), state=State.RETIRING, activated_at=NOW - 90 * DAY
    )


@pytest.fixture
def new(old: Credential) -> Credential:
    return estate.successor(old, state=State.ACTIVE, activated_at=SWITCHED, active_slot=old.slot)


def use(row: Credential, hours_ago: int, count: int) -> None:
    KeyUse.objects.create(credential=row, hour=NOW - hours_ago * HOUR, signed=count)


def test_the_hour_of_the_switch_stands_by_itself(old: Credential, new: Credential) -> None:
    for hours_ago, count in ((4, 1000), (3, 100), (2, 10), (0, 1)):
        use(old, hours_ago, count)
    use(new, 3, 5)
    use(new, 1, 7)
    watched = watching.watch(new, now=NOW)
    assert watched is not None
    assert (watched.old.around, watched.old.uses) == (100, 11)
    assert (watched.new.around, watched.new.uses) == (5, 7)
    assert [hour.old for hour in watched.hours] == [100, 10, 0, 1]


def test_an_old_key_that_was_used_before_the_switch_only_is_idle_since(
    old: Credential, new: Credential
) -> None:
    use(old, 3, 100)
    watched = watching.watch(old, now=NOW)
    assert watched is not None
    assert watched.old.uses == 0
