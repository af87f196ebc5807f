"""The audit chain: every change and every refusal, chained so that an edit shows."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone as django_timezone

from django_cybs_jwt.exceptions import CybsError, DuplicateKey, InvalidTransition
from django_cybs_jwt.models import (
    AuditHead,
    Credential,
    GatewayCertificate,
    KeyEvent,
    KeySlot,
    Organization,
)
from django_cybs_jwt.services import (
    audit,
    coverage,
    gateway_certificates,
    organizations,
    rotation,
    withdrawal,
)
from django_cybs_jwt.testing import material
from tests.unit.sealing.spec_envelope import hkdf
from tests.unit.services import enrolment

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]


def recomputed(ring: dict[str, Any]) -> bool:
    """Read the table alone and say whether the chain holds; nothing of the package is called."""
    key = hkdf(base64.b64decode(ring["audit_key"]), bytes(64), b"cybs_jwt:audit")
    head = AuditHead.objects.get()
    rows = list(KeyEvent.objects.order_by("seq").values())
    previous = ""
    for number, row in enumerate(rows, start=1):
        digest = row.pop("digest")
        told = {**row, "at": row["at"].isoformat(timespec="microseconds")}
        canonical = json.dumps(told, default=str, sort_keys=True, separators=(",", ":"))
        expected = hmac.new(key, (previous + canonical).encode(), hashlib.sha256).hexdigest()
        if row["seq"] != number or digest != expected:
            return False
        previous = digest
    return (head.seq, head.digest) == (len(rows), previous)


def told() -> list[tuple[str, str, str]]:
    rows = KeyEvent.objects.order_by("seq")
    return [(row.action, row.outcome, row.organization) for row in rows]


def some_history() -> None:
    acme = enrolment.organization()
    first = enrolment.shared_secret(acme)
    enrolment.shared_secret(acme, activate=False)
    withdrawal.retire(first, actor="operator", now=django_timezone.now(), reason="Grün, 'quoted'\n")
    organizations.disable("acme", actor="operator", reason="closed")


def test_import_and_activation_tell_who_what_and_which_key(cybs_ring: dict[str, Any]) -> None:
    acme = enrolment.organization()
    row = enrolment.shared_secret(acme)
    _, staged, activated = KeyEvent.objects.order_by("seq")
    assert (staged.action, staged.from_state, staged.to_state) == ("import", "", "STAGED")
    assert (activated.action, activated.from_state, activated.to_state) == (
        "activate",
        "STAGED",
        "ACTIVE",
    )
    assert activated.reason == "initial import"
    for event in (staged, activated):
        assert event.outcome == "done"
        assert event.actor == "tests"
        assert event.organization == f"acme@{enrolment.HOST}"
        assert event.credential == row.pk
        assert (event.key_id, event.fingerprint) == (row.key_id, row.fingerprint)


def test_every_kind_of_change_is_told() -> None:
    portfolio, _, acme = enrolment.family()
    row = enrolment.shared_secret(portfolio, covers="selected")
    coverage.add("portfolio", ["acme"], actor="tests")
    coverage.remove("portfolio", ["acme"], actor="tests")
    withdrawal.retire(row, actor="tests", now=django_timezone.now(), reason="moved")
    organizations.disable("acme", actor="tests")
    pem = material.gateway_certificate().pem.encode()
    gateway_certificates.add(pem, host=enrolment.HOST, actor="tests", now=django_timezone.now())
    actions = [action for action, _, _ in told()]
    assert actions == [
        "add",
        "add",
        "add",
        "import",
        "activate",
        "cover",
        "uncover",
        "retire",
        "disable",
        "gateway-cert",
    ]
    assert KeyEvent.objects.get(action="cover").reason == acme.org_id


def test_the_chain_can_be_recomputed_from_the_rows_alone(cybs_ring: dict[str, Any]) -> None:
    some_history()
    with pytest.raises(CybsError):
        coverage.add("acme", ["acme"], actor="tests")
    assert KeyEvent.objects.count() == 7
    assert recomputed(cybs_ring)


def test_a_time_in_another_zone_does_not_break_the_chain(cybs_ring: dict[str, Any]) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    audit.record(
        audit.Entry(action="import", actor="a", organization="o"),
        now=django_timezone.now().astimezone(east),
    )
    assert recomputed(cybs_ring)


def rows(**where: Any) -> QuerySet[KeyEvent]:
    """The table as SQL sees it: the model's own manager refuses to change a row."""
    return QuerySet(KeyEvent).filter(**where)


# The model itself refuses to be changed; somebody with SQL is not asked.
BEHIND = KeyEvent._base_manager


def edit(**columns: Any) -> Callable[[], object]:
    return lambda: rows(seq=2).update(**columns)


def swap() -> None:
    two, three = KeyEvent.objects.get(seq=2), KeyEvent.objects.get(seq=3)
    rows(pk=two.pk).update(seq=999)
    rows(pk=three.pk).update(seq=2)
    rows(pk=two.pk).update(seq=3)


def insert() -> None:
    last = KeyEvent.objects.order_by("-seq").first()
    assert last is not None
    KeyEvent.objects.create(
        seq=last.seq + 1, at=last.at, actor="x", action="import", outcome="done",
        organization="x", digest=last.digest,
    )  # fmt: skip


TAMPERED: dict[str, Callable[[], object]] = {
    "actor": edit(actor="someone else"),
    "outcome": edit(outcome="denied"),
    "reason": edit(reason="better"),
    "fingerprint": edit(fingerprint="0" * 64),
    "state": edit(to_state="RETIRED"),
    "time": lambda: rows(seq=2).update(at=rows().get(seq=2).at + timedelta(microseconds=1)),
    "credential": edit(credential=None),
    "digest": edit(digest="0" * 64),
    "deleted in the middle": rows(seq=2).delete,
    "deleted and closed up": lambda: (
        rows(seq=2).delete(),
        rows(seq=3).update(seq=2),
        rows(seq=4).update(seq=3),
        rows(seq=5).update(seq=4),
    ),
    "reordered": swap,
    "inserted": insert,
    "truncated": rows(seq=5).delete,
    "emptied": rows().delete,
}


@pytest.mark.parametrize("change", TAMPERED)
def test_every_change_to_the_table_is_found_by_recomputation(
    cybs_ring: dict[str, Any], change: str
) -> None:
    some_history()
    assert recomputed(cybs_ring)
    TAMPERED[change]()
    assert not recomputed(cybs_ring)


def test_the_chain_cannot_be_recomputed_with_another_audit_key(cybs_ring: dict[str, Any]) -> None:
    some_history()
    other = {**cybs_ring, "audit_key": material.shared_secret().secret}
    assert not recomputed(other)


def forced_refusal(acme: Organization) -> None:
    """Import a key that another merchant has."""
    file = material.shared_secret()
    enrolment.shared_secret(enrolment.organization("first"), secret=file.secret)
    with pytest.raises(DuplicateKey):
        enrolment.shared_secret(acme, secret=file.secret)


def test_a_refused_import_leaves_a_denied_row_and_nothing_else(cybs_ring: dict[str, Any]) -> None:
    acme = enrolment.organization()
    forced_refusal(acme)
    assert told()[-1] == ("import", "denied", f"acme@{enrolment.HOST}")
    denied = KeyEvent.objects.order_by("seq").last()
    assert denied is not None
    assert denied.reason.startswith("DuplicateKey: This key is stored for first@")
    assert not Credential.objects.filter(organization=acme).exists()
    assert not KeySlot.objects.filter(organization=acme).exists()
    assert recomputed(cybs_ring)


def test_a_refused_activation_leaves_one_denied_row(cybs_ring: dict[str, Any]) -> None:
    acme = enrolment.organization()
    enrolment.shared_secret(acme)
    with pytest.raises(CybsError):
        enrolment.shared_secret(acme)
    assert [entry[:2] for entry in told()] == [
        ("add", "done"),
        ("import", "done"),
        ("activate", "done"),
        ("import", "denied"),
    ]
    assert recomputed(cybs_ring)


@pytest.mark.parametrize("rolls_back", [False, True])
def test_inside_an_open_sqlite_transaction_a_refusal_shares_its_fate_and_is_logged(
    caplog: pytest.LogCaptureFixture, rolls_back: bool
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite only: it has one writer.")
    with caplog.at_level(logging.ERROR, logger="django_cybs_jwt"), transaction.atomic():
        forced_refusal(enrolment.organization())
        transaction.set_rollback(rolls_back)
    assert "Denied, not in the audit chain if the transaction around it rolls back" in caplog.text
    assert "denied" in {outcome for _, outcome, _ in told()} or rolls_back
    assert not (rolls_back and told())


def test_a_refusal_inside_a_transaction_that_is_broken_is_logged_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite only: elsewhere it is written on a connection of its own.")
    acme = enrolment.organization()
    with caplog.at_level(logging.ERROR, logger="django_cybs_jwt"), transaction.atomic():
        transaction.set_rollback(True)
        with (
            pytest.raises(InvalidTransition),
            audit.denials("note", actor="a", organization=acme),
        ):
            raise InvalidTransition
        transaction.set_rollback(True)
    assert "It does: TransactionManagementError" in caplog.text


def block_the_next_row() -> None:
    """The number that the next audit row will have is taken: writing it must fail."""
    head = AuditHead.objects.get()
    KeyEvent.objects.create(
        seq=head.seq + 1, at=django_timezone.now(), actor="x", action="x", outcome="done",
        organization="x", digest="x",
    )  # fmt: skip


CHANGES: dict[str, Callable[[Organization], object]] = {
    "import": lambda acme: enrolment.shared_secret(acme, activate=False),
    "import with certificate": lambda acme: enrolment.rsa_key(
        acme, activate=False, gateway=material.gateway_certificate().certificate
    ),
    "activate": lambda _: rotation.activate(
        Credential.objects.get(key_id="staged"), actor="tests", now=django_timezone.now()
    ),
    "cover": lambda _: coverage.add("portfolio", ["acme"], actor="tests"),
    "disable": lambda _: organizations.disable("acme", actor="tests"),
    "gateway-cert": lambda _: gateway_certificates.add(
        material.gateway_certificate().pem.encode(),
        host=enrolment.HOST,
        actor="tests",
        now=django_timezone.now(),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_whose_audit_row_cannot_be_written_does_not_happen(change: str) -> None:
    portfolio, _, acme = enrolment.family()
    enrolment.shared_secret(portfolio, covers="selected")
    enrolment.shared_secret(acme, key_id="staged", activate=False, slot="staged")
    block_the_next_row()
    before = database()
    with pytest.raises(IntegrityError):
        CHANGES[change](acme)
    assert database() == before


def database() -> list[Any]:
    """Every row of the app but the audit's."""
    models = (Organization, KeySlot, Credential, GatewayCertificate)
    rows = [list(model.objects.order_by("pk").values()) for model in models]
    selected = list(KeySlot.merchants.through.objects.values())
    return [*rows, selected, list(AuditHead.objects.values())]


def test_an_audit_row_names_no_secret() -> None:
    file = material.shared_secret()
    acme = enrolment.organization()
    enrolment.shared_secret(acme, secret=file.secret)
    with pytest.raises(CybsError):
        enrolment.shared_secret(acme, secret=file.secret)
    rows = json.dumps(list(KeyEvent.objects.values()), default=str)
    assert file.secret not in rows
    assert enrolment.decoded(file.secret).hex() not in rows
