"""A request in doubt is cleared up without a guess: found, undone, absent, or left to a person.

Each policy with a reset before and after the gateway's ledger write.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import DataError

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import InvalidBody
from django_cybs_jwt.models import Credential, OutboundRequest, State
from django_cybs_jwt.services import organizations, signing
from django_cybs_jwt.services.queue import (
    breakers,
    database_clock,
    gateway_lookup,
    operating,
    parking,
    payloads,
    resolving,
    safety,
    working,
)
from django_cybs_jwt.simulator import bodies
from django_cybs_jwt.simulator.ledger import MONEY
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


def standing(simulation: Simulation) -> list[str]:
    """The ids of the payments that moved money and were not undone."""
    ledger = simulation.gateway.ledger
    paid = [each for each in ledger.entries() if each.operation in MONEY]
    return [each.id for each in paid if each.succeeded and not ledger.is_undone(each)]


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


@pytest.mark.parametrize("code", [None, ""], ids=["null", "empty"])
@pytest.mark.parametrize("policy", ["void", "search", "resend"])
def test_one_whose_code_says_nothing_is_sent_and_found_under_its_transaction_id(
    acme: Simulation, clock: Clock, settings: Any, policy: str, code: str | None
) -> None:
    resolve_by(settings, policy)
    named = {"clientReferenceInformation": {"code": code}}
    row = in_doubt(acme, "reset_after", json=rows.payment(**SALE, **named))
    clock.forward(11)
    row = rows.work(row)
    assert (row.state, row.found, acme.ledger[0].code) == ("ANSWERED", True, row.transaction_id)


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


def test_resend__refused_for_now_it_keeps_the_id_that_keeps_it_from_charging_twice(
    acme: Simulation, clock: Clock, settings: Any
) -> None:
    """I8."""
    resolve_by(settings, "resend")
    acme.gateway.ledger.index_lag = 1e9
    row = in_doubt(acme, "reset_after", json=rows.payment(**SALE))
    rows.fail(acme, "status", status=400, reason="PROCESSOR_UNAVAILABLE", operation="sale")
    row = wait(row, clock, 1200)
    assert row.attempt >= 3
    assert len(standing(acme)) == 1


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


PAYOUTS = "/pts/v2/payouts"
MINE = {"clientReferenceInformation": {"code": "p-1", "transactionId": "payout-1"}}


def payout_in_doubt(
    simulation: Simulation, clock: Clock, patch: pytest.MonkeyPatch, **body: Any
) -> OutboundRequest:
    """Reset after it was sent; the simulator has no such endpoint, so the search shows nothing."""
    row, handle = rows.enqueue(PAYOUTS, json=rows.payment(**body)), simulation.gateway.handle

    def reset_once(request: Any) -> Any:
        ours = request.path.startswith(PAYOUTS)
        return SimAnswer(status=0, wire=Wire.RESET) if ours else handle(request)

    patch.setattr(simulation.gateway, "handle", reset_once)
    row = rows.work(row)
    assert (row.state, row.safety) == ("IN_DOUBT", "UNGUARDED")
    clock.forward(11)
    return rows.work(row)


@pytest.mark.parametrize("policy", ["search", "void", "resend"])
@pytest.mark.parametrize("body", [MINE, {}], ids=["with its id", "without"])
def test_money_that_nobody_guards_is_neither_undone_nor_sent_again_whatever_is_chosen(
    acme: Simulation,
    clock: Clock,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
    body: dict[str, Any],
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESOLVE": {f"POST {PAYOUTS}": policy}}
    row = payout_in_doubt(acme, clock, monkeypatch, **body)
    row = wait(row, clock, FENCE + 60)
    searched = policy == "search" and body == MINE
    assert row.state == ("ABSENT" if searched else "PARKED")
    assert row.attempt == 1


def test_money_that_nobody_guards_is_found_by_the_id_that_it_carries(
    acme: Simulation, clock: Clock, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESOLVE": {f"POST {PAYOUTS}": "search"}}
    # Something under the same code and id, which the gateway's search shows for it.
    cybs.send("acme", "POST", rows.PAYMENTS, json=rows.payment(**MINE))
    row = payout_in_doubt(acme, clock, monkeypatch, **MINE)
    assert (row.state, row.transaction_id) == ("ANSWERED", "payout-1")
    assert row.gateway_id == acme.ledger[0].id


def test_what_was_sent_without_a_code_is_never_called_absent(
    acme: Simulation, clock: Clock, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "RESOLVE": {f"POST {PAYOUTS}": "search"}}
    bare = {"clientReferenceInformation": {"transactionId": "payout-1"}}
    row = payout_in_doubt(acme, clock, monkeypatch, **bare)
    assert wait(row, clock, FENCE + 60).state == "IN_DOUBT"


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


@pytest.mark.parametrize("policy", ["void", "search"])
def test_what_is_absent_keeps_no_word_of_a_try_that_came_to_nothing(
    acme: Simulation, clock: Clock, settings: Any, policy: str
) -> None:
    resolve_by(settings, policy)
    row = rows.enqueue()
    rows.fail(acme, "status", status=502)
    row = rows.work(row)
    assert row.outcome == "SERVER_ERROR"
    row = wait(row, clock, FENCE + 40)
    assert (row.state, row.outcome) == ("ABSENT", "")


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


REFUSALS = {
    "settled": {"status": 400, "reason": "TRANSACTION_ALREADY_SETTLED"},
    "reversed or settled": {"status": 400, "reason": "TRANSACTION_ALREADY_REVERSED_OR_SETTLED"},
    "not voidable": {"status": 400, "reason": "NOT_VOIDABLE"},
    "amount": {"status": 400, "reason": "INVALID_AMOUNT"},
    "not supported": {"status": 400, "reason": "NOT_SUPPORTED"},
    "processor": {"status": 400, "reason": "PROCESSOR_UNAVAILABLE"},
    "set-up": {"status": 400, "reason": "INVALID_MERCHANT_CONFIGURATION"},
    "field": {"status": 400, "reason": "MISSING_FIELD"},
    "no such path": {"status": 404},
    "error": {"status": 500},
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_an_undoing_that_is_refused_proves_nothing(
    acme: Simulation, clock: Clock, settings: Any, refusal: str
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "QUEUE": {"looks": 7}}
    acme.gateway.ledger.index_lag = 1e9
    row = in_doubt(acme, "reset_after", json=rows.payment())
    rows.fail(acme, "status", operation="reversal", times=99, **REFUSALS[refusal])
    row = wait(row, clock, FENCE + 40)
    assert row.state == "IN_DOUBT"
    row = wait(row, clock, 4000, step=300)
    assert (row.state, row.reason) == ("PARKED", "undoing")
    assert len(standing(acme)) == 1


@pytest.mark.parametrize(
    ("details", "absent"),
    [
        (None, True),
        ([{"field": "clientReferenceInformation.transactionId", "reason": "INVALID_DATA"}], True),
        ([{"field": "reversalInformation.amountDetails.totalAmount"}], False),
        ("nonsense", False),
        (["nonsense"], False),
    ],
)
def test_invalid_data_is_nothing_there_only_where_no_other_field_is_named(
    details: Any, absent: bool
) -> None:
    words = {"reason": "INVALID_DATA"} | ({} if details is None else {"details": details})
    assert gateway_lookup._says_nothing_there(words) is absent


def test_what_is_being_undone_is_not_said_to_stand_while_that_may_still_arrive(
    acme: Simulation, clock: Clock, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "QUEUE": {"looks": 1}}
    acme.gateway.ledger.index_lag = 1e9
    row = in_doubt(acme, "reset_after", json=rows.payment(**SALE))
    rows.fail(acme, "reset_before", operation="void")
    row = wait(row, clock, FENCE, step=FENCE)
    acme.gateway.ledger.index_lag = 0.0
    assert (row.state, row.reason) == ("PARKED", "undoing")
    operating.reconcile(row, actor="mara", now=clock.now(), reason="asked again")
    row = wait(row, clock, FENCE - 20)
    assert (row.state, row.reason) == ("IN_DOUBT", "undoing")
    assert wait(row, clock, 60).state == "ANSWERED"


# One at a time


def test_a_look_that_was_overtaken_undoes_nothing(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first searched for so long that a second one looked, and found it."""
    acme.gateway.ledger.index_lag = 1e9
    row = in_doubt(acme, "reset_after", json=rows.payment(**SALE))
    overtaken_at_its_first_search(row, acme, clock, monkeypatch)
    clock.forward(FENCE)
    row = rows.work(row)
    assert (row.state, row.outcome, len(standing(acme))) == ("ANSWERED", "TRANSMITTED", 1)


def test_a_look_that_was_overtaken_sends_nothing(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    resolve_by(settings, "resend")
    acme.gateway.ledger.index_lag = 1e9
    row = in_doubt(acme, "reset_after", json=rows.payment(**SALE))
    overtaken_at_its_first_search(row, acme, clock, monkeypatch)
    clock.forward(FENCE)
    row = rows.work(row)
    assert (row.state, row.attempt) == ("ANSWERED", 1)


def overtaken_at_its_first_search(
    row: OutboundRequest, simulation: Simulation, clock: Clock, patch: pytest.MonkeyPatch
) -> None:
    search, searched = gateway_lookup._search, []

    def slow(*told: Any) -> Any:
        found = search(*told)
        searched.append(found)
        if len(searched) == 1:
            clock.forward(301)
            simulation.gateway.ledger.index_lag = 0.0
            working.work(row.pk)
        return found

    patch.setattr(gateway_lookup, "_search", slow)


def test_nobody_else_looks_for_as_long_as_an_exchange_may_last(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, turns = in_doubt(acme, "reset_before"), []
    search, undo = gateway_lookup._search, gateway_lookup.undo

    def left(asking: Any) -> Any:
        def asked(request: OutboundRequest, *told: Any) -> Any:
            stored = OutboundRequest.objects.get(pk=request.pk)
            turns.append((stored.due_at - database_clock.now()).total_seconds())
            return asking(request, *told)

        return asked

    monkeypatch.setattr(gateway_lookup, "_search", left(search))
    monkeypatch.setattr(gateway_lookup, "undo", left(undo))
    row = wait(row, clock, FENCE + 40)
    assert row.state == "ABSENT"
    assert len(turns) >= 4
    assert min(turns) > 179


def test_a_resolver_that_dies_in_its_turn_is_followed_by_another(
    acme: Simulation, clock: Clock
) -> None:
    """c12."""
    row = in_doubt(acme, "reset_after")
    clock.forward(11)
    row = rows.picked(row)
    assert resolving._hold(row, looks=1)
    clock.forward(170)
    assert rows.work(row).state == "IN_DOUBT"
    clock.forward(20)
    assert rows.work(row).state == "ANSWERED"


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


ALWAYS = {"clientReferenceInformation": {"code": "always the same"}}


@pytest.mark.parametrize(("kind", "end"), [("reset_after", "ANSWERED"), ("reset_before", "ABSENT")])
def test_a_code_that_many_payments_bear_is_searched_page_by_page(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: str, end: str
) -> None:
    monkeypatch.setattr(gateway_lookup, "_PAGE", 2)
    for _ in range(5):
        rows.work(rows.enqueue(json=rows.payment(**ALWAYS)))
    row = in_doubt(acme, kind, json=rows.payment(**ALWAYS))
    row = wait(row, clock, FENCE + 40)
    assert row.state == end
    if end == "ANSWERED":
        assert row.gateway_id == acme.ledger[-1].id


def test_more_under_one_code_than_is_ever_looked_at_proves_nothing(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_lookup, "_PAGE", 2)
    monkeypatch.setattr(gateway_lookup, "_MOST", 4)
    for _ in range(5):
        rows.work(rows.enqueue(json=rows.payment(**ALWAYS)))
    row = in_doubt(acme, "reset_before", json=rows.payment(**ALWAYS))
    assert wait(row, clock, FENCE + 40).state == "IN_DOUBT"


def test_a_search_that_changes_while_it_is_read_proves_nothing(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that is indexed late slides in between, and pushes another one on."""
    monkeypatch.setattr(gateway_lookup, "_PAGE", 2)
    for _ in range(3):
        rows.work(rows.enqueue(json=rows.payment(**ALWAYS)))
    row = in_doubt(acme, "reset_before", json=rows.payment(**ALWAYS))
    page = gateway_lookup._page

    def shifted(*told: Any, offset: int) -> Any:
        return page(*told, offset=max(offset - 1, 0))

    monkeypatch.setattr(gateway_lookup, "_page", shifted)
    assert wait(row, clock, FENCE + 40).state == "IN_DOUBT"


@pytest.mark.parametrize("code", ['TV 55" #7', "a\\b", '" OR code:"'])
def test_a_code_that_no_search_could_name_is_refused(acme: Simulation, code: str) -> None:
    with pytest.raises(InvalidBody, match="quotation mark or a backslash"):
        rows.enqueue(json=rows.payment(clientReferenceInformation={"code": code}))
    assert not OutboundRequest.objects.exists()


def test_one_that_was_stored_before_is_not_searched_for(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(payloads, "UNSEARCHABLE", frozenset())
        code = {"clientReferenceInformation": {"code": '" OR code:"'}}
        sent = {"json": rows.payment(**code), "key": "televisions"}
        row = in_doubt(acme, "reset_before", **sent)
    assert rows.enqueue(**sent).pk == row.pk
    assert wait(row, clock, FENCE + 40).state == "IN_DOUBT"


def test_two_under_one_transaction_id_are_a_persons_business(
    acme: Simulation, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    row = in_doubt(acme, "reset_after")
    twin_of(acme)
    clock.forward(11)
    row = rows.work(row)
    assert (row.state, row.reason) == ("PARKED", "processed_twice")
    assert "processed twice" in caplog.text


@pytest.mark.parametrize(("voided", "state"), [(1, "ANSWERED"), (2, "VOIDED")])
def test_of_two_the_one_that_was_not_voided_stands(
    acme: Simulation, clock: Clock, voided: int, state: str
) -> None:
    """The advice of a parked twin is followed, and told the truth about."""
    row = in_doubt(acme, "reset_after", json=rows.payment(**SALE))
    both = [acme.ledger[0].id, twin_of(acme)]
    clock.forward(11)
    row = rows.work(row)
    assert "Void one of the two, then reconcile it" in parking.advice(row)
    for each in both[:voided]:
        cybs.send("acme", "POST", f"/pts/v2/payments/{each}/voids", json={"x": "y"})
    operating.reconcile(row, actor="mara", now=clock.now(), reason="voided one")
    row = rows.work(row)
    assert row.state == state
    assert row.gateway_id == (both[1] if state == "ANSWERED" else "")


def twin_of(simulation: Simulation) -> str:
    """The id of another transaction under the same transactionId as the first."""
    ledger = simulation.gateway.ledger
    twin = replace(simulation.ledger[0], id="9" * 22)
    ledger._entries[twin.id] = twin
    ledger._codes[twin.org_id, twin.code].append(twin)
    return twin.id


# What a hit says


@pytest.mark.parametrize("flag", ["ETIMEOUT", "ESYSTEM", "DAVSNO"])
def test_a_hit_of_which_nobody_knows_what_became_is_undone(
    acme: Simulation, clock: Clock, flag: str
) -> None:
    row = rows.enqueue(json=rows.payment(**SALE))
    rows.fail(acme, "status", status=201, processed=True, flag=flag)
    row = wait(rows.work(row), clock, 240)
    assert (row.state, len(standing(acme))) == ("IN_DOUBT", 1)
    row = wait(row, clock, 80)
    assert (row.state, standing(acme)) == ("VOIDED", [])


@pytest.mark.parametrize("policy", ["search", "resend"])
def test_where_nothing_is_undone_it_stays_in_doubt_and_then_a_person_looks(
    acme: Simulation, clock: Clock, settings: Any, policy: str
) -> None:
    resolve_by(settings, policy)
    row = rows.enqueue(json=rows.payment(**SALE))
    rows.fail(acme, "status", status=201, processed=True, flag="ETIMEOUT")
    row = wait(rows.work(row), clock, FENCE + 40)
    assert row.state == "IN_DOUBT"
    row = wait(row, clock, 4000, step=300)
    assert (row.state, row.reason, row.attempt) == ("PARKED", "unclear:UndecidedError", 1)


def test_what_the_search_shows_is_never_called_absent_whatever_its_undoing_is_told(
    acme: Simulation, clock: Clock, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "QUEUE": {"looks": 7}}
    row = rows.enqueue(json=rows.payment())
    rows.fail(acme, "status", status=201, processed=True, flag="DAVSNO")
    row = rows.work(row)
    nothing_there = {"status": 400, "reason": "INVALID_DATA"}
    rows.fail(acme, "status", operation="reversal", times=99, **nothing_there)
    row = wait(row, clock, 4000, step=300)
    assert (row.state, row.reason, len(standing(acme))) == ("PARKED", "undoing", 1)


@pytest.mark.parametrize("way", [{"capture": True}, {"capture": "true"}, {}])
def test_what_moves_money_at_once_is_voided_and_not_reversed(
    acme: Simulation, way: dict[str, Any]
) -> None:
    document = rows.payment(processingInformation=way)
    if not way:
        document["paymentInformation"] = {"bank": {"account": {"number": "4100"}}}
    assert safety.undo(rows.enqueue(json=document), document).path == "/pts/v2/voids"


def test_a_decline_that_the_search_shows_is_the_answer(acme: Simulation, clock: Clock) -> None:
    amount = {"amountDetails": {"totalAmount": "13.13", "currency": "USD"}}
    row = in_doubt(acme, "reset_after", json=rows.payment(orderInformation=amount))
    row = wait(row, clock, 20)
    assert (row.state, row.outcome, row.gateway_id) == ("ANSWERED", "DECLINED", acme.ledger[0].id)


def test_the_decline_of_an_earlier_try_is_no_answer_while_the_last_may_still_be_processed(
    acme: Simulation, clock: Clock
) -> None:
    row = rows.enqueue()
    rows.fail(acme, "status", status=400, reason="PROCESSOR_UNAVAILABLE")
    row = rows.work(row)
    code = payloads.open_payload(row).document["clientReferenceInformation"]["code"]
    declined = {
        "clientReferenceInformation": {"code": code, "transactionId": row.transaction_id},
        "orderInformation": {"amountDetails": {"totalAmount": "13.13", "currency": "USD"}},
    }
    cybs.send("acme", "POST", rows.PAYMENTS, json=rows.payment(**declined))
    rows.fail(acme, "reset_before")
    row = wait(row, clock, 80)
    assert (row.state, row.attempt) == ("IN_DOUBT", 2)
    row = wait(row, clock, 220)
    assert row.state == "IN_DOUBT"
    row = wait(row, clock, 100)
    assert (row.state, row.outcome) == ("ANSWERED", "DECLINED")


def test_a_gateway_that_wants_to_be_left_alone_is_not_searched_meanwhile(
    acme: Simulation, clock: Clock
) -> None:
    row = in_doubt(acme, "reset_before")
    rows.fail(acme, "status", operation="search", times=1, status=429, retry_after=3000)
    row = wait(row, clock, 20)
    breakers.forget()  # another process, which has not heard it
    row = wait(row, clock, 2900)
    assert (row.state, row.looks) == ("IN_DOUBT", 1)
    assert wait(row, clock, 200).state == "ABSENT"


def test_a_merchant_whose_key_is_refused_is_not_searched_for_by_each_of_its_rows(
    acme: Simulation, clock: Clock
) -> None:
    waiting = [in_doubt(acme, "reset_before") for _ in range(4)]
    rows.fail(acme, "status", operation="search", times=99, status=401)
    clock.forward(20)
    looked = [rows.work(row).looks for row in waiting]
    assert looked == [1, 1, 1, 0]


def test_a_refused_twin_in_the_search_hides_nothing(
    acme: Simulation, clock: Clock, settings: Any
) -> None:
    resolve_by(settings, "resend")
    acme.gateway.ledger.index_lag = 1e9
    row = in_doubt(acme, "reset_after", json=rows.payment(**SALE))
    row = wait(row, clock, FENCE + 40)
    assert (row.state, row.reason, row.attempt) == ("IN_DOUBT", "duplicate", 2)
    acme.gateway.ledger.index_lag = 0.0
    row = wait(row, clock, 80)
    assert (row.state, row.gateway_id) == ("ANSWERED", acme.ledger[0].id)


def test_a_refused_undoing_alone_in_the_search_does_not_keep_it_in_doubt(
    acme: Simulation, clock: Clock
) -> None:
    row = in_doubt(acme, "reset_before")
    reference = {"code": row.transaction_id, "transactionId": row.transaction_id}
    code = payloads.open_payload(row).document["clientReferenceInformation"]["code"]
    for each in ("reversals", "voids"):
        body = {"clientReferenceInformation": reference | {"code": code}}
        cybs.send("acme", "POST", f"/pts/v2/{each}", json=body)
    assert wait(row, clock, FENCE + 40).state == "ABSENT"


FREE_TEXT = "card 4111 1111 1111 1111 of Jane " + "x" * 80


def test_no_free_text_of_a_hit_comes_into_a_clear_column(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    details = bodies.details

    def talkative(*told: Any, **options: Any) -> Any:
        found = details(*told, **options)
        found["applicationInformation"]["status"] = FREE_TEXT
        return found

    monkeypatch.setattr(bodies, "details", talkative)
    row = wait(in_doubt(acme, "reset_after"), clock, 20)
    assert (row.state, row.outcome) == ("ANSWERED", "SOK")


def test_a_look_that_the_database_refuses_ends_with_a_person(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*_: Any, **__: Any) -> Any:
        raise DataError("value too long")

    row = in_doubt(acme, "reset_after")
    monkeypatch.setattr(resolving, "_answer", too_long)
    monkeypatch.setattr(working, "PAUSE", 0.0)
    for _ in range(40):
        clock.forward(300)
        working.attend(row.pk)
    row.refresh_from_db()
    assert (row.state, row.reason) == ("PARKED", "unclear:DataError")


# Replies kept unread


@pytest.mark.parametrize("policy", ["void", "search", "resend"])
@pytest.mark.parametrize("kind", ["broken_jwe", "unknown_kid"])
def test_a_reply_that_does_not_open_is_never_sent_again_nor_undone(
    acme: Simulation, clock: Clock, settings: Any, policy: str, kind: str
) -> None:
    resolve_by(settings, policy)
    acme.gateway.ledger.index_lag = 1e9
    row = wait(in_doubt(acme, kind), clock, FENCE + 40)
    assert (row.state, row.reason, row.attempt) == ("PARKED", "unreadable", 1)
    assert len(standing(acme)) == 1
    acme.gateway.ledger.index_lag = 0.0
    operating.reconcile(row, actor="mara", now=clock.now(), reason="the search is back")
    assert rows.work(row).state == "ANSWERED"


def test_a_page_of_somebody_else_is_no_answer_and_ends_with_a_person(
    acme: Simulation, clock: Clock
) -> None:
    row = wait(in_doubt(acme, "page"), clock, FENCE + 40)
    assert (row.state, row.reason) == ("PARKED", "unreadable")


@pytest.mark.parametrize(
    ("policy", "end"), [("search", "PARKED"), ("resend", "PARKED"), ("void", "VOIDED")]
)
def test_a_2xx_whose_body_was_lost_is_never_called_absent_nor_sent_again(
    acme: Simulation, clock: Clock, settings: Any, policy: str, end: str
) -> None:
    """That nothing is found contradicts it: the search may lag behind."""
    resolve_by(settings, policy)
    acme.gateway.ledger.index_lag = 1e9
    row = in_doubt(acme, "truncate")
    assert (row.reason, row.http_status) == ("reply_lost", 201)
    row = wait(row, clock, FENCE + 9000, step=600)
    assert (row.state, row.attempt) == (end, 1)
    assert (row.reason == "unclear:ContradictedError") == (end == "PARKED")
    assert len(rows.money(acme)) == 1


def test_nor_is_it_absent_where_the_gateway_has_nothing_to_undo(
    acme: Simulation, clock: Clock
) -> None:
    acme.gateway.ledger.index_lag = 1e9
    row = in_doubt(acme, "truncate")
    rows.fail(acme, "status", status=400, reason="MISSING_AUTH", operation="reversal", times=99)
    row = wait(row, clock, FENCE + 9000, step=600)
    assert row.state == "PARKED"
    assert parking.advice(row).startswith("The gateway answered that it took it, and shows nothing")


def test_undone_is_no_end_while_the_last_try_may_still_be_processed(
    acme: Simulation, clock: Clock
) -> None:
    row = in_doubt(acme, "reset_after", json=rows.payment(**SALE))
    cybs.send("acme", "POST", f"/pts/v2/payments/{acme.ledger[0].id}/voids", json={"x": "y"})
    OutboundRequest.objects.update(attempt=2)
    assert wait(row, clock, 60).state == "IN_DOUBT"
    assert wait(row, clock, FENCE).state == "VOIDED"


@pytest.mark.parametrize(("attempt", "state"), [(1, "ANSWERED"), (2, "IN_DOUBT")])
def test_a_refusal_kept_unread_is_the_answer_unless_an_earlier_try_may_have_landed(
    acme: Simulation, clock: Clock, attempt: int, state: str
) -> None:
    row = in_doubt(acme, "reset_before")
    acme.gateway.ledger.index_lag = 1e9
    refused = b'{"status":"INVALID_REQUEST","reason":"INVALID_DATA"}'
    kept = payloads.StoredReply(status_code=400, content=refused, readable=False)
    row.attempts.update(number=attempt, reason="reply_lost", http_status=400)
    if attempt > 1:
        row.attempts.create(number=1, jti="first", kind="lost", started_at=clock.now())
    sealed = payloads.seal_reply(row, kept)
    OutboundRequest.objects.update(sealed_reply=sealed, attempt=attempt)
    clock.forward(11)
    row = rows.work(row)
    assert (row.state, row.outcome) == (state, "INVALID_REQUEST" if attempt == 1 else "")


def test_a_kept_reply_of_an_earlier_try_does_not_answer_for_the_last(
    acme: Simulation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = kept_unread(acme, monkeypatch)
    OutboundRequest.objects.update(attempt=2)
    row.refresh_from_db()
    assert not resolving._opens_now(row)


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
