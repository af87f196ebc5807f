"""The queue's pages: facts and no payload, decisions by permission, scope and reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.models import KeyEvent, OutboundRequest
from django_cybs_jwt.services import organizations, signing
from django_cybs_jwt.services.queue import database_clock
from django_cybs_jwt.simulator import Fault, FaultKind
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import HOST, Simulation
from tests.unit.admin import people
from tests.unit.services.queue import rows

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

VERBS = ("retry", "reconcile", "settle", "cancel")
verbs = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture
def acme(cybs_simulator: Simulation) -> Simulation:
    for name in ("acme", "books"):
        owner = cybs_simulator.merchant(name, signs_with="shared_secret", response_mle=False)
        key = material.rsa_key(name=f"{name} response")
        cybs_simulator.import_p12(owner, "response-mle", private_key=key)
    signing.forget()
    return cybs_simulator


@pytest.fixture
def operator(db: None) -> User:
    return people.staff("olga", "operators")


def put(state: str = "QUEUED", *, merchant: str = "acme", **facts: Any) -> OutboundRequest:
    key = f"key-{next(rows._numbers)}"
    row = cybs.enqueue(merchant, "POST", rows.PAYMENTS, json=rows.payment(), idempotency_key=key)
    if state == "PARKED":
        facts = {"due_at": None, "sent_at": row.created_at, "fence_at": row.created_at} | facts
    OutboundRequest.objects.filter(pk=row.pk).update(state=state, **facts)
    row.refresh_from_db()
    return row


def client(user: User, *, typed: bool = True) -> Client:
    made = people.client(user)
    if typed:
        people.password_typed(made, timezone.now().timestamp())
    return made


def page(user: User, name: str = "changelist", *arguments: Any, query: str = "") -> Any:
    url = people.url("outboundrequest", name, *arguments)
    return client(user).get(f"{url}{query}")


def shown(user: User, query: str) -> list[OutboundRequest]:
    return list(page(user, query=query).context["cl"].result_list)


def decide(user: User, verb: str, row: OutboundRequest, **form: str) -> Any:
    form = {"reason": "mended", "outcome": "AUTHORIZED"} | form
    url = people.url("outboundrequest", verb, row.pk)
    return client(user).post(url, form, follow=True)


def test_no_page_shows_what_was_sent_or_came_back(acme: Simulation, operator: User) -> None:
    acme.faults.add(Fault(kind=FaultKind.STATUS, status=401, times=1))
    refused, answered = rows.work(put()), rows.work(put())
    reply = cybs.reply_to(answered)
    assert reply is not None
    assert answered.sealed_reply is not None
    names = [("changelist",), *(("change", row.pk) for row in (refused, answered))]
    pages = [page(operator, *name) for name in names]
    texts = [each.content.decode() for each in pages]
    assert [each.status_code for each in pages] == [200] * 3
    assert "HTTP 401" in texts[1]
    assert "AUTHORIZED" in texts[2]
    assert answered.correlation_id in texts[2]
    for text in texts:
        assert rows.CARD not in text
        assert "102.21" not in text
        assert bytes(answered.sealed_reply).hex()[:24] not in text


def test_no_page_reads_a_sealed_column(acme: Simulation, operator: User) -> None:
    row = put("PARKED")
    with CaptureQueriesContext(connection) as captured:
        page(operator)
        page(operator, "change", row.pk)
        page(operator, "retry", row.pk)
        decide(operator, "retry", row)
    # The UPDATE of a decision may overwrite one; none is ever read.
    read = [query["sql"] for query in captured if query["sql"].startswith("SELECT")]
    assert read
    assert not [sql for sql in read if "sealed_" in sql]


def test_filters_by_state_host_and_age(acme: Simulation, operator: User) -> None:
    parked, queued, ended = put("PARKED"), put(), rows.work(put(merchant="books"))
    hour = database_clock.now() - timedelta(hours=2)
    OutboundRequest.objects.filter(pk=queued.pk).update(created_at=hour)
    assert set(shown(operator, "?state=open")) == {parked, queued}
    assert shown(operator, "?state=ANSWERED") == [ended]
    assert shown(operator, "?age=3600") == [queued]
    assert len(shown(operator, f"?host={HOST}")) == 3
    assert shown(operator, "?host=api.cybersource.com") == []
    assert shown(operator, "?q=boo") == [ended]
    assert shown(operator, f"?q={parked.idempotency_key}") == [parked]
    books = organizations.find("books")
    assert shown(operator, f"?organization__exact={books.pk}") == [ended]


@pytest.mark.parametrize(
    "query", ["?fingerprint=a", "?jti__startswith=a", "?sealed_payload__gt=0", "?sealed_reply=x"]
)
def test_no_query_string_guesses_at_a_column(acme: Simulation, operator: User, query: str) -> None:
    assert page(operator, query=query).status_code == 400


def test_a_parked_request_says_what_to_do(acme: Simulation, operator: User) -> None:
    row = put("PARKED", reason="redirected")
    assert "BASE_URLS is wrong" in page(operator, "change", row.pk).content.decode()


def test_a_request_that_no_worker_can_prepare_says_what_to_mend(
    acme: Simulation, operator: User
) -> None:
    row = put(reason="KeyUnavailable")
    text = page(operator, "change", row.pk).content.decode()
    assert "put that key back. Nothing was sent." in text


def test_an_attempt_shows_which_way_was_encrypted(acme: Simulation, operator: User) -> None:
    row = rows.work(put())
    text = page(operator, "change", row.pk).content.decode()
    assert text.count("<td>encrypted</td>") == 2


def test_links_are_offered_where_the_step_is_possible(acme: Simulation, operator: User) -> None:
    def offered(row: OutboundRequest) -> set[str]:
        return {tool["url"].split("/")[-2] for tool in
                page(operator, "change", row.pk).context["cybs_tools"]}  # fmt: skip

    assert offered(put()) == {"cancel"}
    assert offered(put("PARKED")) == {"retry", "settle", "cancel"}
    assert offered(put("PARKED", maybe_sent=True)) == {"reconcile", "settle"}
    # A void that may have voided can be made again, but not be called unmade.
    void = put("PARKED", maybe_sent=True, safety="REPEATABLE")
    assert offered(void) == {"retry", "reconcile", "settle"}
    assert offered(rows.work(put())) == set()


@pytest.mark.parametrize(
    ("verb", "state"),
    [("retry", "QUEUED"), ("settle", "ANSWERED"), ("cancel", "CANCELLED")],
)
def test_a_decision_is_made_and_audited(
    acme: Simulation, operator: User, verb: str, state: str
) -> None:
    row = put("PARKED")
    asked = page(operator, verb, row.pk)
    assert row.idempotency_key in asked.content.decode()
    assert decide(operator, verb, row).status_code == 200
    row.refresh_from_db()
    assert row.state == state
    event = KeyEvent.objects.get(actor="olga")
    assert (event.action, event.outcome) == (f"{verb}-request", "done")
    assert event.reason == f"{row.pk}: mended"


@verbs
def test_without_a_reason_nothing_happens(acme: Simulation, operator: User, verb: str) -> None:
    row = put("PARKED", maybe_sent=True)
    assert b"required" in decide(operator, verb, row, reason="").content
    row.refresh_from_db()
    assert row.state == "PARKED"


@pytest.mark.parametrize("verb", ["retry", "cancel"])
def test_money_that_may_have_moved_is_refused_with_the_cure(
    acme: Simulation, operator: User, verb: str
) -> None:
    row = put("PARKED", maybe_sent=True)
    assert b"Reconcile it" in decide(operator, verb, row).content
    row.refresh_from_db()
    assert row.state == "PARKED"


@verbs
def test_what_ends_a_request_for_good_asks_for_the_password(
    acme: Simulation, operator: User, verb: str
) -> None:
    row = put("PARKED")
    url, made = people.url("outboundrequest", verb, row.pk), client(operator, typed=False)
    is_final = verb in ("cancel", "settle")
    for answer in (made.get(url), made.post(url, {"reason": "r", "outcome": "AUTHORIZED"})):
        assert people.asks_password(answer) is is_final
    row.refresh_from_db()
    assert row.state == "PARKED" or not is_final


def test_cancelling_many_asks_for_the_password_once(acme: Simulation, operator: User) -> None:
    row = put()
    chosen = {"action": "cancel_many", "_selected_action": [str(row.pk)], "cybs_confirmed": "1"}
    url = people.url("outboundrequest", "changelist")
    assert people.asks_password(client(operator, typed=False).post(url, chosen))
    row.refresh_from_db()
    assert row.state == "QUEUED"
    client(operator).post(url, {**chosen, "reason": "not wanted"})
    row.refresh_from_db()
    assert row.state == "CANCELLED"


@verbs
def test_viewers_may_not_and_strangers_do_not_see(acme: Simulation, verb: str) -> None:
    row = put("PARKED", maybe_sent=True)
    assert page(people.staff("vera", "viewers"), "change", row.pk).status_code == 200
    for user in (User.objects.get(username="vera"), people.allowed("paul")):
        assert page(user, verb, row.pk).status_code == 403
        assert decide(user, verb, row).status_code == 403
    row.refresh_from_db()
    assert row.state == "PARKED"


@verbs
def test_out_of_scope_it_is_not_there(acme: Simulation, operator: User, verb: str) -> None:
    people.limited(operator, organizations.find("books"))
    mine, other = put("PARKED", merchant="books"), put("PARKED", maybe_sent=True)
    assert shown(operator, "") == [mine]
    assert page(operator, "change", other.pk).status_code == 404
    assert decide(operator, verb, other).status_code == 404
    other.refresh_from_db()
    assert other.state == "PARKED"


def test_many_at_once_each_by_itself(acme: Simulation, operator: User) -> None:
    good, risky = put("PARKED"), put("PARKED", maybe_sent=True)
    chosen = {
        "action": "retry_many",
        "_selected_action": [str(good.pk), str(risky.pk)],
        "cybs_confirmed": "1",
        "reason": "mended",
    }
    url = people.url("outboundrequest", "changelist")
    answer = people.client(operator).post(url, chosen, follow=True).content.decode()
    assert "1 is done." in answer
    assert "Reconcile it" in answer
    assert set(OutboundRequest.objects.values_list("pk", "state")) == {
        (good.pk, "QUEUED"),
        (risky.pk, "PARKED"),
    }


def test_the_front_page_counts_what_the_visitor_sees(acme: Simulation, operator: User) -> None:
    for state, merchant in (("QUEUED", "acme"), ("PARKED", "acme"), ("PARKED", "books")):
        put(state, merchant=merchant)
    rows.work(put())
    client = people.client(operator)
    home = people.reverse("admin:app_list", args=["cybs_jwt"])
    told = " ".join(client.get(home).content.decode().split())
    assert "<strong>2</strong> parked" in told
    assert "<strong>1</strong> queued" in told
    people.limited(operator, organizations.find("books"))
    told = " ".join(client.get(home).content.decode().split())
    assert "<strong>1</strong> parked" in told
    assert "<strong>0</strong> queued" in told
