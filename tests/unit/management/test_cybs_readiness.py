"""cybs_readiness: text, JSON and CSV of the same merchants; no cell is a formula."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from django_cybs_jwt.models import GatewayCertificate, Organization, Verdict
from django_cybs_jwt.services import organizations
from tests.unit.management.running import Ended, run
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST, OTHER_HOST

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


@pytest.fixture
def acme() -> Organization:
    """A merchant that is ready for 99 days and some hours."""
    merchant, now = (
        organizations.add("acme", actor="alice", kind="merchant", host=HOST, name="Acme"),
        timezone.now(),
    )
    ends = now + timedelta(days=99, hours=6)
    for row in (
        enrolment.shared_secret(merchant, key_id="k-1", expires_at=ends),
        enrolment.rsa_key(merchant),
    ):
        enrolment.change(row, verify_outcome=Verdict.ACCEPTED)
    GatewayCertificate.objects.create(
        organization=merchant,
        host=HOST,
        not_before=now - timedelta(days=1),
        not_after=now + timedelta(days=400),
    )
    return merchant


def rows(ended: Ended) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(ended.out, newline="")))


def test_who_is_ready_ends_with_0(acme: Organization) -> None:
    ended = run("cybs_readiness")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"acme@{HOST}: ready (HS256, own key) 99 days left",
        "1 of 1 merchants are ready.",
    ]


def test_who_is_not_ends_with_1_and_says_what_is_missing(acme: Organization) -> None:
    enrolment.organization("bob")
    ended = run("cybs_readiness")
    assert ended.code == 1
    assert ended.out.splitlines()[1:] == [
        f"bob@{HOST}: NOT READY. No active signing key, own or meta.",
        "1 of 2 merchants are ready.",
    ]


def test_json_has_one_object_a_merchant(acme: Organization) -> None:
    ended = run("cybs_readiness", "--json")
    assert ended.code == 0
    assert ended.json == [
        {
            "organization": "acme",
            "host": HOST,
            "name": "Acme",
            "ready": True,
            "jwt_v2": True,
            "request_mle": True,
            "response_mle": True,
            "verified": True,
            "days_left": 99,
            "kind": "shared_secret",
            "algorithm": "HS256",
            "key_id": "k-1",
            "owner": "acme",
            "meta": False,
            "missing": [],
        }
    ]


def test_csv_says_the_same(acme: Organization) -> None:
    enrolment.organization("bob")
    ended = run("cybs_readiness", "--csv")
    first, second = rows(ended)
    assert ended.code == 1
    assert (first["organization"], first["ready"], first["days_left"]) == ("acme", "yes", "99")
    assert (second["organization"], second["ready"], second["days_left"]) == ("bob", "no", "")
    assert second["missing"] == "No active signing key, own or meta."


def test_no_merchant_is_no_fault() -> None:
    text, as_json, as_csv = (run("cybs_readiness", *form) for form in ([], ["--json"], ["--csv"]))
    assert (text.code, text.out) == (0, "No merchants.\n")
    assert (as_json.code, as_json.json) == (0, [])
    assert (as_csv.code, rows(as_csv)) == (0, [])


def test_json_and_csv_are_not_asked_for_at_once() -> None:
    ended = run("cybs_readiness", "--json", "--csv")
    assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize("name", ["=cmd|'/c calc'!A1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_that_a_spreadsheet_would_run_is_quoted(name: str) -> None:
    merchant = enrolment.organization()
    Organization.objects.filter(pk=merchant.pk).update(name=name)
    (row,) = rows(run("cybs_readiness", "--csv"))
    assert row["name"] == f"'{name}"


def test_a_hostile_name_does_not_steer_the_terminal() -> None:
    merchant = enrolment.organization()
    Organization.objects.filter(pk=merchant.pk).update(name="\x1b[2J")
    assert "\x1b" not in run("cybs_readiness").out
    assert "\x1b" not in run("cybs_readiness", "--json").out


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["acme", "bob", "carol"]),
        (["--host", OTHER_HOST], ["carol"]),
        (["--portfolio", "mall"], ["bob"]),
        (["--portfolio", "mall", "--host", OTHER_HOST], []),
    ],
)
def test_host_and_portfolio_choose(
    acme: Organization, options: list[str], names: list[str]
) -> None:
    enrolment.organization("mall", kind="portfolio")
    enrolment.organization("bob", parent="mall")
    enrolment.organization("carol", host=OTHER_HOST)
    found: list[dict[str, Any]] = run("cybs_readiness", "--json", *options).json
    assert [one["organization"] for one in found] == names


def test_an_unknown_portfolio_ends_with_2() -> None:
    assert run("cybs_readiness", "--portfolio", "nobody").code == 2
