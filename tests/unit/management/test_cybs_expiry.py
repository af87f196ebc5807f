"""`cybs_expiry`: the list for people, for machines and for Prometheus."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import metrics
from tests.unit.management import running
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("cybs_expiry", *arguments, stdout=out)
    return out.getvalue()


def key(owner: Organization, days: float, **columns: Any) -> Any:
    # Half a day more, so that a slow machine counts the same whole days.
    return estate.key(owner, days=days + 0.5, now=timezone.now(), **columns)


def portfolio(merchants: int) -> Organization:
    mall = estate.organization("mall", kind="portfolio")
    for n in range(merchants):
        estate.organization(f"mid{n:02}", parent=mall)
    return mall


def test_json__is_a_list_sorted_by_end_with_the_merchants_that_stop() -> None:
    mall = portfolio(2)
    own = key(estate.organization("acme"), 300)
    meta = key(mall, 100, covers="all")

    rows = json.loads(run("--json"))

    assert [(row["organization"], row["key_id"], row["days_left"]) for row in rows] == [
        ("mall", meta.key_id, 100),
        ("acme", own.key_id, 300),
    ]
    assert rows[0]["stops"] == ["mid00", "mid01"]
    assert rows[0]["artefact"] == "signing-certificate"
    assert rows[0]["ends"] == meta.expires_at.isoformat()


def test_json__of_nothing_is_an_empty_list() -> None:
    assert json.loads(run("--json")) == []


def test_text__says_how_many_merchants_stop_on_which_day() -> None:
    meta = key(portfolio(17), 100, covers="all")
    key(estate.organization("acme"), 300)

    said = run()

    assert f"17 merchants stop on {meta.expires_at:%Y-%m-%d}" in said
    assert "1 merchant stops on" in said
    assert "17 stop" in said


def test_text__counts_a_merchant_on_the_first_day_that_stops_it() -> None:
    acme = estate.organization("acme")
    key(acme, 300)
    first = estate.certificate(acme, days=50, now=timezone.now())

    summary = [line for line in run().splitlines() if line.startswith("1 merchant")]

    assert summary == [f"1 merchant stops on {first.not_after:%Y-%m-%d}"]


def test_text__counts_keys_without_an_end_among_those_that_were_asked_for() -> None:
    mall = portfolio(1)
    estate.key(mall, days=None, covers="all")
    estate.key(estate.organization("acme"), days=None)
    estate.key(estate.organization("books", host=estate.HOST), days=None)

    def counted(*arguments: str) -> str:
        return run(*arguments).splitlines()[-1].split(" have")[0].split(" has")[0]

    assert counted() == "3 keys in force"
    assert counted("--host", estate.HOST.upper()) == "1 key in force"
    assert counted("--host", "nowhere.example.com") == "Nothing ends."
    assert counted("--organization", "acme") == "1 key in force"
    assert counted("--organization", "mall") == "1 key in force"
    assert counted("--organization", "mid00") == "1 key in force", "its meta key"


def test_text__stands_in_columns_whatever_ends() -> None:
    acme = estate.organization("acme")
    estate.certificate(acme, days=50, now=timezone.now())
    key(acme, 60, key_id="6643fb9a-8093-47c6-95d3-8d69785b5e62")
    key(acme, 70, purpose="response-mle", key_id="1757695744950028980655")

    lines = [line for line in run().splitlines() if line.endswith(f"acme@{acme.host}")]

    assert len(lines) == 3
    assert len({line.index(f"acme@{acme.host}") for line in lines}) == 1


def test_text__of_nothing_says_so() -> None:
    assert run() == "Nothing ends.\n"


def test_text__tells_of_keys_whose_end_nobody_knows() -> None:
    estate.key(estate.organization("acme"), days=None)

    assert "1 key in force has no known end" in run()


def test_json__tells_of_keys_whose_end_nobody_knows_beside_the_list() -> None:
    assert running.run("cybs_expiry", "--json").err == ""
    estate.key(estate.organization("acme"), days=None)

    ended = running.run("cybs_expiry", "--json")

    assert (ended.code, ended.json) == (0, [])
    assert "1 key in force has no known end" in ended.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--days", "150"], {"mall"}),
        (["--days", "0"], set()),
        (["--host", estate.HOST], {"test"}),
        (["--organization", "acme"], {"acme"}),
        (["--portfolio", "mall"], {"mall", "mid00"}),
        (["--portfolio", "mall", "--days", "150"], {"mall"}),
    ],
)
def test_filters__choose(arguments: list[str], expected: set[str]) -> None:
    key(portfolio(2), 100, covers="all")
    key(Organization.objects.get(org_id="mid00"), 200)
    key(estate.organization("acme"), 300)
    key(estate.organization("test", host=estate.HOST), 300)

    rows = json.loads(run("--json", *arguments))

    assert {row["organization"] for row in rows} == expected


def test_exit_code__is_1_after_the_list_when_merchants_are_stopped_now() -> None:
    key(estate.organization("acme"), -3)
    out = io.StringIO()

    with pytest.raises(CommandError) as caught:
        call_command("cybs_expiry", "--json", stdout=out)

    assert caught.value.returncode == 1
    assert json.loads(out.getvalue())[0]["days_left"] == -3


@pytest.mark.parametrize("number", ["-1", "-999999999999", "soon"])
def test_days__are_counted_from_0(number: str) -> None:
    with pytest.raises(CommandError, match="days"):
        run(f"--days={number}")


def test_exit_code__is_2_for_an_organization_that_is_not_there() -> None:
    with pytest.raises(CommandError) as caught:
        run("--organization", "nobody")

    assert caught.value.returncode == 2


def test_prometheus__prints_the_metrics_and_the_rules() -> None:
    key(estate.organization("acme"), 20)

    said = run("--prometheus")

    assert said.endswith("\n")
    assert not said.endswith("\n\n")
    assert "cybs_jwt_end_timestamp_seconds{" in said
    assert run("--prometheus-rules") == metrics.prometheus_rules()


def test_a_merchant_under_a_meta_key_is_stopped_by_the_earliest_of_three_ends() -> None:
    mall = portfolio(1)
    key(mall, 100, covers="all")
    key(mall, 50, purpose="response-mle")
    estate.certificate(mall, days=20.5, now=timezone.now())

    rows = json.loads(run("--json", "--organization", "mid00"))

    assert [(row["artefact"], row["days_left"], row["stops"]) for row in rows] == [
        ("request-mle-certificate", 20, ["mid00"]),
        ("response-mle-certificate", 50, ["mid00"]),
        ("signing-certificate", 100, ["mid00"]),
    ]
