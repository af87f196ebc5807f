"""A request in doubt is cleared up without a guess: found, undone, absent, or left to a person.

Each policy with a reset before and after the gateway's ledger write.
"""

from __future__ import annotations

from typing import Any

import pytest

from django_cybs_jwt import cybs
from django_cybs_jwt.models import Credential, OutboundRequest, State
from django_cybs_jwt.services import organizations, signing
from django_cybs_jwt.services.queue import gateway_lookup, payloads
from django_cybs_jwt.simulator.messages import SimAnswer, Wire
from django_cybs_jwt.testing.simulation import HOST, Simulation
from tests.unit.services import enrolment
from tests.unit.services.queue import rows
from tests.unit.services.queue.rows import SALE, Clock

FENCE = 120 + 130 + 15
PAYMENT = "POST /pts/v2/payments"


def resolve_by(settings: Any, policy: str) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESOLVE": {PAYMENT: policy}}


def in_doubt(simulation: Simulation, kind: str, **options: Any) -> OutboundRequest:
    row = rows.enqueue(**options)
    rows.fail(simulation, kind)
    row = rows.work(row)
    assert row.state == "IN_DOUBT"
    return row


def wait(row: OutboundRequest, clock: Clock, seconds: float, step: float = 20) -> OutboundRequest:
    """Let that long pass, with a worker that looks every *step* seconds."""
    for _ in range(int(seconds / step)):
        clock.forward(step)
        row = rows.work(row)
    return row


# By policy


@pytest.mark.parametrize("body", [{}, SALE], ids=["authorization", "sale"])
@pytest.mark.parametrize("policy", ["void", "search", "resend"])
def test_processed_and_the_reply_lost__is_found(
    acme: Simulation, clock: Clock, settings: Any, policy: str, body: dict[str, Any]
) -> None:
    """c8, c9: reset after the ledger write."""
    resolve_by(settings, policy)
    row = in_doubt(acme, "reset_after", json=rows.payment(**body))
    clock.forward(11)
    row = rows.work(row)
    assert (row.state, row.found, row.outcome) == ("ANSWERED", True, "TRANSMITTED")
    assert len(rows.money(acme)) == 1
    reply = cybs.reply_to(row)
    assert reply is not None
    assert reply.json()["id"] == row.gateway_id == acme.ledger[0].id


ENDS = {"void": ("ABSENT", 0), "search": ("ABSENT", 0), "resend": ("ANSWERED", 1)}


@pytest.mark.parametrize("body", [{}, SALE], ids=["authorization", "sale"])
@pytest.mark.parametrize("policy", ENDS)
def test_never_processed__is_absent_or_sent_again_and_not_before_the_fence(
    acme: Simulation, clock: Clock, settings: Any, policy: str, body: dict[str, Any]
) -> None:
    """c5, c7: reset before the ledger write."""
    resolve_by(settings, policy)
    row = in_doubt(acme, "reset_before", json=rows.payment(**body))
    row = wait(row, clock, 240)
    assert row.state == "IN_DOUBT"
    row = wait(row, clock, 60)
    end, charged = ENDS[policy]
    assert row.state == end
    assert len(rows.money(acme)) == charged


@pytest.mark.parametrize("kind", ["reset_before", "reset_after"])
def test_manual__is_left_to_a_person_with_its_payload(
    acme: Simulation, clock: Clock, settings: Any, kind: str
) -> None:
    resolve_by(settings, "manual")
    row = in_doubt(acme, kind)
    clock.forward(11)
    row = rows.work(row)
    assert (row.state, row.reason) == ("PARKED", "in_doubt")
    assert payloads.open_payload(row).body


def test_money_that_nobody_guards_is_left_to_a_person(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows.enqueue("/pts/v2/payouts")
    # The simulator has no such endpoint, so the connection ends before it is asked for one.
    reset = SimAnswer(status=0, wire=Wire.RESET)
    monkeypatch.setattr(acme.gateway, "handle", lambda _: reset)
    row = rows.work(row)
    assert (row.state, row.safety) == ("IN_DOUBT", "UNGUARDED")
    clock.forward(11)
    assert rows.work(row).state == "PARKED"


@pytest.mark.parametrize("kind", ["reset_before", "reset_after"])
def test_repeat__a_void_is_sent_again_and_undoes_once(
    acme: Simulation, clock: Clock, kind: str
) -> None:
    sale = rows.work(rows.enqueue(json=rows.payment(**SALE)))
    row = rows.enqueue(f"/pts/v2/payments/{sale.gateway_id}/voids", json={"x": "y"})
    assert row.safety == "REPEATABLE"
    rows.fail(acme, kind)
    row = rows.work(row)
    assert row.state == "IN_DOUBT"
    row = rows.work(row)
    # The second says that there is nothing left to undo: that, too, is an answer.
    assert row.state == "ANSWERED"
    assert row.http_status == (201 if kind == "reset_before" else 400)
    assert [entry.operation for entry in acme.ledger].count("void") == 1


# Follow-ups


@pytest.mark.parametrize("path", ["captures", "refunds"])
@pytest.mark.parametrize(("kind", "end"), [("reset_after", "ANSWERED"), ("reset_before", "ABSENT")])
def test_captures_and_refunds_are_cleared_up_by_their_own_id(
    acme: Simulation, clock: Clock, path: str, kind: str, end: str
) -> None:
    body = SALE if path == "refunds" else {}
    code = {"clientReferenceInformation": {"code": "shared-by-both"}}
    first = rows.work(rows.enqueue(json=rows.payment(**body, **code)))
    row = rows.enqueue(f"/pts/v2/payments/{first.gateway_id}/{path}", json=rows.payment(**code))
    assert (row.safety, row.operation) == ("GUARDED", f"POST /pts/v2/payments/{{id}}/{path}")
    rows.fail(acme, kind)
    row = wait(rows.work(row), clock, FENCE + 40)
    assert row.state == end
    assert len(rows.money(acme)) == (2 if kind == "reset_after" else 1)


# Undoing


@pytest.mark.parametrize("body", [{}, SALE], ids=["reversal", "void"])
def test_what_the_search_does_not_show_is_undone_by_its_transaction_id(
    acme: Simulation, clock: Clock, body: dict[str, Any]
) -> None:
    acme.gateway.ledger.index_lag = 1e9
    row = in_doubt(acme, "reset_after", json=rows.payment(**body))
    row = wait(row, clock, FENCE + 40)
    assert (row.state, row.outcome) == ("VOIDED", "VOIDED")
    assert acme.gateway.ledger.is_undone(acme.ledger[0])


@pytest.mark.parametrize("kind", ["reset_before", "reset_after"])
def test_an_undoing_whose_reply_was_lost_is_done_once(
    acme: Simulation, clock: Clock, kind: str
) -> None:
    """c13."""
    acme.gateway.ledger.index_lag = 1e9
    row = in_doubt(acme, "reset_after", json=rows.payment(**SALE))
    rows.fail(acme, kind, operation="void")
    row = wait(row, clock, FENCE + 15)
    assert row.state == "IN_DOUBT"
    acme.gateway.ledger.index_lag = 0.0
    row = wait(row, clock, 900)
    # Seen by the search it is found; when its void was lost on the way, it stands.
    assert row.state == ("VOIDED" if kind == "reset_after" else "ANSWERED")
    assert len(rows.money(acme)) == 1
    assert acme.gateway.ledger.is_undone(acme.ledger[0]) is (kind == "reset_after")


def test_what_somebody_else_has_voided_is_voided(acme: Simulation, clock: Clock) -> None:
    row = in_doubt(acme, "reset_after", json=rows.payment(**SALE))
    cybs.send("acme", "POST", f"/pts/v2/payments/{acme.ledger[0].id}/voids", json={"x": "y"})
    clock.forward(11)
    assert rows.work(row).state == "VOIDED"


# Searching


def test_the_search_that_lags_behind_finds_it_later(acme: Simulation, clock: Clock) -> None:
    acme.gateway.ledger.index_lag = 3600.0
    row = in_doubt(acme, "reset_after")
    row = wait(row, clock, 100)
    assert row.state == "IN_DOUBT"
    acme.gateway.ledger.index_lag = 0.0
    assert wait(row, clock, 100).state == "ANSWERED"


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "reset_after"}])
def test_a_search_that_fails_is_not_a_search_that_finds_nothing(
    acme: Simulation, clock: Clock, settings: Any, fault: dict[str, Any]
) -> None:
    """I9."""
    settings.CYBS_JWT = {**settings.CYBS_JWT, "QUEUE": {"looks": 8}}
    row = in_doubt(acme, "reset_before")
    rows.fail(acme, operation="search", times=99, **fault)
    row = wait(row, clock, FENCE + 40)
    assert row.state == "IN_DOUBT"
    row = wait(row, clock, 4000, step=300)
    assert row.state == "PARKED"
    assert row.reason.startswith("unclear:")
    assert row.sealed_payload is not None


def test_a_search_that_fails_for_a_while_is_made_again(acme: Simulation, clock: Clock) -> None:
    row = in_doubt(acme, "reset_after")
    rows.fail(acme, "status", status=503, operation="search", times=3)
    assert wait(row, clock, 240).state == "ANSWERED"


def test_other_payments_under_the_merchants_own_code_are_not_taken_for_it(
    acme: Simulation, clock: Clock
) -> None:
    code = {"clientReferenceInformation": {"code": "always the same"}}
    for _ in range(3):
        rows.work(rows.enqueue(json=rows.payment(**code)))
    row = in_doubt(acme, "reset_before", json=rows.payment(**code))
    assert wait(row, clock, FENCE + 40).state == "ABSENT"


def test_more_under_one_code_than_a_page_shows_proves_nothing(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_lookup, "_PAGE", 2)
    code = {"clientReferenceInformation": {"code": "always the same"}}
    for _ in range(3):
        rows.work(rows.enqueue(json=rows.payment(**code)))
    row = in_doubt(acme, "reset_before", json=rows.payment(**code))
    assert wait(row, clock, FENCE + 40).state == "IN_DOUBT"


def test_a_code_that_cannot_be_quoted_is_not_searched_for(acme: Simulation, clock: Clock) -> None:
    code = {"clientReferenceInformation": {"code": '" OR code:"'}}
    row = in_doubt(acme, "reset_before", json=rows.payment(**code))
    assert wait(row, clock, FENCE + 40).state == "IN_DOUBT"


def test_two_under_one_transaction_id_are_a_persons_business(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    row = in_doubt(acme, "reset_after")
    entry = acme.ledger[0]
    twin = type(entry)(**{**_fields(entry), "id": "9" * 22, "operation": "sale"})
    ledger = acme.gateway.ledger
    ledger._entries[twin.id] = twin
    ledger._codes[twin.org_id, twin.code].append(twin)
    clock.forward(11)
    row = rows.work(row)
    assert (row.state, row.reason) == ("PARKED", "processed_twice")
    assert "processed 2 times" in caplog.text


def _fields(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}


# Replies kept unread


def kept_unread(acme: Simulation, monkeypatch: pytest.MonkeyPatch) -> OutboundRequest:
    handle, keys = acme.gateway.handle, signing.keys_for(f"acme@{HOST}")

    def then_lose_the_key(request: Any) -> Any:
        answer = handle(request)
        keys.response_keys.clear()  # type: ignore[attr-defined]  # only this process loses it
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(acme.gateway, "handle", then_lose_the_key)
        row = rows.work(rows.enqueue())
    assert (row.state, row.reason) == ("IN_DOUBT", "unreadable")
    kept = payloads.open_reply(row)
    assert kept is not None
    assert not kept.readable
    signing.forget()
    acme.gateway.ledger.index_lag = 1e9  # so that the search is of no help
    return row


def test_a_reply_kept_unread_opens_once_its_key_is_there(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = kept_unread(acme, monkeypatch)
    clock.forward(11)
    row = rows.work(row)
    assert (row.state, row.found, row.outcome) == ("ANSWERED", False, "AUTHORIZED")


def stop_signing(row: OutboundRequest) -> None:
    key = Credential.objects.get(organization=row.organization, slot__purpose="signing")
    enrolment.put(key, State.SUSPENDED)


def disable(row: OutboundRequest) -> None:
    organizations.disable(str(row.organization), actor="tests")
    signing.forget()


@pytest.mark.parametrize("stop", [stop_signing, disable], ids=["no key", "disabled"])
def test_a_reply_kept_unread_opens_although_nothing_can_be_signed_any_more(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch, stop: Any
) -> None:
    row = kept_unread(acme, monkeypatch)
    stop(row)
    clock.forward(11)
    row = rows.work(row)
    assert (row.state, row.found, row.outcome) == ("ANSWERED", False, "AUTHORIZED")
