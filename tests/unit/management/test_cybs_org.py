"""cybs_org and cybs_meta."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from django_cybs_jwt.models import KeyEvent, Organization
from tests.unit.management.running import Ended, run
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST, LIVE_HOST, OTHER_HOST

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]

FACTS = {
    "org_id": "acme",
    "kind": "merchant",
    "host": HOST,
    "live": False,
    "active": True,
    "parent": None,
    "name": "",
}


def add(*more: str, org_id: str = "acme", kind: str = "merchant", host: str = HOST) -> Ended:
    return run("cybs_org", "add", org_id, "--kind", kind, "--host", host, *more)


def test_add_says_what_was_stored() -> None:
    ended = run("cybs_org", "add", "acme", "--kind", "merchant", "--host", HOST)
    assert (ended.code, ended.out) == (0, f"Added merchant acme@{HOST}.\n")


def test_add_prints_json() -> None:
    ended = run("cybs_org", "add", "acme", "--kind", "merchant", "--host", HOST, "--json")
    assert ended.code == 0
    assert FACTS.items() <= ended.json.items()


def test_add_takes_parent_name_and_side() -> None:
    add(org_id="pf", kind="portfolio", host="gateway.example.com")
    ended = run(
        *("cybs_org", "add", "acme", "--kind", "merchant", "--host", "gateway.example.com"),
        *("--parent", "pf", "--name", "Acme GmbH", "--json"),
    )
    assert (ended.json["parent"], ended.json["name"]) == ("pf", "Acme GmbH")


def test_a_free_host_is_live_only_when_it_is_said() -> None:
    add("--live", host="gateway.example.com")
    assert Organization.objects.get().live is True


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "acme", "--kind", "merchant", "--host", "https://x.example.com/"),
        ("add", "a b", "--kind", "merchant", "--host", HOST),
        ("add", "acme", "--kind", "merchant", "--host", HOST, "--parent", "nobody"),
        ("add", "acme", "--kind", "merchant", "--host", HOST, "--live"),
        ("disable", "nobody"),
        ("disable", "acme@nowhere.example.com"),
    ],
    ids=" ".join,
)
def test_what_the_caller_must_correct_ends_with_2_and_one_line(arguments: tuple[str, ...]) -> None:
    ended = run("cybs_org", *arguments)
    assert ended.code == 2
    assert ended.err
    assert "\n" not in ended.err.strip()
    assert not Organization.objects.exists()


def test_adding_twice_ends_with_2() -> None:
    add()
    ended = run("cybs_org", "add", "acme", "--kind", "merchant", "--host", HOST)
    assert (ended.code, ended.err) == (2, f"acme@{HOST} is stored already.")


def test_list_is_a_table_or_a_json_list() -> None:
    assert run("cybs_org", "list").out == "No organizations yet. `cybs_org add` stores one.\n"
    assert run("cybs_org", "list", "--json").json == []
    add()
    header, row = run("cybs_org", "list").out.splitlines()
    assert header.split()[:3] == ["ORG", "ID", "KIND"]
    assert row.split()[:4] == ["acme", "merchant", HOST, "no"]
    (facts,) = run("cybs_org", "list", "--json").json
    assert FACTS.items() <= facts.items()


def test_json_may_be_asked_for_before_the_verb_and_behind_it() -> None:
    assert run("cybs_org", "list", "--json").json == []
    assert run("cybs_org", "--json", "list").json == []


def test_disable_tells_the_trail_who_and_why() -> None:
    add()
    ended = run("cybs_org", "disable", "acme", "--reason", "closed", "--user", "mara", "--json")
    assert ended.json["active"] is False
    event = KeyEvent.objects.get(action="disable")
    assert (event.actor, event.reason) == ("mara", "closed")


def test_enable_takes_disable_back() -> None:
    add()
    run("cybs_org", "disable", "acme")
    ended = run("cybs_org", "enable", "acme", "--reason", "a mistake", "--user", "mara")
    assert ended.out.startswith("Enabled merchant acme@")
    assert run("cybs_org", "list", "--json").json[0]["active"] is True
    event = KeyEvent.objects.get(action="enable")
    assert (event.actor, event.reason) == ("mara", "a mistake")


def test_add_tells_the_trail_who_and_on_which_side() -> None:
    add("--user", "mara", org_id="pf", kind="portfolio")
    add("--user", "mara", "--parent", "pf")
    events = KeyEvent.objects.order_by("seq")
    assert [(event.action, event.actor, event.organization, event.reason) for event in events] == [
        ("add", "mara", f"pf@{HOST}", "portfolio, test"),
        ("add", "mara", f"acme@{HOST}", "merchant under pf, test"),
    ]


def test_add_comes_before_the_ring_and_is_in_the_log_then(
    settings: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    settings.CYBS_JWT = {"KEYRING_FILE": tmp_path / "none.json"}
    assert add().code == 0
    assert Organization.objects.exists()
    assert not KeyEvent.objects.exists()
    assert f"Not in the audit chain (no ring): add acme@{HOST}, merchant, test" in caplog.text


def test_add_is_refused_where_the_ring_cannot_be_read(settings: Any, tmp_path: Path) -> None:
    """A ring that is there and broken does not let a change past the audit trail."""
    (tmp_path / "ring.json").write_text("{")
    settings.CYBS_JWT = {"KEYRING_FILE": tmp_path / "ring.json"}
    assert add().code == 2
    assert not Organization.objects.exists()


def test_without_a_user_the_account_of_this_machine_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOGNAME", "kim")
    add()
    run("cybs_org", "disable", "acme")
    assert {event.actor for event in KeyEvent.objects.all()} == {"os:kim"}


def test_a_user_name_that_fits_no_column_ends_with_2() -> None:
    add()
    assert run("cybs_org", "disable", "acme", "--user", "x" * 151).code == 2
    assert Organization.objects.get().active


def test_an_ambiguous_name_ends_with_2_and_says_what_to_type() -> None:
    for host in (HOST, OTHER_HOST):
        add(host=host)
    ended = run("cybs_org", "disable", "acme")
    assert ended.code == 2
    assert f"say acme@{HOST} or acme@{OTHER_HOST}" in ended.err
    assert run("cybs_org", "disable", f"acme@{OTHER_HOST}").code == 0


def test_a_live_organization_may_be_stored_while_live_is_off() -> None:
    add(host=LIVE_HOST)
    assert Organization.objects.get().live is True


# cybs_meta


def meta(*arguments: str) -> object:
    return run("cybs_meta", "portfolio", *arguments, "--json").json


def test_meta_adds_lists_and_removes() -> None:
    portfolio, _, _ = enrolment.family()
    enrolment.shared_secret(portfolio, covers="selected")
    assert run("cybs_meta", "portfolio", "list").out == (
        "The key serves no merchant besides its owner.\n"
    )
    acme = [{"org_id": "acme", "host": HOST, "name": ""}]
    assert meta("add", "acme") == acme
    assert meta("list") == acme
    assert "acme" in run("cybs_meta", "portfolio", "list").out
    assert meta("remove", "acme") == []


def test_meta_takes_several_merchants_and_a_slot() -> None:
    portfolio, _, _ = enrolment.family()
    enrolment.organization("second", parent="account")
    enrolment.shared_secret(portfolio, covers="selected", slot="europe")
    listed = run("cybs_meta", "portfolio", "add", "acme", "second", "--slot", "europe", "--json")
    assert [row["org_id"] for row in listed.json] == ["acme", "second"]


@pytest.mark.parametrize("arguments", [("add",), ("remove",), ("list", "acme")])
def test_meta_with_nobody_to_add_is_2_and_not_audited(arguments: tuple[str, ...]) -> None:
    portfolio, _, _ = enrolment.family()
    enrolment.shared_secret(portfolio, covers="selected")
    assert run("cybs_meta", "portfolio", *arguments, "--user", "mara").code == 2
    assert not KeyEvent.objects.filter(actor="mara").exists()


def test_meta_of_a_stranger_ends_with_2_and_is_audited_as_denied() -> None:
    portfolio, _, _ = enrolment.family()
    enrolment.shared_secret(portfolio, covers="selected")
    assert run("cybs_meta", "portfolio", "add", "nobody", "--user", "mara").code == 2
    denied = KeyEvent.objects.get(actor="mara")
    assert (denied.action, denied.outcome) == ("cover", "denied")
