"""One key that one id uses on two hosts is one key: whoever knows it, knows it on both."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from django_cybs_jwt.exceptions import KeyNotUsable
from django_cybs_jwt.models import Credential, KeyEvent, State
from django_cybs_jwt.services import signing, withdrawal
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment

NOW = datetime(2027, 3, 1, tzinfo=UTC)
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
