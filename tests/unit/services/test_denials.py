"""A denied row names the key that somebody wanted something of, and the time he wanted it at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import Credential, KeyEvent
from django_cybs_jwt.services import (
    approvals,
    export,
    offboarding,
    rotation,
    verification,
    withdrawal,
)
from django_cybs_jwt.services.lifecycle import Action
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
HOW: dict[str, Any] = {"actor": "mallory", "now": NOW}


def approve_own(key: Credential) -> None:
    asked = approvals.request(Action.DESTROY, key, **HOW)
    approvals.approve(asked.pk, **HOW)


def break_glass(key: Credential) -> None:
    asked = approvals.request(Action.DESTROY, key, **HOW)
    approvals.break_glass(asked.pk, reason="", **HOW)


DENIED: dict[str, Callable[[Credential], Any]] = {
    "activate": lambda key: rotation.rotate(key, **HOW),
    "unschedule": lambda key: rotation.unschedule(key, **HOW),
    "roll-back": lambda key: rotation.roll_back(key.slot, **HOW),
    "export": lambda key: export.export(key, Path("/nowhere"), "short", reason="x", **HOW),
    "destroy": lambda key: withdrawal.destroy(key, reason="", **HOW),
    "discard": lambda key: withdrawal.discard(key, reason="x", **HOW),
    "verify": lambda key: verification.verify(key, acting_as="rival", **HOW),
    "release": lambda key: withdrawal.release(key, reason="x", **HOW),
    "request-approval": lambda key: approvals.request("reveal", key, **HOW),
    "approve": approve_own,
    "break-glass": break_glass,
}


@pytest.mark.parametrize("action", DENIED)
def test_a_refusal_about_a_key_names_it_and_the_callers_time(action: str) -> None:
    key = enrolment.shared_secret(enrolment.organization())

    with pytest.raises(CybsError):
        DENIED[action](key)

    row = KeyEvent.objects.get(outcome="denied")
    assert (row.action, row.at) == (action, NOW)
    assert (row.credential, row.key_id, row.fingerprint) == (key.pk, key.key_id, key.fingerprint)


def test_a_refusal_about_an_organization_has_the_callers_time() -> None:
    acme = enrolment.organization()

    with pytest.raises(CybsError):
        offboarding.offboard(acme.org_id, reason="", **HOW)

    assert KeyEvent.objects.get(outcome="denied").at == NOW
