"""Offboarding: one step, nothing of it half done, and the history stays."""

from __future__ import annotations

from typing import Any, Final

import pytest
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import (
    ApprovalRequired,
    InvalidTransition,
    OrganizationInactive,
    QueueError,
)
from django_cybs_jwt.models import (
    Approval,
    Credential,
    Epoch,
    KeyEvent,
    KeySlot,
    Organization,
    OutboundRequest,
    State,
)
from django_cybs_jwt.services import (
    approvals,
    coverage,
    offboarding,
    organizations,
    overlaps,
    rotation,
    signing,
    withdrawal,
)
from django_cybs_jwt.services.lifecycle import Action
from django_cybs_jwt.services.queue import leaving
from tests.unit.services import enrolment
from tests.unit.services.queue.rows import payment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cybs_ring")]

NOW: Final = timezone.now()


@pytest.fixture
def acme(cybs_ring: Any) -> Organization:
    return enrolment.organization()


@pytest.fixture
def four_eyes(cybs_ring: Any, settings: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}


def offboard(name: str = "acme", **options: Any) -> offboarding.Plan:
    return offboarding.offboard(
        name, **{"actor": "alice", "now": NOW, "reason": "contract over", **options}
    )


def states(owner: Organization) -> set[str]:
    return set(Credential.objects.filter(organization=owner).values_list("state", flat=True))


def steps(planned: offboarding.Plan) -> list[tuple[str, str]]:
    return [(step.step, step.subject) for step in planned.steps]


def untouched(owner: Organization) -> bool:
    owner.refresh_from_db()
    return owner.active and State.DESTROYED not in states(owner)


# -- what ends


def test_organization__is_disabled_and_nothing_signs_for_it(acme: Organization) -> None:
    enrolment.shared_secret(acme)

    offboard()

    acme.refresh_from_db()
    assert not acme.active
    signing.forget()
    with pytest.raises(OrganizationInactive):
        signing.keys_for("acme")


@pytest.mark.parametrize("state", sorted(set(State) - {State.DESTROYED}))
def test_key_in_any_state__is_destroyed(acme: Organization, state: State) -> None:
    key = enrolment.shared_secret(acme, activate=False)
    enrolment.put(key, state, suspended_from=State.ACTIVE if state == State.SUSPENDED else "")

    offboard()

    key = Credential.objects.get(pk=key.pk)
    assert (key.state, key.sealed_secret, key.sealed_p12, key.live_key_id) == (
        State.DESTROYED,
        None,
        None,
        None,
    )
    assert key.fingerprint


def test_keys_of_both_purposes_and_all_versions__are_destroyed(acme: Organization) -> None:
    enrolment.shared_secret(acme)
    successor = enrolment.shared_secret(acme, activate=False)
    enrolment.rsa_key(acme)
    rotation.rotate(successor, actor="tests", now=NOW, force=True, reason="test")

    planned = offboard()

    assert len(planned.keys) == 3
    assert states(acme) == {State.DESTROYED}


def test_key_that_was_to_become_active_later__never_does(acme: Organization) -> None:
    enrolment.shared_secret(acme)
    successor = enrolment.shared_secret(acme, activate=False)
    later = NOW + overlaps.OVERLAPS["1h"]
    rotation.rotate(successor, actor="tests", now=NOW, at=later, force=True, reason="test")

    offboard()

    assert rotation.carry_out_due(now=later) == []
    assert states(acme) == {State.DESTROYED}


def test_merchant__is_taken_out_of_the_meta_keys_that_select_it(acme: Organization) -> None:
    mall = enrolment.organization("mall", kind="portfolio")
    enrolment.shared_secret(mall, covers="selected")
    enrolment.organization("garden", parent="mall")
    coverage.add("mall", ["acme", "garden"], actor="tests")

    planned = offboard()

    assert ("uncover", "mall, Request signing") in steps(planned)
    assert [row.org_id for row in coverage.listing("mall")] == ["garden"]
    uncovered = KeyEvent.objects.filter(action="uncover").latest("seq")
    assert (uncovered.organization, uncovered.reason) == (str(mall), "acme offboarded")


def test_keys_of_others__stay(acme: Organization) -> None:
    mall = enrolment.organization("mall", kind="portfolio")
    enrolment.shared_secret(mall)
    enrolment.shared_secret(acme)

    offboard()

    assert states(mall) == {State.ACTIVE}


def test_every_process__is_told(acme: Organization) -> None:
    before = Epoch.objects.get_or_create(pk=1)[0].value

    offboard()

    assert Epoch.objects.get().value != before


# -- what stays


def test_history__stays(acme: Organization) -> None:
    key = enrolment.shared_secret(acme)
    fingerprint = key.fingerprint

    offboard()

    told = KeyEvent.objects.filter(organization=str(acme), outcome="done").order_by("seq")
    assert list(told.values_list("action", "actor", "to_state"))[-4:] == [
        ("activate", "tests", "ACTIVE"),
        ("offboard", "alice", ""),
        ("retire", "alice", "RETIRED"),
        ("destroy", "alice", "DESTROYED"),
    ]
    assert all("contract over" in event.reason for event in list(told)[-3:])
    assert Credential.objects.get(pk=key.pk).fingerprint == fingerprint
    assert KeySlot.objects.filter(organization=acme).exists()


def test_offboarding_twice__finds_nothing_left(acme: Organization) -> None:
    enrolment.shared_secret(acme)
    offboard()

    assert offboard().steps == []


def test_the_same_id__can_be_told_apart_by_its_host(acme: Organization) -> None:
    elsewhere = enrolment.organization(host=enrolment.OTHER_HOST)
    enrolment.shared_secret(acme)

    offboard(str(acme))

    elsewhere.refresh_from_db()
    assert elsewhere.active


# -- the dry run


def test_plan__says_every_step_and_changes_nothing(acme: Organization) -> None:
    key = enrolment.shared_secret(acme)
    staged = enrolment.shared_secret(acme, activate=False)
    events = KeyEvent.objects.count()

    planned = offboarding.plan("acme", now=NOW)

    assert steps(planned) == [
        ("disable", str(acme)),
        ("retire + destroy", f"acme, Request signing, {key.key_id}"),
        ("destroy", f"acme, Request signing, {staged.key_id}"),
    ]
    assert [step.detail for step in planned.steps] == ["", "ACTIVE", "STAGED"]
    assert untouched(acme)
    assert KeyEvent.objects.count() == events


def test_plan__is_what_offboarding_then_does(acme: Organization) -> None:
    enrolment.shared_secret(acme)

    assert offboarding.plan("acme", now=NOW).steps == offboard().steps


# -- merchants that lose their key


@pytest.fixture
def mall(cybs_ring: Any) -> Organization:
    """A portfolio whose key covers its merchants garden and harbour; island has its own key."""
    portfolio = enrolment.organization("mall", kind="portfolio")
    enrolment.shared_secret(portfolio, covers="all")
    for name in ("garden", "harbour", "island"):
        enrolment.organization(name, parent="mall")
    enrolment.shared_secret(organizations.find("island"))
    return portfolio


def test_owner_of_a_meta_key__is_refused_and_the_losers_are_named(mall: Organization) -> None:
    with pytest.raises(InvalidTransition, match=r"--force garden harbour$") as caught:
        offboard("mall")

    assert caught.value.facts["merchants"] == [
        f"garden@{enrolment.HOST}",
        f"harbour@{enrolment.HOST}",
    ]
    assert untouched(mall)
    assert KeyEvent.objects.filter(action="offboard", outcome="denied", actor="alice").exists()


@pytest.mark.parametrize("named", [["garden"], ["garden", "harbour", "island"], ["harbor"]])
def test_naming_too_few_or_others__is_refused(mall: Organization, named: list[str]) -> None:
    with pytest.raises(InvalidTransition):
        offboard("mall", losing=named)

    assert untouched(mall)


@pytest.mark.parametrize(
    "named", [["harbour", "garden"], [f"garden@{enrolment.HOST}", "harbour", "garden"]]
)
def test_naming_all_of_them__ends_the_owner_and_leaves_the_merchants(
    mall: Organization, named: list[str]
) -> None:
    planned = offboard("mall", losing=named)

    assert steps(planned)[-2:] == [
        ("loses its key", f"garden@{enrolment.HOST}"),
        ("loses its key", f"harbour@{enrolment.HOST}"),
    ]
    assert states(mall) == {State.DESTROYED}
    assert Organization.objects.filter(active=True).count() == 3
    told = KeyEvent.objects.filter(action="offboard", outcome="done").latest("seq")
    assert told.reason == "contract over; lose their key: garden harbour"


def test_merchants_of_a_suspended_meta_key__lose_it_too(mall: Organization) -> None:
    key = Credential.objects.get(organization=mall)
    withdrawal.suspend(key, actor="tests", now=NOW, reason="odd")

    with pytest.raises(InvalidTransition, match="garden harbour"):
        offboard("mall")


def test_merchants_that_are_disabled__lose_nothing(mall: Organization) -> None:
    organizations.disable("garden", actor="tests")

    with pytest.raises(InvalidTransition, match=r"--force harbour$"):
        offboard("mall")


def test_owner_whose_meta_key_is_retired__takes_no_key_away(mall: Organization) -> None:
    key = Credential.objects.get(organization=mall)
    withdrawal.retire(key, actor="tests", now=NOW, reason="over")

    offboard("mall")

    assert states(mall) == {State.DESTROYED}


def test_naming_somebody_where_nobody_loses__is_refused(acme: Organization) -> None:
    with pytest.raises(InvalidTransition, match="lose no key: garden"):
        offboard(losing=["garden"])


# -- refusals


def test_reason__is_needed(acme: Organization) -> None:
    with pytest.raises(InvalidTransition, match="reason"):
        offboard(reason="")

    assert untouched(acme)


@pytest.mark.usefixtures("four_eyes")
class TestFourEyes:
    """With FOUR_EYES on, each key takes an approval of its destruction."""

    @pytest.fixture
    def keys(self, acme: Organization) -> list[Credential]:
        """One active, one staged."""
        rows = [enrolment.shared_secret(acme, activate=False) for _ in range(2)]
        enrolment.put(rows[0], State.ACTIVE)
        return [Credential.objects.get(pk=row.pk) for row in rows]

    def approve(self, key: Credential) -> Approval:
        asked = approvals.request(Action.DESTROY, key, actor="alice", now=NOW)
        return approvals.approve(asked.pk, actor="bob", now=NOW)

    def test_without_approvals__every_key_is_named_and_nothing_happens(
        self, acme: Organization, keys: list[Credential]
    ) -> None:
        with pytest.raises(ApprovalRequired) as caught:
            offboard()

        assert caught.value.facts["action"] == "destroy"
        assert set(caught.value.facts["credentials"]) == {str(key.pk) for key in keys}
        assert untouched(acme)

    def test_with_some_approvals__nothing_happens_and_none_is_used_up(
        self, acme: Organization, keys: list[Credential]
    ) -> None:
        approval = self.approve(keys[0])

        with pytest.raises(ApprovalRequired):
            offboard()

        assert untouched(acme)
        approval.refresh_from_db()
        assert approval.status == Approval.Status.GRANTED

    def test_with_all_approvals__it_is_done_and_they_are_used_up(
        self, acme: Organization, keys: list[Credential]
    ) -> None:
        for key in keys:
            self.approve(key)

        offboard()

        assert states(acme) == {State.DESTROYED}
        assert {row.status for row in Approval.objects.all()} == {Approval.Status.USED}

    def test_organization_without_keys__takes_one_person(self, acme: Organization) -> None:
        offboard()

        acme.refresh_from_db()
        assert not acme.active

    def test_plan__says_which_keys_wait_for_a_second_person(
        self, acme: Organization, keys: list[Credential]
    ) -> None:
        self.approve(keys[0])

        planned = offboarding.plan("acme", now=NOW)

        assert [step.detail for step in planned.steps] == [
            "",
            "ACTIVE",
            "STAGED, waits for a second person",
        ]


# -- what stands in the queue


def queued(state: str = "QUEUED", name: str = "acme", **columns: Any) -> OutboundRequest:
    row = cybs.enqueue(
        name, "POST", "/pts/v2/payments", json=payment(), idempotency_key=f"{name} {state}"
    )
    sending = {"jti": str(row.pk), "fence_at": NOW, "attempt": 1} if state == "SENDING" else {}
    changes = {"state": state, **sending, **columns}
    OutboundRequest.objects.filter(pk=row.pk).update(**changes)
    return row


IN_DOUBT: Final = [("SENDING", False), ("IN_DOUBT", True), ("PARKED", True), ("QUEUED", True)]


def test_what_was_not_sent__is_cancelled_with_it_and_audited(acme: Organization) -> None:
    rows = [queued(state) for state in ("QUEUED", "PARKED")]

    planned = offboarding.plan("acme", now=NOW)
    offboard()

    assert [step for step in steps(planned) if step[0] == "cancel"] == [
        ("cancel", f"request {row.pk}") for row in rows
    ]
    assert set(OutboundRequest.objects.values_list("state", flat=True)) == {"CANCELLED"}
    assert KeyEvent.objects.filter(action="cancel-request", actor="alice").count() == 2


@pytest.mark.parametrize(("state", "maybe_sent"), IN_DOUBT)
def test_money_in_doubt__keeps_the_keys_that_could_clear_it_up(
    acme: Organization, state: str, maybe_sent: bool
) -> None:
    enrolment.shared_secret(acme)
    row = queued(state, maybe_sent=maybe_sent)
    waiting = queued("QUEUED" if state != "QUEUED" else "PARKED")

    assert ("leave in doubt", f"request {row.pk}") in steps(offboarding.plan("acme", now=NOW))
    with pytest.raises(InvalidTransition, match=str(row.pk)):
        offboard()

    assert untouched(acme)
    waiting.refresh_from_db()
    assert waiting.state != "CANCELLED"


def test_money_in_doubt__is_given_up_only_when_somebody_says_so(acme: Organization) -> None:
    enrolment.shared_secret(acme)
    row = queued("IN_DOUBT", maybe_sent=True)

    offboard(abandon=True)

    assert states(acme) == {State.DESTROYED}
    assert str(row.pk) in KeyEvent.objects.get(action="offboard").reason
    row.refresh_from_db()
    assert row.state == "IN_DOUBT"


@pytest.mark.parametrize("state", ["PARKED", "QUEUED"])
def test_void_that_may_have_worked__is_in_doubt_too(acme: Organization, state: str) -> None:
    row = cybs.enqueue(
        "acme", "POST", "/pts/v2/payments/1/voids", json=payment(), idempotency_key="void"
    )
    OutboundRequest.objects.filter(pk=row.pk).update(state=state, maybe_sent=True)

    with pytest.raises(InvalidTransition, match=str(row.pk)):
        offboard()
    offboard(abandon=True)

    row.refresh_from_db()
    assert row.state == state


def test_money_in_doubt__of_a_merchant_that_loses_its_key_keeps_the_meta_key() -> None:
    portfolio, _, _ = enrolment.family()
    enrolment.shared_secret(portfolio, covers="all")
    queued("IN_DOUBT", maybe_sent=True)
    waiting = queued()

    with pytest.raises(InvalidTransition, match="Nobody knows yet what became of 1 requests"):
        offboard("portfolio", losing=["account", "acme"])
    offboard("portfolio", losing=["account", "acme"], abandon=True)

    waiting.refresh_from_db()
    assert waiting.state == "QUEUED"


def test_too_many_requests__for_one_step_are_refused(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "MOST", 1)
    queued("QUEUED")
    queued("PARKED")

    with pytest.raises(QueueError, match="2 requests are waiting"):
        offboard()

    assert untouched(acme)
