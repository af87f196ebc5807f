"""`cybs_queue`: numbers for people and machines, thresholds as exit codes, verbs with a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_cybs_jwt.exceptions import (
    ConfigurationError,
    KeyBlocked,
    KeyRingError,
    KeyUnavailable,
    LiveRefused,
)
from django_cybs_jwt.models import KeyEvent, OutboundRequest, RequestState
from django_cybs_jwt.services import signing
from django_cybs_jwt.services.queue import breakers, database_clock, executing
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import HOST, Simulation
from tests.unit.management.running import Ended, run
from tests.unit.services import prometheus
from tests.unit.services.queue import rows

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]


@pytest.fixture
def acme(cybs_simulator: Simulation) -> Simulation:
    for name in ("acme", "books"):
        owner = cybs_simulator.merchant(name, signs_with="shared_secret", response_mle=False)
        key = material.rsa_key(name=f"{name} response")
        cybs_simulator.import_p12(owner, "response-mle", private_key=key)
    signing.forget()
    return cybs_simulator


def queue(*arguments: str) -> Ended:
    return run("cybs_queue", *arguments)


def put(state: str, *, since: float = 0, merchant: str = "acme", **facts: Any) -> OutboundRequest:
    """A row in *state* whose wait began *since* seconds ago."""
    row = rows.cybs.enqueue(
        merchant,
        "POST",
        rows.PAYMENTS,
        json=rows.payment(),
        idempotency_key=f"{next(rows._numbers)}",
    )
    then = database_clock.now() - timedelta(seconds=since)
    claimed: dict[str, Any] = {}
    if state in ("SENDING", "IN_DOUBT", "PARKED"):
        claimed = {"sent_at": then, "attempt": 1, "jti": str(row.pk), "fence_at": then}
    due = None if state == "PARKED" else then
    OutboundRequest.objects.filter(pk=row.pk).update(
        **{"state": state, "due_at": due, "waiting_since": then, "created_at": then}
        | claimed
        | facts
    )
    row.refresh_from_db()
    return row


def test_json_counts_every_state_and_tells_the_oldest(acme: Simulation) -> None:
    put("QUEUED", since=90)
    put("QUEUED", since=-3600)  # planned for later: it does not wait
    put("IN_DOUBT", since=30)
    put("PARKED", merchant="books", since=7200)
    rows.work(put("QUEUED"))
    found = queue("--json").json
    assert found["counts"] == dict.fromkeys(RequestState.values, 0) | {
        "QUEUED": 2, "IN_DOUBT": 1, "PARKED": 1, "ANSWERED": 1
    }  # fmt: skip
    assert found["depth"] == 2
    assert found["oldest_seconds"] == pytest.approx(90, abs=20)
    assert found["oldest_seconds_by_state"]["IN_DOUBT"] == pytest.approx(30, abs=20)
    assert found["oldest_seconds_by_state"]["PARKED"] == pytest.approx(7200, abs=20)
    books, host = found["merchants"][1], found["hosts"][0]
    assert (books["organization"], books["PARKED"], books["QUEUED"]) == ("books", 1, 0)
    assert (host["host"], host["QUEUED"], host["IN_DOUBT"], host["PARKED"]) == (HOST, 2, 1, 1)


@pytest.mark.parametrize("state", ["QUEUED", "SENDING", "IN_DOUBT", "PARKED"])
def test_the_oldest_of_a_merchant_is_told_in_whatever_state_it_waits(
    acme: Simulation, state: str
) -> None:
    put(state, since=300)
    put("QUEUED", since=30)
    put("QUEUED", since=-3600, merchant="books")  # planned for later: it does not wait
    found = queue("--json").json
    acmes, books = found["merchants"]
    assert acmes["oldest_seconds"] == pytest.approx(300, abs=20)
    assert books["oldest_seconds"] == 0
    assert found["hosts"][0]["oldest_seconds"] == pytest.approx(300, abs=20)


def test_a_postponement_does_not_make_a_wait_younger(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = put("QUEUED", since=660)
    monkeypatch.setattr(breakers, "wait", lambda _request: 5.0)
    assert rows.work(row).reason == "breaker_open"
    found = queue("--json", "--max-age", "600")
    assert found.code == 1
    assert found.json["oldest_seconds"] == pytest.approx(660, abs=20)
    assert found.json["merchants"][0]["oldest_seconds"] == pytest.approx(660, abs=20)


def test_what_was_planned_for_later_waits_from_then_on(acme: Simulation) -> None:
    now = database_clock.now()
    facts = {"created_at": now - timedelta(days=9), "due_at": now + timedelta(seconds=5)}
    put("QUEUED", since=60, **facts)
    put("QUEUED", since=-60, created_at=facts["created_at"])
    assert queue("--json").json["oldest_seconds"] == pytest.approx(60, abs=20)


def test_a_request_of_an_older_version_waits_since_it_is_due(acme: Simulation) -> None:
    due = database_clock.now() - timedelta(seconds=90)
    put("QUEUED", since=7200, waiting_since=None, due_at=due)
    put("QUEUED", waiting_since=None, due_at=due + timedelta(days=1))
    assert queue("--json").json["oldest_seconds"] == pytest.approx(90, abs=20)


def test_who_is_put_back_by_a_person_waits_anew(acme: Simulation) -> None:
    row = put("PARKED", since=7200)
    assert queue("retry", str(row.pk), "--reason", "mended").code == 0
    assert queue("--json").json["oldest_seconds"] == pytest.approx(0, abs=20)


def test_what_no_worker_can_prepare_waits_for_ever_and_says_why(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (LiveRefused, KeyUnavailable, KeyBlocked, KeyRingError, ConfigurationError):

        def fail(*_: Any, error: type[Exception] = error) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(executing, "prepare", fail)
            row = rows.work(put("QUEUED"))
        assert (row.state, row.reason, row.failures) == ("QUEUED", error.__name__, 0)
        shown = queue("show", str(row.pk), "--json").json
        assert (shown["reason"], "Nothing was sent." in shown["advice"]) == (error.__name__, True)
    reasons = queue("--json").json["reasons"]
    assert {"state": "QUEUED", "reason": "LiveRefused", "requests": 1} in reasons
    assert len(reasons) == 5
    assert "KeyUnavailable" in queue().out


def test_an_attempt_tells_which_way_was_encrypted(acme: Simulation) -> None:
    row = rows.work(put("QUEUED"))
    (attempt,) = queue("show", str(row.pk), "--json").json["attempts"]
    assert (attempt["request_encrypted"], attempt["reply_encrypted"]) == (True, True)
    lost = put("SENDING", since=999)
    OutboundRequest.objects.filter(pk=lost.pk).update(owner="gone")
    rows.work(lost)
    (attempt,) = queue("show", str(lost.pk), "--json").json["attempts"]
    assert (attempt["request_encrypted"], attempt["reply_encrypted"]) == (None, None)


def test_an_empty_queue_is_all_noughts(acme: Simulation) -> None:
    found = queue("--json").json
    assert set(found["counts"].values()) == {0}
    assert (found["oldest_seconds"], found["merchants"], found["hosts"]) == (0, [], [])
    assert "Nothing waits." in queue().out


def test_the_text_names_merchants_and_waits(acme: Simulation) -> None:
    put("QUEUED", since=90)
    lines = queue().out.splitlines()
    assert any(line.startswith("QUEUED") and " s" in line for line in lines)
    assert any(line.startswith("acme") and HOST in line for line in lines)


@pytest.mark.parametrize(
    ("option", "allowed", "over"),
    [
        ("--max-depth", "1", "0"),
        ("--max-age", "600", "30"),
        ("--max-in-doubt", "1", "0"),
        ("--max-doubt-age", "600", "30"),
        ("--max-parked", "1", "0"),
    ],
)
def test_over_a_threshold_is_1_and_the_numbers_are_printed_all_the_same(
    acme: Simulation, option: str, allowed: str, over: str
) -> None:
    for state in ("QUEUED", "IN_DOUBT", "PARKED"):
        put(state, since=90)
    assert queue(option, allowed, "--json").code == 0
    found = queue(option, over, "--json")
    assert found.code == 1
    assert found.json["counts"]["QUEUED"] == 1
    assert f"more than {over}" in found.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--organization", "nobody"],
        ["show", "x"],
        ["retry", "00000000-0000-0000-0000-000000000000", "--reason", "r"],
    ],
)
def test_usage_is_2(acme: Simulation, arguments: list[str]) -> None:
    assert queue(*arguments).code == 2


def test_only_one_host_or_merchant(acme: Simulation) -> None:
    put("QUEUED")
    put("QUEUED", merchant="books")
    assert queue("--json", "--organization", "books").json["depth"] == 1
    assert queue("--json", "--host", HOST.upper()).json["depth"] == 2
    refused = queue("--host", "api.cybersource.con", "--max-depth", "0")
    assert (refused.code, "No organization is on the host" in refused.err) == (2, True)
    (shown,) = queue("--organization", "books", "list", "--json").json
    assert shown["organization"] == f"books@{HOST}"


def test_list_and_show_tell_facts_and_no_payload(acme: Simulation) -> None:
    row = rows.work(put("QUEUED"))
    waits = put("PARKED", reason="redirected")
    assert [each["id"] for each in queue("list", "--json").json] == [str(waits.pk)]
    assert queue("list", "--state", "ANSWERED", "--json").json[0]["outcome"] == "AUTHORIZED"
    assert "redirected" in queue("list").out
    shown = queue("show", str(row.pk), "--json").json
    (attempt,) = shown["attempts"]
    assert (attempt["kind"], attempt["http_status"]) == ("answered", 201)
    texts = [queue("show", str(row.pk)).out, queue("list").out, str(shown)]
    assert not any(rows.CARD in text or "102.21" in text for text in texts)


def test_a_401_is_explained(acme: Simulation) -> None:
    row = put("QUEUED")
    rows.fail(acme, "status", status=401)
    rows.work(row)
    assert "HTTP 401" in queue("show", str(row.pk)).out


def test_a_decision_is_audited_under_the_name_given(acme: Simulation) -> None:
    row = put("PARKED")
    done = queue("retry", str(row.pk), "--reason", "mended", "--user", "mara")
    assert (done.code, done.out.strip()) == (0, f"{row.pk} is QUEUED.")
    again = queue("retry", str(row.pk), "--reason", "mended", "--user", "mara")
    assert (again.code, "is QUEUED" in again.err) == (1, True)
    assert queue("cancel", str(row.pk), "--reason", "r", "--json").json["state"] == "CANCELLED"
    told = KeyEvent.objects.filter(actor="mara").order_by("seq").values_list("action", "outcome")
    assert list(told) == [("retry-request", "done"), ("retry-request", "denied")]


def test_what_may_have_been_processed_takes_force_or_a_word(acme: Simulation) -> None:
    row, other = put("PARKED", maybe_sent=True), put("PARKED", maybe_sent=True)
    assert queue("retry", str(row.pk), "--reason", "r").code == 1
    assert queue("retry", str(row.pk), "--reason", "r", "--force").code == 0
    settled = queue("settle", str(other.pk), "--reason", "r", "--outcome", "AUTHORIZED", "--json")
    assert (settled.json["state"], settled.json["outcome"]) == ("ANSWERED", "AUTHORIZED")


def test_reconcile_lets_the_resolver_look_again(acme: Simulation) -> None:
    row = put("PARKED", maybe_sent=True)
    assert queue("reconcile", str(row.pk), "--reason", "r", "--json").json["state"] == "IN_DOUBT"


@pytest.mark.parametrize(
    "narrowing", [("--max-depth", "0"), ("--host", HOST), ("--organization", "acme")]
)
def test_prometheus_tells_all_and_is_never_taken_for_a_threshold(
    acme: Simulation, narrowing: tuple[str, str]
) -> None:
    refused = queue("--prometheus", *narrowing)
    assert (refused.code, f"leave out {narrowing[0]}" in refused.err) == (2, True)


def test_prometheus_has_series_for_what_waits(acme: Simulation) -> None:
    put("QUEUED", since=90)
    put("PARKED", merchant="books")
    rows.work(put("QUEUED"))
    samples = prometheus.read_samples(queue("--prometheus").out)
    counted = {
        (labels["organization"], labels["state"]): value
        for labels, value in samples["cybs_jwt_queue_requests"]
    }
    assert counted == {("acme", "QUEUED"): 1, ("books", "PARKED"): 1}
    totals = {labels["state"]: value for labels, value in samples["cybs_jwt_queue_open_requests"]}
    assert totals == {"QUEUED": 1, "SENDING": 0, "IN_DOUBT": 0, "PARKED": 1}
    (labels, since), *_ = samples["cybs_jwt_queue_waits_since_timestamp_seconds"]
    assert labels["environment"] == "test"
    assert since == pytest.approx(database_clock.now().timestamp() - 90, abs=20)
