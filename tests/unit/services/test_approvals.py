"""Four eyes: two names for one step, for one version of one key, once."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db import IntegrityError, transaction
from django.utils import timezone

import django_cybs_jwt
from django_cybs_jwt.exceptions import ApprovalDenied, ApprovalRequired, InvalidTransition
from django_cybs_jwt.models import AlertRecipient, Approval, Credential, KeyEvent, State
from django_cybs_jwt.services import approvals, rotation, withdrawal
from django_cybs_jwt.services.alerts import webhook
from django_cybs_jwt.services.approvals import COVER, EXPORT
from django_cybs_jwt.services.lifecycle import Action
from django_cybs_jwt.signals import break_glass_used
from tests import mail as outgoing
from tests.unit.services import enrolment
from tests.unit.services.receiver import Receiver

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "four_eyes"),
]

NOW: Final = timezone.now()
_numbers: Final = itertools.count()
PACKAGE: Final = Path(django_cybs_jwt.__file__).parent


@pytest.fixture
def four_eyes(cybs_ring: Any, settings: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}


@pytest.fixture
def key(four_eyes: None) -> Credential:
    """A staged key that `tests` uploaded, of an organization that no other test names."""
    return enrolment.shared_secret(enrolment.organization(f"acme{next(_numbers)}"), activate=False)


def asked(key: Credential, action: str = Action.DESTROY, *, now: datetime = NOW) -> Approval:
    return approvals.request(action, key, actor="alice", now=now, reason="leaving")


def granted(key: Credential, action: str = Action.DESTROY, *, now: datetime = NOW) -> Approval:
    return approvals.approve(asked(key, action, now=now).pk, actor="bob", now=now)


def destroy(key: Credential, *, now: datetime = NOW) -> Credential:
    return withdrawal.destroy(key, actor="alice", now=now, reason="leaving")


def denied(action: str, key: Credential) -> KeyEvent:
    """The one refusal of *action* that the audit trail keeps."""
    organization = str(key.organization)
    return KeyEvent.objects.get(action=action, outcome="denied", organization=organization)


def status(approval: Approval) -> str:
    return Approval.objects.values_list("status", flat=True).get(pk=approval.pk)


# -- what needs an approval, and what uses it up


def test_require__passes_everything_while_four_eyes_is_off(settings: Any, key: Credential) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": False}

    approvals.require(Action.DESTROY, key, now=NOW)

    assert not Approval.objects.exists()


def test_require__says_which_action_of_which_key_is_missing(key: Credential) -> None:
    with pytest.raises(ApprovalRequired, match=key.key_id) as caught:
        approvals.require(Action.DESTROY, key, now=NOW)

    facts = {"action": "destroy", "credentials": [str(key.pk)], "detail": ""}
    facts |= {"names": key.key_id, "last": ""}
    assert caught.value.facts == facts


def test_granted_step__is_taken_once_and_the_approval_is_used_up(key: Credential) -> None:
    approval = granted(key)

    assert destroy(key).state == State.DESTROYED
    assert status(approval) == Approval.Status.USED


def test_step__takes_an_approval_from_staging_to_export() -> None:
    lifecycle = {Action.ACTIVATE, Action.RESUME, Action.DESTROY}
    assert set(approvals.ACTIONS) == {*lifecycle, EXPORT, COVER}


def test_rotation__takes_two_people(key: Credential) -> None:
    def rotate() -> Credential:
        return rotation.rotate(key, actor="alice", now=NOW, force=True, reason="first")

    with pytest.raises(ApprovalRequired):
        rotate()
    granted(key, Action.ACTIVATE)

    assert rotate().state == State.ACTIVE


def test_resuming__takes_two_people_and_suspending_one(key: Credential) -> None:
    suspended = withdrawal.suspend(key, actor="alice", now=NOW, reason="odd")

    with pytest.raises(ApprovalRequired):
        withdrawal.resume(suspended, actor="alice", now=NOW, reason="fine")


def test_first_activation_at_import__stores_nothing_without_a_second_person() -> None:
    with pytest.raises(ApprovalRequired):
        enrolment.shared_secret(enrolment.organization(), activate=True)

    assert not Credential.objects.exists()


def test_several_keys__use_no_approval_up_when_one_is_missing(key: Credential) -> None:
    other = enrolment.shared_secret(key.organization, activate=False)
    approval = granted(key)

    with pytest.raises(ApprovalRequired) as caught, transaction.atomic():
        approvals.require_all(Action.DESTROY, [key, other], now=NOW)

    assert caught.value.facts["credentials"] == [str(other.pk)]
    assert status(approval) == Approval.Status.GRANTED


# -- approvals that do not count


def replayed(key: Credential, approval: Approval) -> None:
    approvals.require(Action.DESTROY, key, now=NOW)


def rejected(key: Credential, approval: Approval) -> None:
    approvals.reject(approval.pk, actor="bob", now=NOW)


def changed_row(key: Credential, approval: Approval) -> None:
    withdrawal.suspend(key, actor="carol", now=NOW, reason="odd")


def changed_key(key: Credential, approval: Approval) -> None:
    enrolment.change(key, fingerprint="0" * 64)


def ended(key: Credential, approval: Approval) -> None:
    Approval.objects.update(expires_at=NOW)


def for_another_action(key: Credential, approval: Approval) -> None:
    Approval.objects.update(action=EXPORT)


def for_another_key(key: Credential, approval: Approval) -> None:
    other = enrolment.shared_secret(key.organization, activate=False)
    Approval.objects.update(credential=other)


@pytest.mark.parametrize(
    "spoil",
    [
        replayed,
        rejected,
        changed_row,
        changed_key,
        ended,
        for_another_action,
        for_another_key,
    ],
)
def test_approval_that_does_not_count__refuses_and_leaves_an_audit_row(
    key: Credential, spoil: Callable[[Credential, Approval], None]
) -> None:
    spoil(key, granted(key))

    with pytest.raises(ApprovalRequired):
        destroy(key)

    assert "ApprovalRequired" in denied("destroy", key).reason
    assert Credential.objects.get(pk=key.pk).sealed_secret


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(replayed, "was used"), (rejected, "was rejected"), (changed_row, "has changed"),
     (ended, "ended at")],
)  # fmt: skip
def test_refusal__says_why_the_last_approval_does_not_count(
    key: Credential, spoil: Callable[[Credential, Approval], None], why: str
) -> None:
    spoil(key, granted(key))

    with pytest.raises(ApprovalRequired, match=why):
        destroy(key)


def test_request_that_nobody_has_answered__does_not_count(key: Credential) -> None:
    approval = asked(key)

    with pytest.raises(ApprovalRequired, match=f"{approval.pk} waits"):
        destroy(key)


def test_approval__ends_24_hours_after_it_was_asked_for(key: Credential) -> None:
    approval = granted(key)
    end = NOW + timedelta(hours=24)

    assert approval.expires_at == end
    assert approvals.is_granted(Action.DESTROY, key, now=end - timedelta(seconds=1))
    assert not approvals.is_granted(Action.DESTROY, key, now=end)


# -- who may grant


SAME_PERSON: Final = [
    *("alice", "Alice", " alice ", "\uff41lice", "os:alice", "OS: Alice", "os:os:alice"),
    *("tests", "TESTS", "os:tests"),
]


@pytest.mark.parametrize("name", SAME_PERSON)
def test_requester_and_uploader__cannot_approve(key: Credential, name: str) -> None:
    approval = asked(key)

    with pytest.raises(ApprovalDenied):
        approvals.approve(approval.pk, actor=name, now=NOW)

    assert status(approval) == Approval.Status.REQUESTED
    assert denied("approve", key).actor == name
    assert str(approval.pk) in denied("approve", key).reason


def test_superuser__cannot_approve_his_own_request(key: Credential) -> None:
    get_user_model().objects.create_superuser("alice", "alice@example.com", "secret")

    with pytest.raises(ApprovalDenied):
        approvals.approve(asked(key).pk, actor="alice", now=NOW)


@pytest.mark.parametrize(("asks", "approves"), [("os:alice", "alice"), ("Alice", "os:alice")])
def test_the_account_and_the_user_of_one_name__are_one_person(
    key: Credential, asks: str, approves: str
) -> None:
    approval = approvals.request(Action.DESTROY, key, actor=asks, now=NOW)

    with pytest.raises(ApprovalDenied, match="asked for it"):
        approvals.approve(approval.pk, actor=approves, now=NOW)


@pytest.mark.parametrize("name", ["", "  ", "os:", " os: "])
def test_nobody__cannot_ask_or_approve(key: Credential, name: str) -> None:
    with pytest.raises(ApprovalDenied):
        approvals.request(Action.DESTROY, key, actor=name, now=NOW)
    with pytest.raises(ApprovalDenied):
        approvals.approve(asked(key).pk, actor=name, now=NOW)


@pytest.mark.parametrize("spoil", [rejected, changed_row, changed_key, ended])
def test_spoilt_request__cannot_be_approved(
    key: Credential, spoil: Callable[[Credential, Approval], None]
) -> None:
    approval = asked(key)
    spoil(key, approval)

    with pytest.raises(ApprovalDenied):
        approvals.approve(approval.pk, actor="bob", now=NOW)

    assert "ApprovalDenied" in denied("approve", key).reason
    assert not Approval.objects.filter(status=Approval.Status.GRANTED).exists()


def test_request__is_approved_once(key: Credential) -> None:
    approval = granted(key)

    with pytest.raises(ApprovalDenied, match="GRANTED"):
        approvals.approve(approval.pk, actor="carol", now=NOW)


def test_database__refuses_a_row_that_its_own_requester_decided(key: Credential) -> None:
    approval = asked(key)
    row = Approval.objects.filter(pk=approval.pk)

    for decider in ("alice", ""):
        with pytest.raises(IntegrityError), transaction.atomic():
            row.update(status=Approval.Status.GRANTED, decided_by="Alice", decider=decider)

    assert row.update(status=Approval.Status.GRANTED, decided_by="bob", decider="bob") == 1


def test_five_refused_approvals__lock_that_person_out_for_15_minutes(key: Credential) -> None:
    approval = asked(key)
    for name in ("tests", "Tests", "os:tests", "tests", "tests"):
        with pytest.raises(ApprovalDenied, match="asked for it"):
            approvals.approve(approval.pk, actor=name, now=NOW)
    mine = approvals.request(EXPORT, key, actor="dora", now=NOW)

    with pytest.raises(ApprovalDenied, match="5 refused"):
        approvals.approve(mine.pk, actor="tests", now=NOW)
    later = NOW + timedelta(minutes=16)
    with pytest.raises(ApprovalDenied, match="asked for it"):
        approvals.approve(approval.pk, actor="tests", now=later)

    assert approvals.approve(mine.pk, actor="bob", now=NOW).decided_by == "bob"


# -- asking


def test_asking_twice__gives_the_same_request(key: Credential) -> None:
    first = asked(key)

    assert approvals.request(Action.DESTROY, key, actor="carol", now=NOW).pk == first.pk


def test_asking_after_a_change__gives_a_new_request(key: Credential) -> None:
    first = asked(key)
    withdrawal.suspend(key, actor="carol", now=NOW, reason="odd")

    second = asked(key)

    assert second.pk != first.pk
    assert second.lock_version == first.lock_version + 1


@pytest.mark.parametrize("action", [Action.SUSPEND, Action.ROLL_BACK, "reveal", Action.RESUME])
def test_asking_for_what_is_no_step__is_refused(key: Credential, action: str) -> None:
    with pytest.raises(InvalidTransition):
        approvals.request(action, key, actor="alice", now=NOW)

    assert not Approval.objects.exists()


def test_asking_for_a_destroyed_key__is_refused(key: Credential) -> None:
    granted(key)
    gone = destroy(key)

    with pytest.raises(InvalidTransition, match="DESTROYED"):
        approvals.request(EXPORT, gone, actor="alice", now=NOW)


def test_lists__leave_out_what_is_over_or_of_a_changed_key(key: Credential) -> None:
    other = enrolment.shared_secret(key.organization, activate=False)
    asked(key)
    open_one = asked(other)
    withdrawal.suspend(key, actor="carol", now=NOW, reason="odd")

    assert list(approvals.waiting(now=NOW)) == [open_one]
    assert list(approvals.usable(now=NOW + timedelta(hours=24))) == []
    assert approvals.listing().count() == 2


def test_granted_and_unused__is_listed_as_usable_and_not_as_waiting(key: Credential) -> None:
    approval = granted(key)

    assert list(approvals.usable(now=NOW)) == [approval]
    assert not approvals.waiting(now=NOW).exists()


def test_every_step__is_an_audit_row_with_the_fingerprint(key: Credential) -> None:
    approval = granted(key, EXPORT)

    rows = KeyEvent.objects.filter(credential=key.pk).exclude(action="import").order_by("seq")
    assert [(row.actor, row.fingerprint) for row in rows] == [
        ("alice", key.fingerprint),
        ("bob", key.fingerprint),
    ]
    assert all(f"export {approval.pk}" in row.reason for row in rows)


# -- turning down


def test_requester__may_take_his_request_back(key: Credential) -> None:
    approval = approvals.reject(asked(key).pk, actor="alice", now=NOW)

    assert status(approval) == Approval.Status.REJECTED


@pytest.mark.parametrize("spoil", [rejected, replayed, ended])
def test_rejecting_what_is_over__is_refused_and_audited(
    key: Credential, spoil: Callable[[Credential, Approval], None]
) -> None:
    approval = granted(key)
    spoil(key, approval)

    with pytest.raises(ApprovalDenied):
        approvals.reject(approval.pk, actor="carol", now=NOW)

    assert denied("reject", key).actor == "carol"


# -- break glass


def break_glass(approval: Approval, *, now: datetime = NOW, reason: str = "4711") -> Approval:
    return approvals.break_glass(approval.pk, actor="alice", now=now, reason=reason)


def recipient(address: str, **columns: Any) -> AlertRecipient:
    return AlertRecipient.objects.create(**{"channel": "mail", "address": address, **columns})


def test_break_glass__lets_the_requester_grant_alone_for_one_hour(key: Credential) -> None:
    approval = break_glass(asked(key))

    assert approval.expires_at == NOW + timedelta(hours=1)
    with pytest.raises(ApprovalRequired):
        destroy(key, now=NOW + timedelta(hours=1))
    assert destroy(key, now=NOW + timedelta(minutes=59)).state == State.DESTROYED


def test_break_glass__does_not_prolong_a_request(key: Credential) -> None:
    approval = asked(key)

    opened = break_glass(approval, now=NOW + timedelta(hours=23, minutes=30))

    assert opened.expires_at == approval.expires_at


@pytest.mark.parametrize("spoil", [rejected, changed_row, ended])
def test_break_glass__opens_no_spoilt_request(
    key: Credential, spoil: Callable[[Credential, Approval], None]
) -> None:
    approval = asked(key)
    spoil(key, approval)

    with pytest.raises(ApprovalDenied):
        break_glass(approval)

    assert denied("break-glass", key).actor == "alice"


def test_break_glass__takes_a_reason(key: Credential) -> None:
    with pytest.raises(ApprovalDenied, match="reason"):
        break_glass(asked(key), reason="")


def test_break_glass__pages_everyone(key: Credential, caplog: pytest.LogCaptureFixture) -> None:
    recipient("ops@example.com")
    recipient("ops@example.com", organization=key.organization)
    recipient("boss@example.com", escalation=True)
    recipient("gone@example.com", active=False)
    heard: list[Any] = []

    def listen(**facts: Any) -> None:
        heard.append((facts["approval"].pk, facts["actor"], facts["reason"]))

    break_glass_used.connect(listen)
    try:
        approval = break_glass(asked(key), reason="incident\nBcc: x@example.com")
    finally:
        break_glass_used.disconnect(listen)

    assert [message.to for message in mail.outbox] == [["boss@example.com"], ["ops@example.com"]]
    assert all("destroy" in message.subject and key.key_id in message.subject
               for message in mail.outbox)  # fmt: skip
    assert heard == [(approval.pk, "alice", "incident\nBcc: x@example.com")]
    (line,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert key.key_id in line.getMessage()
    assert "\n" not in line.getMessage()
    assert KeyEvent.objects.get(action="break-glass", credential=key.pk).actor == "alice"


def test_break_glass__pages_a_webhook_with_a_signed_body(
    key: Credential, receiver: Receiver
) -> None:
    hook = recipient(receiver.url, channel="webhook")

    approval = break_glass(asked(key))

    ((_, headers, body),) = receiver.got
    timestamp = str(int(NOW.timestamp()))
    signed = webhook.signature(webhook.signing_key(hook), timestamp, body)
    assert (headers["Cybs-Timestamp"], headers["Cybs-Signature"]) == (timestamp, signed)
    assert json.loads(body) == {
        "type": "cybs.break_glass",
        "at": NOW.isoformat(),
        "approval": str(approval.pk),
        "action": "destroy",
        "organization": key.organization.org_id,
        "host": key.organization.host,
        "key_id": key.key_id,
        "actor": "alice",
        "reason": "4711",
        "valid_until": (NOW + timedelta(hours=1)).isoformat(),
    }


class PartlyBroken(BaseEmailBackend):
    """Loses the mail to `boss` the way servers do, and hands the rest on."""

    def send_messages(self, messages: Any) -> int:
        if "boss@example.com" in messages[0].to:
            raise OSError("connection refused")
        mail.outbox.extend(messages)
        return len(messages)


def test_a_page_that_fails__keeps_no_other_one_back(
    key: Credential, settings: Any, receiver: Receiver
) -> None:
    outgoing.use(settings, f"{__name__}.PartlyBroken")
    receiver.status = 500
    recipient("555", channel="gone")
    recipient("boss@example.com")
    recipient("ops@example.com")
    recipient(receiver.url, channel="webhook")

    approval = break_glass(asked(key))

    assert [message.to for message in mail.outbox] == [["ops@example.com"]]
    assert status(approval) == Approval.Status.GRANTED


def test_break_glass_that_is_rolled_back__pages_nobody(key: Credential) -> None:
    recipient("ops@example.com")
    approval = asked(key)

    with transaction.atomic():
        break_glass(approval)
        transaction.set_rollback(True)

    assert mail.outbox == []


def test_break_glass_and_export__are_called_by_commands_only() -> None:
    callers = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if "break_glass(" in path.read_text().replace("def break_glass(", "")
        or "approvals.break_glass" in path.read_text()
        or "import export" in path.read_text()
    }

    assert callers == {"management"}
