"""cybs_import_many: a line a row, JSON for machines, exit codes 0, 1 and 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cybs_jwt.models import Credential, KeyEvent
from django_cybs_jwt.testing import material
from tests.unit.management.running import run
from tests.unit.services import enrolment
from tests.unit.services.enrolment import HOST

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring", "fresh_chain"),
]


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two good rows for acme, a P12 and a shared secret; the secrets are in the environment."""
    enrolment.organization()
    file = material.p12("acme", private_key=material.rsa_key(name="many"), kid="1234")
    (tmp_path / "acme.p12").write_bytes(file.data)
    monkeypatch.setenv("ACME_PASSWORD", file.password)
    monkeypatch.setenv("ACME_SECRET", material.shared_secret().secret)
    return write(
        tmp_path,
        "acme,signing,acme.p12,ACME_PASSWORD,,,",
        "acme,signing,,,ACME_SECRET,k-2,second",
    )


def write(folder: Path, *rows: str) -> str:
    path = folder / "manifest.csv"
    header = "org_id,purpose,file,password_env,secret_env,key_id,slot"
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def test_it_imports_and_says_each_row(manifest: str) -> None:
    ended = run("cybs_import_many", manifest, "--user", "alice")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"line 2: acme@{HOST} signing 1234: imported, STAGED",
        f"line 3: acme@{HOST} signing k-2: imported, STAGED",
        "2 imported",
    ]
    assert set(Credential.objects.values_list("uploaded_by", flat=True)) == {"alice"}


def test_json_has_one_object_a_row(manifest: str) -> None:
    first, second = run("cybs_import_many", manifest, "--json").json
    assert first.pop("notices")
    assert first == {
        "row": 2,
        "organization": "acme",
        "host": HOST,
        "purpose": "signing",
        "outcome": "imported",
        "key_id": "1234",
        "state": "STAGED",
        "error": "",
    }
    assert (second["row"], second["key_id"]) == (3, "k-2")


def test_a_dry_run_stores_nothing_and_ends_as_the_run_would(manifest: str) -> None:
    before = KeyEvent.objects.count()
    ended = run("cybs_import_many", manifest, "--dry-run")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "2 importable")
    assert not Credential.objects.exists()
    assert KeyEvent.objects.count() == before


def test_again_is_no_fault(manifest: str) -> None:
    run("cybs_import_many", manifest)
    ended = run("cybs_import_many", manifest)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "2 present")


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_a_refused_row_ends_with_1_and_the_rest_goes_on(
    tmp_path: Path, manifest: str, dry_run: list[str]
) -> None:
    manifest = write(
        tmp_path, "nobody,signing,,,ACME_SECRET,k-1,", "acme,signing,,,ACME_SECRET,k-2,"
    )
    ended = run("cybs_import_many", manifest, *dry_run)
    lines = ended.out.splitlines()
    assert ended.code == 1
    assert lines[0].startswith("line 2: nobody signing k-1: refused. The organization is not")
    assert lines[-1].endswith("1 refused")
    assert Credential.objects.count() == (0 if dry_run else 1)


@pytest.mark.parametrize("text", [None, "org_id,purpose,password\n"])
def test_a_manifest_that_cannot_be_read_ends_with_2(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "manifest.csv"
    if text is not None:
        path.write_text(text)
    ended = run("cybs_import_many", str(path))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err


def test_a_manifest_without_rows_says_so(tmp_path: Path) -> None:
    ended = run("cybs_import_many", write(tmp_path))
    assert (ended.code, ended.out) == (0, "No rows.\n")
    assert run("cybs_import_many", write(tmp_path), "--json").json == []


def test_an_actor_too_long_for_the_audit_trail_stops_before_the_first_row(manifest: str) -> None:
    assert run("cybs_import_many", manifest, "--user", "x" * 151).code == 2
    assert not Credential.objects.exists()
