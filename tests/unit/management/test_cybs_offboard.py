"""cybs_org offboard: look first, then end it."""

from __future__ import annotations

from typing import Any

import pytest

from django_cybs_jwt import cybs
from django_cybs_jwt.models import Credential, KeyEvent, Organization, OutboundRequest, State
from django_cybs_jwt.services import organizations
from tests.unit.management.running import Ended, run
from tests.unit.services import enrolment
from tests.unit.services.queue.rows import payment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cybs_ring")]


@pytest.fixture
def mall(cybs_ring: Any) -> Organization:
    """A portfolio whose key signs for garden and harbour."""
    portfolio = enrolment.organization("mall", kind="portfolio")
    enrolment.shared_secret(portfolio, covers="all")
    for name in ("garden", "harbour"):
        enrolment.organization(name, parent="mall")
    return portfolio


def offboard(*more: str, name: str = "mall") -> Ended:
    return run("cybs_org", "offboard", name, "--reason", "over", "--user", "alice", *more)


def test_dry_run__lists_the_steps_and_changes_nothing(mall: Organization) -> None:
    events = KeyEvent.objects.count()

    ended = offboard("--dry-run", "--json")

    key = Credential.objects.get()
    host = enrolment.HOST
    assert ended.code == 0
    assert ended.json == [
        {"step": "disable", "subject": f"mall@{host}", "detail": ""},
        {
            "step": "retire + destroy",
            "subject": f"mall, Request signing, {key.key_id}",
            "detail": "ACTIVE",
        },
        {"step": "loses its key", "subject": f"garden@{host}", "detail": ""},
        {"step": "loses its key", "subject": f"harbour@{host}", "detail": ""},
    ]
    assert organizations.find("mall").active
    assert KeyEvent.objects.count() == events


def test_merchants_that_lose_their_key__are_named_before_it_is_done(mall: Organization) -> None:
    refused = offboard()
    named = refused.err.partition("--force ")[2].split()

    ended = offboard("--force", *named)

    assert (refused.code, ended.code) == (1, 0)
    assert named == ["garden", "harbour"]
    assert Credential.objects.get().state == State.DESTROYED
    assert KeyEvent.objects.filter(action="offboard").latest("seq").actor == "alice"


def test_the_second_time__says_that_it_is_done(mall: Organization) -> None:
    offboard("--force", "garden", "harbour")

    assert offboard().out == f"mall@{enrolment.HOST} is offboarded already.\n"


def test_reason__is_needed_unless_it_is_a_dry_run(mall: Organization) -> None:
    assert run("cybs_org", "offboard", "garden", "--dry-run").code == 0
    assert run("cybs_org", "offboard", "garden").code == 1
    assert organizations.find("garden").active


def test_organization_that_is_not_there__ends_with_2(mall: Organization) -> None:
    assert offboard(name="nobody").code == 2


def test_requests_in_doubt__are_given_up_only_with_abandon(mall: Organization) -> None:
    row = cybs.enqueue(
        "garden", "POST", "/pts/v2/payments", json=payment(), idempotency_key="order-1"
    )
    OutboundRequest.objects.filter(pk=row.pk).update(state="IN_DOUBT", maybe_sent=True)
    forced = ("--force", "garden", "harbour")

    refused = offboard(*forced)

    assert (refused.code, str(row.pk) in refused.err) == (1, True)
    assert "--abandon" in refused.err
    assert offboard(*forced, "--abandon").code == 0
