"""Importing many keys: a result a row, nothing stored by a dry run, no way out of the folder."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from traceback import TracebackException
from typing import Any

import pytest
from django.utils import timezone

from django_cybs_jwt.exceptions import ConfigurationError, KeyRingError
from django_cybs_jwt.models import (
    AuditHead,
    Credential,
    Epoch,
    GatewayCertificate,
    KeyEvent,
    KeySlot,
    Organization,
    State,
)
from django_cybs_jwt.services import organizations, rotation, signing
from django_cybs_jwt.services.migration import bulk_import
from django_cybs_jwt.services.migration import manifest as key_manifest
from django_cybs_jwt.services.migration.bulk_import import Outcome, Result
from django_cybs_jwt.services.migration.manifest import Variables
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST, LIVE_HOST, OTHER_HOST

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]

VARIABLES = {"P12": material.PASSWORD, "WRONG": "Wrong-Horse-1"}

Cells = dict[str, str]


def p12_row(folder: Path, org_id: str = "acme", **cells: str) -> Cells:
    """A row with a P12 of its own beside the manifest."""
    purpose = cells.get("purpose", "signing")
    key = material.rsa_key(name=f"bulk {org_id} {purpose}")
    name = cells.setdefault("file", f"{org_id}-{purpose}.p12")
    (folder / name).write_bytes(material.p12(org_id, private_key=key).data)
    return {"org_id": org_id, "purpose": purpose, "password_env": "P12", **cells}


def secret_row(org_id: str = "acme", *, variable: str = "SECRET", **cells: str) -> Cells:
    key_id = cells.get("key_id") or material.shared_secret().key_id
    return (
        {"org_id": org_id, "purpose": "signing", "secret_env": variable}
        | cells
        | {"key_id": key_id}
    )


def with_secrets(*names: str) -> dict[str, str]:
    return VARIABLES | {name: material.shared_secret().secret for name in names}


def write(folder: Path, rows: Iterable[Cells]) -> Path:
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    lines = csv.DictWriter(text, names, restval="")
    lines.writeheader()
    lines.writerows(rows)
    path = folder / "manifest.csv"
    path.write_text(text.getvalue(), newline="")
    return path


def imported(
    folder: Path, *rows: Cells, variables: dict[str, str] | None = None, dry_run: bool = False
) -> list[Result]:
    manifest = key_manifest.read_manifest(write(folder, rows))
    service = bulk_import.rehearse_many if dry_run else bulk_import.import_many
    given = Variables(variables or with_secrets("SECRET"))
    return list(service(manifest, variables=given, actor="tests", now=timezone.now()))


def refusal(folder: Path, row: Cells, **options: Any) -> str:
    """Why one row is refused; it stores nothing."""
    before = tables()
    (result,) = imported(folder, row, **options)
    assert (result.outcome, result.state) == (Outcome.REFUSED, "")
    assert tables() == before
    return result.error


def tables() -> tuple[int, ...]:
    counts = [model.objects.count() for model in (Organization, KeySlot, Credential)]
    return (*counts, GatewayCertificate.stored.count())


def test_of_several_certificates_of_one_key_the_organizations_own_is_taken(
    tmp_path: Path,
) -> None:
    enrolment.organization()
    row = p12_row(tmp_path) | {"org_id": f"acme@{HOST}"}
    (tmp_path / row["file"]).write_bytes(enrolment.twice_named_p12())
    (result,) = imported(tmp_path, row)
    assert (result.error, Credential.objects.get().key_id) == ("", "1" * 22)


def everything() -> tuple[Any, ...]:
    """All that a dry run could change, the audit trail and the epoch included."""
    chain = list(KeyEvent.objects.values_list("seq", "digest"))
    return (*tables(), chain, list(AuditHead.objects.values()), list(Epoch.objects.values()))


# What is stored


def test_each_row_is_stored_with_its_own_result(tmp_path: Path) -> None:
    for org_id in ("acme", "bob"):
        enrolment.organization(org_id)
    rows = [
        p12_row(tmp_path),
        p12_row(tmp_path, purpose="response-mle"),
        secret_row("bob", key_id="b-1", activate="yes", expires="2031-05-06"),
    ]
    found = imported(tmp_path, *rows)
    assert [(one.row, one.organization, one.host, one.purpose) for one in found] == [
        (2, "acme", HOST, "signing"),
        (3, "acme", HOST, "response-mle"),
        (4, "bob", HOST, "signing"),
    ]
    assert [(one.outcome, one.state, one.error) for one in found] == [
        ("imported", "STAGED", ""),
        ("imported", "STAGED", ""),
        ("imported", "ACTIVE", ""),
    ]
    stored = {row.key_id: row for row in Credential.objects.all()}
    assert set(stored) == {one.key_id for one in found}
    assert stored["b-1"].expires_at == datetime(2031, 5, 6, tzinfo=UTC)
    assert signing.keys_for("bob").signing.kid == "b-1"


def test_the_importer_is_named_in_row_and_audit_trail(tmp_path: Path) -> None:
    enrolment.organization()
    imported(tmp_path, secret_row())
    event = KeyEvent.objects.get(action="import")
    assert (event.actor, event.outcome) == ("tests", "done")
    assert Credential.objects.get().uploaded_by == "tests"


def test_a_refused_row_stops_no_other_one(tmp_path: Path) -> None:
    enrolment.organization()
    found = imported(
        tmp_path,
        secret_row("nobody"),
        p12_row(tmp_path, password_env="WRONG"),
        secret_row(purpose="nonsense"),
        secret_row(key_id="good"),
    )
    assert [one.outcome for one in found] == ["refused"] * 3 + ["imported"]
    assert [row.key_id for row in Credential.objects.all()] == ["good"]


def test_a_row_is_all_or_nothing(tmp_path: Path) -> None:
    """The organization of a refused key is not left behind."""
    row = secret_row("fresh", kind="merchant", host=HOST, covers="all")
    assert "cannot own a meta key" in refusal(tmp_path, row)
    denied = KeyEvent.objects.get()
    assert (denied.outcome, denied.organization) == ("denied", f"fresh@{HOST}")


def test_slot_coverage_algorithm_and_name_reach_the_rows(tmp_path: Path) -> None:
    row = secret_row(
        "mall",
        kind="portfolio",
        host=HOST,
        name="The Mall",
        slot="meta",
        covers="selected",
        algorithm="HS256",
    )
    (found,) = imported(tmp_path, row)
    stored = Credential.objects.select_related("slot").get(key_id=found.key_id)
    assert (stored.slot.name, stored.slot.coverage) == ("meta", "selected")
    assert stored.algorithm == "HS256"
    assert Organization.objects.get().name == "The Mall"


def test_a_missing_organization_is_created_under_one_of_an_earlier_row(tmp_path: Path) -> None:
    rows = [
        secret_row("mall", variable="A", kind="portfolio", host=HOST, covers="all"),
        secret_row("shop", variable="B", kind="merchant", host=HOST, parent="mall"),
        secret_row("shop", variable="C", slot="second"),
    ]
    found = imported(tmp_path, *rows, variables=with_secrets("A", "B", "C"))
    assert [one.outcome for one in found] == ["imported"] * 3
    parent = Organization.objects.get(org_id="shop").parent
    assert parent is not None
    assert parent.org_id == "mall"


def test_org_id_names_its_host_where_the_id_is_on_several(tmp_path: Path) -> None:
    for host in (HOST, OTHER_HOST):
        enrolment.organization(host=host)
    assert f"say acme@{HOST} or acme@{OTHER_HOST}" in refusal(tmp_path, secret_row())
    by_name, by_column = imported(
        tmp_path,
        secret_row(f"acme@{OTHER_HOST}", variable="A"),
        secret_row(variable="B", host=HOST),
        variables=with_secrets("A", "B"),
    )
    assert (by_name.host, by_column.host) == (OTHER_HOST, HOST)


# Again, and twice


def test_running_it_again_imports_only_what_is_missing(tmp_path: Path) -> None:
    enrolment.organization()
    variables = with_secrets("A", "B")
    first, second = p12_row(tmp_path, activate="yes"), secret_row(variable="A", slot="b")
    imported(tmp_path, first, variables=variables)
    before = KeyEvent.objects.count()
    found = imported(tmp_path, first, second, variables=variables)
    assert [(one.outcome, one.state) for one in found] == [
        ("present", "ACTIVE"),
        ("imported", "STAGED"),
    ]
    again = imported(tmp_path, first, second, variables=variables)
    assert [one.outcome for one in again] == ["present", "present"]
    assert KeyEvent.objects.count() == before + 1


def test_a_destroyed_key_is_not_present(tmp_path: Path) -> None:
    enrolment.organization()
    imported(tmp_path, secret_row(key_id="k-1"), variables=(variables := with_secrets("SECRET")))
    enrolment.put(Credential.objects.get(), State.DESTROYED, sealed_secret=None, live_key_id=None)
    (found,) = imported(tmp_path, secret_row(key_id="k-1"), variables=variables)
    assert (found.outcome, found.state) == ("imported", "STAGED")


@pytest.mark.parametrize("dry_run", [False, True])
def test_one_key_twice_in_a_manifest_is_refused_with_the_other_line(
    tmp_path: Path, dry_run: bool
) -> None:
    enrolment.organization()
    rows = [secret_row(key_id="k-1"), secret_row(key_id="k-2"), secret_row(key_id="k-3")]
    found = imported(tmp_path, *rows, dry_run=dry_run)
    assert [one.outcome for one in found[1:]] == ["refused", "refused"]
    assert f"Line 2 holds the same key for acme@{HOST}" in found[1].error


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_refused_row_does_not_take_the_key_from_the_right_one(
    tmp_path: Path, dry_run: bool
) -> None:
    enrolment.organization()
    rows = [secret_row("acme", covers="all"), secret_row("acme")]
    found = imported(tmp_path, *rows, dry_run=dry_run)
    assert [one.outcome == "refused" for one in found] == [True, False]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({}, {"org_id": "bob"}, "Merchants do not share keys"),
        ({"activate": "yes"}, {"activate": "yes", "secret_env": "B"}, "has had an active key"),
        ({"slot": "a", "key_id": "k"}, {"secret_env": "B", "key_id": "k"}, "has a key k already"),
    ],
)
def test_rows_are_held_against_the_rows_before_in_a_dry_run_too(
    tmp_path: Path, first: Cells, second: Cells, why: str, dry_run: bool
) -> None:
    enrolment.organization()
    enrolment.organization("bob")
    rows = [secret_row(variable="A") | first, secret_row(variable="A") | second]
    found = imported(tmp_path, *rows, variables=with_secrets("A", "B"), dry_run=dry_run)
    assert found[0].outcome in {"imported", "importable"}
    assert found[1].outcome == "refused"
    assert why in found[1].error


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_signing_file_named_again_for_replies_is_the_wrong_file(
    tmp_path: Path, dry_run: bool
) -> None:
    enrolment.organization()
    row = p12_row(tmp_path)
    found = imported(tmp_path, row, row | {"purpose": "response-mle"}, dry_run=dry_run)
    assert "Is it the other file?" in found[1].error


# A dry run


def test_a_dry_run_says_what_would_happen_and_changes_nothing(tmp_path: Path) -> None:
    enrolment.organization()
    variables = with_secrets("A", "B", "C")
    imported(tmp_path, secret_row(variable="A"), variables=variables)
    rows = [
        secret_row(variable="A"),
        p12_row(tmp_path, slot="p12", activate="yes"),
        secret_row("fresh", variable="B", kind="merchant", host=HOST),
        secret_row("fresh", variable="C", slot="second"),
        p12_row(tmp_path, org_id="acme", file="x.p12", password_env="WRONG"),
        secret_row("acme", variable="C", covers="all"),
    ]
    before = everything()
    found = imported(tmp_path, *rows, variables=variables, dry_run=True)
    assert everything() == before
    assert [(one.outcome, one.state) for one in found] == [
        ("present", "STAGED"),
        ("importable", "ACTIVE"),
        ("importable", "STAGED"),
        ("importable", "STAGED"),
        ("refused", ""),
        ("refused", ""),
    ]
    real = imported(tmp_path, *rows, variables=variables)
    renamed = [one.outcome.replace("imported", "importable") for one in real]
    assert renamed == [one.outcome for one in found]


def test_a_dry_run_really_opens_the_files_in_the_child_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolment.organization()
    started, run = [], subprocess.run

    def counting(*arguments: Any, **options: Any) -> Any:
        started.append(arguments)
        return run(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", counting)
    (found,) = imported(tmp_path, p12_row(tmp_path), dry_run=True)
    assert found.outcome == "importable"
    assert len(started) == 1


def test_notices_of_the_file_come_with_the_row(tmp_path: Path) -> None:
    enrolment.organization()
    (found,) = imported(tmp_path, p12_row(tmp_path), dry_run=True)
    assert any("look alike inside" in notice for notice in found.notices)


# What a row is refused for


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"purpose": ""}, "purpose is signing or response-mle"),
        ({"purpose": "Signing"}, "purpose is signing or response-mle"),
        ({"covers": "everybody"}, "covers is own, all, selected"),
        ({"activate": "maybe"}, "activate is yes, no, or empty"),
        ({"expires": "31.12.2030"}, "expires is a day like"),
        ({"expires": "2020-01-01"}, "The key ended on 2020-01-01"),
        ({"algorithm": "HS999"}, "HS256, HS384, HS512"),
        ({"algorithm": "HS512"}, "needs a secret of 64 bytes"),
        ({"key_id": "../x"}, "not a key id"),
        ({"secret_env": ""}, "either file or secret_env"),
        ({"file": "x.p12"}, "either file or secret_env"),
        ({"secret_env": "UNSET"}, "The variable that secret_env names is not set."),
        ({"secret_env": "SHORT"}, "needs a secret of 32 bytes"),
        ({"slot": "x" * 61}, "at most 60"),
        ({"org_id": "nobody"}, "Give its kind and host in the manifest"),
        ({"org_id": "nobody", "kind": "merchant"}, "Give its kind and host in the manifest"),
        ({"org_id": "nobody", "host": HOST}, "Give its kind and host in the manifest"),
        ({"org_id": "nobody", "kind": "shop", "host": HOST}, "'shop' is not one of"),
        ({"org_id": "no body", "kind": "merchant", "host": HOST}, "not an organization id"),
        ({"org_id": "x" * 61, "kind": "merchant", "host": HOST}, "not an organization id"),
        ({"org_id": "a@b", "host": HOST}, "Give the host once"),
        ({"org_id": "x", "kind": "merchant", "host": "pay.example.com"}, "cybs_org add"),
        ({"org_id": "x", "kind": "merchant", "host": HOST, "parent": "y"}, "No organization 'y'"),
        ({"org_id": "ac\x00me"}, "org_id has a control character"),
        ({"org_id": "acme\u202e"}, "org_id has a control character"),
        ({"name": "x" * 501}, "more than 500 characters"),
    ],
)
def test_a_row_that_is_wrong_is_refused_with_the_cure(
    tmp_path: Path, cells: Cells, why: str
) -> None:
    enrolment.organization()
    variables = with_secrets("SECRET") | {"SHORT": "c2hvcnQ="}
    assert why in refusal(tmp_path, secret_row() | cells, variables=variables)


def test_a_wrong_password_and_a_damaged_file_read_alike(tmp_path: Path) -> None:
    enrolment.organization()
    wrong = refusal(tmp_path, p12_row(tmp_path, password_env="WRONG"))
    row = p12_row(tmp_path)
    path = tmp_path / row["file"]
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    assert refusal(tmp_path, row) == wrong
    assert "password is wrong or the file is damaged" in wrong


def test_another_merchants_file_is_refused_and_audited(tmp_path: Path) -> None:
    enrolment.organization()
    row = p12_row(tmp_path, "bob") | {"org_id": "acme"}
    assert "belongs to organization 'bob', not to 'acme'" in refusal(tmp_path, row)
    denied = KeyEvent.objects.get(action="import")
    assert (denied.outcome, denied.organization) == ("denied", f"acme@{HOST}")


def test_a_file_that_is_refused_is_audited_and_in_a_dry_run_it_is_not(tmp_path: Path) -> None:
    enrolment.organization()
    row = p12_row(tmp_path, password_env="WRONG")
    refusal(tmp_path, row, dry_run=True)
    assert not KeyEvent.objects.filter(outcome="denied").exists()
    refusal(tmp_path, row)
    denied = KeyEvent.objects.get(outcome="denied")
    assert (denied.action, denied.actor) == ("import", "tests")
    assert (denied.organization, denied.reason) == (row["org_id"], "UnreadableKeyFile")


def test_a_row_with_more_cells_than_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("org_id,purpose,file\nacme,signing,a.p12,secret\n")
    manifest = key_manifest.read_manifest(path)
    given: Any = {"variables": Variables(VARIABLES), "actor": "tests", "now": timezone.now()}
    (found,) = bulk_import.import_many(manifest, **given)
    assert "more cells than there are columns" in found.error


def test_a_later_key_of_a_slot_is_not_activated_by_import(tmp_path: Path) -> None:
    enrolment.shared_secret(enrolment.organization())
    assert "has had an active key" in refusal(tmp_path, secret_row(activate="yes"))


def test_with_four_eyes_activation_is_refused_with_what_to_do_instead(
    tmp_path: Path, settings: Any
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "FOUR_EYES": True}
    enrolment.organization()
    assert "import without activating" in refusal(tmp_path, secret_row(activate="yes"))
    (found,) = imported(tmp_path, secret_row())
    assert found.state == "STAGED"


def test_a_live_host_is_known_for_live(tmp_path: Path) -> None:
    imported(tmp_path, secret_row("real", kind="merchant", host=LIVE_HOST))
    assert Organization.objects.get().live


@pytest.mark.parametrize("live", [False, True])
def test_a_host_of_ones_own_is_what_its_first_organization_is(tmp_path: Path, live: bool) -> None:
    organizations.add("first", actor="alice", kind="merchant", host="pay.example.com", live=live)
    imported(tmp_path, secret_row("second", kind="merchant", host="PAY.example.com"))
    stored = Organization.objects.get(org_id="second")
    assert (stored.host, stored.live) == ("pay.example.com", live)


def test_without_a_ring_nothing_begins(tmp_path: Path, settings: Any) -> None:
    """Not even a refusal of what is refused anyway."""
    settings.CYBS_JWT = {}
    with pytest.raises(KeyRingError):
        imported(tmp_path, secret_row(purpose="nonsense"))


# Where files lie


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A good key file beside the manifest's folder, not in it."""
    path = tmp_path / "outside.p12"
    key = material.rsa_key(name="bulk acme signing")
    path.write_bytes(material.p12("acme", private_key=key).data)
    (tmp_path / "inside").mkdir()
    return path


def test_a_file_in_a_folder_below_is_found(tmp_path: Path) -> None:
    enrolment.organization()
    (tmp_path / "keys").mkdir()
    (found,) = imported(tmp_path, p12_row(tmp_path, file="keys/acme.p12"))
    assert found.outcome == "imported"


@pytest.mark.parametrize(
    "way",
    [
        "dots",
        "absolute",
        "link",
        "folder link",
        "dots that return",
        "absolute, inside",
        "dots, inside",
    ],
)
def test_every_way_out_of_the_folder_is_refused(tmp_path: Path, outside: Path, way: str) -> None:
    enrolment.organization()
    folder = tmp_path / "inside"
    (folder / "link.p12").symlink_to(outside)
    (folder / "up").symlink_to(tmp_path)
    (folder / "inside.p12").write_bytes(outside.read_bytes())
    (folder / "sub").mkdir()
    names = {
        "dots": "../outside.p12",
        "absolute": str(outside),
        "link": "link.p12",
        "folder link": "up/outside.p12",
        "dots that return": "../inside/link.p12",
        "absolute, inside": str(folder / "inside.p12"),
        "dots, inside": "sub/../inside.p12",
    }
    row = {"org_id": "acme", "purpose": "signing", "password_env": "P12", "file": names[way]}
    assert "outside the manifest's folder" in refusal(folder, row)


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    enrolment.organization()
    row = p12_row(tmp_path)
    (tmp_path / "link.p12").symlink_to(tmp_path / row["file"])
    (found,) = imported(tmp_path, row | {"file": "link.p12"})
    assert found.outcome == "imported"


@pytest.mark.parametrize("name", ["missing.p12", "circle", "folder", "pipe", "x" * 300, "~/x"])
def test_what_is_not_a_file_is_refused_and_never_waited_for(tmp_path: Path, name: str) -> None:
    enrolment.organization()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    row = {"org_id": "acme", "purpose": "signing", "password_env": "P12", "file": name}
    assert "The file is not" in refusal(tmp_path, row)


def test_no_more_of_a_file_is_read_than_a_key_file_may_have(tmp_path: Path) -> None:
    enrolment.organization()
    with (tmp_path / "huge.p12").open("wb") as file:
        file.truncate(50 * 1024**3)
    row = {"org_id": "acme", "purpose": "signing", "password_env": "P12", "file": "huge.p12"}
    assert "larger than 64 KiB" in refusal(tmp_path, row)


# No secret comes out, or in by the manifest


def test_no_variable_and_no_password_is_repeated(tmp_path: Path) -> None:
    enrolment.organization()
    rows = [
        p12_row(tmp_path, password_env="Tr0ub4dor"),
        p12_row(tmp_path, password_env="WRONG"),
        secret_row(variable="Tr0ub4dor"),
        secret_row(variable="BAD"),
        secret_row(variable="GOOD", key_id="k-1"),
    ]
    variables = with_secrets("GOOD") | {"BAD": "Tr0ub4dor&3"}
    found = imported(tmp_path, *rows, variables=variables)
    assert [one.outcome for one in found] == ["refused"] * 4 + ["imported"]
    said = repr(found) + repr(list(KeyEvent.objects.values()))
    for secret in ("Tr0ub4dor", variables["WRONG"], variables["GOOD"]):
        assert secret not in said


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_crash_report_shows_no_variable(tmp_path: Path, settings: Any, dry_run: bool) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "P12_INTERPRETER": str(tmp_path / "gone")}
    with pytest.raises(ConfigurationError) as caught:
        imported(tmp_path, p12_row(tmp_path), dry_run=dry_run)
    above = next(entry for entry in caught.traceback if entry.path.name == "bulk_import.py")
    report = TracebackException(
        type(caught.value), caught.value, above._rawentry, capture_locals=True
    )
    said = "".join(report.format())
    assert "manifest = Manifest" in said
    assert material.PASSWORD not in said


@pytest.mark.parametrize(
    "name", ["password", "PASSWORD ", "key_password", "secret", "shared_secret", "passphrase"]
)
def test_a_column_for_secrets_is_refused_whole_with_the_cure(tmp_path: Path, name: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(f"org_id,purpose,file,{name}\nacme,signing,a.p12,Tr0ub4dor\n")
    with pytest.raises(ConfigurationError) as caught:
        key_manifest.read_manifest(path)
    assert "Column 4 would hold secrets" in str(caught.value)
    assert "password_env or secret_env" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "org_id and purpose among them"),
        ("org_id,file\n", "org_id and purpose among them"),
        ("org_id,purpose,purpose\n", "each column once"),
        ("org_id;purpose;file\n", "separated by commas"),
        ("org_id,purpose,colour\n", "Column 3 of line 1 is not known"),
        ("acme,signing,Tr0ub4dor\n", "Column 1 of line 1 is not known"),
        ('org_id,purpose\n"acme,signing\n', "is not CSV"),
        ('org_id,purpose\n"ac"me,signing\n', "Line 2 is not CSV"),
        ("org_id,purpose\n" + "x" * 200_000 + ",signing\n", "Line 2 is not CSV"),
        ("org_id,purpose\n" + "acme,signing\n" * 10_001, "More than 10,000 rows"),
        ("org_id,purpose\n" + "acme,signing\n" * 400_000, "larger than 4 MiB"),
    ],
)
def test_what_is_not_a_manifest_is_refused_without_repeating_it(
    tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        key_manifest.read_manifest(path)
    assert why in str(caught.value)
    assert "Tr0ub4dor" not in str(caught.value)


@pytest.mark.parametrize("data", [b"\xff\xfeo\x00r\x00", b"org_id,purpose\nM\xfcller,signing\n"])
def test_a_manifest_in_another_encoding_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        key_manifest.read_manifest(path)


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_a_manifest_that_cannot_be_read_says_why(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read: (No such file|Is a directory)"):
        key_manifest.read_manifest(tmp_path / name)


def test_spreadsheets_ways_of_writing_are_read(tmp_path: Path) -> None:
    """A byte order mark, CRLF, quotes, capitals, blank lines and spaces around cells."""
    enrolment.organization()
    text = '\ufeffOrg_ID, Purpose ,SECRET_ENV,key_id\r\n\r\n,,,\r\n"acme", signing ,SECRET,k-1\r\n'
    path = tmp_path / "manifest.csv"
    path.write_text(text, newline="")
    manifest = key_manifest.read_manifest(path)
    variables = Variables(with_secrets("SECRET"))
    given: Any = {"variables": variables, "actor": "tests", "now": timezone.now()}
    (found,) = bulk_import.import_many(manifest, **given)
    assert (found.row, found.outcome) == (4, "imported")


def test_a_manifest_without_rows_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("org_id,purpose\n")
    assert key_manifest.read_manifest(path).rows == ()


def test_the_key_that_was_imported_can_be_rotated_to(tmp_path: Path) -> None:
    enrolment.shared_secret(enrolment.organization())
    (found,) = imported(tmp_path, secret_row())
    row = Credential.objects.get(key_id=found.key_id)
    rotation.rotate(row, actor="tests", now=timezone.now(), force=True, reason="tests")
    signing.forget()
    assert signing.keys_for("acme").signing.kid == found.key_id
