"""cybs_keyring add, promote, block, unblock and list: the file, the audit row, the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.models import KeyEvent
from django_cybs_jwt.sealing import ring_file
from django_cybs_jwt.services import signing
from django_cybs_jwt.services.sealed import rewrap
from tests.unit.management.running import Ended, run
from tests.unit.services.sealed_keys import key

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def file(settings: Any, tmp_path: Path, cybs_ring: dict[str, Any]) -> Path:
    path = tmp_path / "keyring.json"
    settings.CYBS_JWT = {"KEYRING_FILE": str(path)}
    signing.forget()
    assert run("cybs_keyring", "generate", "first").code == 0
    return path


def verb(*arguments: str) -> Ended:
    return run("cybs_keyring", *arguments)


def listed() -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in verb("list", "--json").json}


def told() -> list[tuple[str, str, str]]:
    rows = KeyEvent.objects.filter(action__startswith="kek-").order_by("seq")
    return [(row.action, row.actor, row.reason) for row in rows]


def today() -> str:
    return f"{timezone.now():%Y-%m-%d}"


# -- list --


def test_the_list_has_every_key_and_how_much_is_sealed_under_it() -> None:
    key()
    verb("add", "second")
    assert listed() == {
        "first": {
            "id": "first",
            "status": "enabled",
            "primary": True,
            "created": today(),
            "fingerprint": conf.keyring().fingerprint("first"),
            "sealed": 2,
        },
        "second": {
            "id": "second",
            "status": "decrypt_only",
            "primary": False,
            "created": today(),
            "fingerprint": conf.keyring().fingerprint("second"),
            "sealed": 0,
        },
    }
    assert "second" in verb("list").out


def test_no_output_holds_a_key(file: Path) -> None:
    ended = [
        verb("add", "second"),
        verb("promote", "second", "--json"),
        verb("block", "first", "--force"),
        verb("list"),
        verb("list", "--json"),
    ]
    ring = json.loads(file.read_text())
    secrets = [ring["index_key"], ring["audit_key"], *(k["key"] for k in ring["keys"].values())]
    said = "".join(one.out + one.err for one in ended) + str(told())
    assert not any(secret in said for secret in secrets)


# -- add, promote, block, unblock --


def test_a_new_key_is_called_like_the_day() -> None:
    assert verb("add").code == 0
    assert set(listed()) == {"first", today()}


def test_further_keys_of_one_day_are_counted() -> None:
    assert [verb("add", "--json").json["id"] for _ in range(3)] == [
        today(),
        f"{today()}-2",
        f"{today()}-3",
    ]


def test_promote_takes_the_key_that_was_added_after_the_primary() -> None:
    for name in ("second", "third"):
        verb("add", name)
        ended = verb("promote", "--json")
        assert (ended.code, ended.json["id"], ended.json["primary"]) == (0, name, name)
    third = conf.keyring().fingerprint("third")
    assert told()[-1][::2] == ("kek-promote", f"third {third}")


@pytest.mark.parametrize(
    ("added", "says"), [((), "No key was added"), (("second", "third"), "second, third")]
)
def test_promote_without_one_choice_ends_with_2_and_changes_nothing(
    added: tuple[str, ...], says: str, file: Path
) -> None:
    for name in added:
        verb("add", name)
    before = file.read_bytes()
    ended = verb("promote")
    assert ended.code == 2
    assert says in ended.err
    assert file.read_bytes() == before


def test_promote_without_an_id_never_goes_back_to_an_older_key() -> None:
    verb("add", "second")
    verb("promote")
    assert verb("promote").code == 2
    assert conf.keyring().primary_id == "second"


@pytest.mark.parametrize("arguments", [("second",), ("--id", "second")])
def test_a_new_key_can_be_named_either_way(arguments: tuple[str, ...]) -> None:
    ended = verb("add", *arguments, "--json")
    assert (ended.code, ended.json["id"], ended.json["status"]) == (0, "second", "decrypt_only")
    assert ended.json["primary"] == "first"


def test_a_name_that_is_taken_ends_with_2_and_changes_nothing(file: Path) -> None:
    before = file.read_bytes()
    assert verb("add", "first").code == 2
    assert file.read_bytes() == before


def test_this_process_sees_its_own_change() -> None:
    verb("add", "second")
    verb("promote", "second")
    assert conf.keyring().primary_id == "second"


def test_a_promoted_key_seals_and_what_was_sealed_still_opens() -> None:
    before = key()
    verb("add", "second")
    assert verb("promote", "second").code == 0
    signing.forget()
    after = key("other")
    assert signing.keys_for("acme").signing.kid == before.key_id
    assert signing.keys_for("other").signing.kid == after.key_id
    assert {name: row["sealed"] for name, row in listed().items()} == {"first": 2, "second": 2}


@pytest.mark.parametrize("arguments", [("promote", "lost"), ("block", "lost"), ("unblock", "lost")])
def test_a_key_that_is_not_in_the_ring_ends_with_2(arguments: tuple[str, str], file: Path) -> None:
    before = file.read_bytes()
    ended = verb(*arguments)
    assert ended.code == 2
    assert "not in the ring" in ended.err
    assert file.read_bytes() == before


def test_a_blocked_key_is_not_promoted_until_it_is_unblocked() -> None:
    verb("add", "second")
    verb("block", "second")
    refused = verb("promote", "second")
    assert (refused.code, listed()["second"]["status"]) == (1, "blocked")
    assert "blocked" in refused.err
    assert verb("unblock", "second").code == 0
    assert verb("promote", "second").code == 0


def test_the_primary_is_not_blocked_not_even_by_force() -> None:
    for force in ((), ("--force",)):
        ended = verb("block", "first", *force)
        assert ended.code == 1
        assert "Promote another one first" in ended.err
    assert listed()["first"]["status"] == "enabled"


def test_a_key_in_use_is_not_blocked_until_a_rewrap_emptied_it() -> None:
    key()
    verb("add", "second")
    verb("promote", "second")
    refused = verb("block", "first")
    assert (refused.code, listed()["first"]["status"]) == (1, "decrypt_only")
    assert "2 secrets" in refused.err
    assert "cybs_rewrap" in refused.err

    rewrap.run(actor="a", now=timezone.now())

    assert verb("block", "first").code == 0
    assert signing.keys_for("acme")


def test_a_key_in_use_is_blocked_by_force_and_unblocked_again() -> None:
    key()
    verb("add", "second")
    verb("promote", "second")
    assert verb("block", "first", "--force").code == 0
    signing.forget()
    with pytest.raises(Exception, match="blocked"):
        signing.keys_for("acme")
    assert verb("unblock", "first").code == 0
    signing.forget()
    assert signing.keys_for("acme")


def test_a_key_that_is_not_blocked_is_not_unblocked() -> None:
    ended = verb("unblock", "first")
    assert ended.code == 1
    assert "is not blocked" in ended.err


# -- the audit trail --


def test_each_change_is_audited_with_who_and_which_key() -> None:
    verb("add", "second", "--user", "anna")
    verb("promote", "second", "--user", "ben")
    verb("block", "first", "--force", "--user", "carla")
    verb("unblock", "first", "--user", "dora")
    first, second = (conf.keyring().fingerprint(name) for name in ("first", "second"))
    assert told()[1:] == [
        ("kek-add", "anna", f"second {second}"),
        ("kek-promote", "ben", f"second {second}"),
        ("kek-block", "carla", f"first {first} forced"),
        ("kek-unblock", "dora", f"first {first}"),
    ]
    assert told()[0][::2] == ("kek-generate", f"first {first}")


def test_a_refused_change_is_no_change_and_no_row() -> None:
    before = told()
    verb("block", "first")
    verb("add", "first")
    assert told() == before


def test_a_ring_under_a_mistyped_path_leaves_the_chain_of_the_right_one_whole(
    settings: Any, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    verb("add", "second")
    settings.CYBS_JWT = {"KEYRING_FILE": str(file.with_name("typo.json"))}

    for ended in (verb("generate", "--json"), verb("add", "other")):
        assert ended.code == 0
        assert "not made with this ring" in ended.err
    assert caplog.text.count("another ring's: kek-") == 2

    settings.CYBS_JWT = {"KEYRING_FILE": str(file)}
    assert run("cybs_audit", "verify").code == 0
    assert verb("promote", "second").err == ""
    assert run("cybs_audit", "verify").code == 0


@pytest.mark.django_db(transaction=True)
def test_without_a_database_the_ring_is_changed_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The ring comes before the database: before the first migrate, and when all is down."""
    with connection.schema_editor() as editor:
        editor.execute("ALTER TABLE cybs_jwt_audithead RENAME TO gone")
        editor.execute("ALTER TABLE cybs_jwt_credential RENAME TO gone_too")
    try:
        assert verb("add", "second").code == 0
        assert verb("promote", "second").code == 0
        assert {row["sealed"] for row in listed().values()} == {None}
        refused = verb("block", "first")
        assert verb("block", "first", "--force").code == 0
    finally:
        with connection.schema_editor() as editor:
            editor.execute("ALTER TABLE gone RENAME TO cybs_jwt_audithead")
            editor.execute("ALTER TABLE gone_too RENAME TO cybs_jwt_credential")
    assert refused.code == 1
    assert "--force" in refused.err
    assert listed()["first"]["status"] == "blocked"
    assert caplog.text.count("Not in the audit chain") == 3


# -- where the ring does not come from a file --


def test_a_ring_from_the_settings_is_listed_and_not_changed(
    settings: Any, file: Path, cybs_ring: dict[str, Any]
) -> None:
    settings.CYBS_JWT = {"KEYRING": cybs_ring, "KEYRING_FILE": str(file)}
    before = file.read_bytes()
    assert set(listed()) == {"testing"}
    for arguments in (("add",), ("promote", "first"), ("block", "first"), ("unblock", "first")):
        ended = verb(*arguments)
        assert ended.code == 2
        assert "CYBS_JWT['KEYRING']" in ended.err
    assert file.read_bytes() == before


def test_a_change_that_was_cut_off_ends_with_2_and_names_the_draft(file: Path) -> None:
    draft = file.with_name("keyring.json.new")
    draft.touch()
    ended = verb("add", "second")
    assert ended.code == 2
    assert str(draft) in ended.err
    assert ring_file.read(file).ids() == ("first",)


def test_a_file_that_is_gone_ends_with_2(file: Path) -> None:
    file.unlink()
    assert verb("add", "second").code == 2
    assert not file.exists()


@pytest.mark.parametrize("arguments", [(), ("block",), ("remove", "first")])
def test_a_verb_or_an_id_that_is_missing_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert verb(*arguments).code != 0
