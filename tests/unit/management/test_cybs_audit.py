"""cybs_audit: verify says whole or not, export writes lines that can be verified elsewhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import QuerySet

from django_cybs_jwt.models import AuditHead, KeyEvent
from django_cybs_jwt.services import audit
from tests.unit.management.running import run
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring", "fresh_chain")]

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def four_rows(cybs_ring: dict[str, Any], fresh_chain: None) -> None:
    for day in range(4):
        entry = audit.Entry(action="note", actor="anna", organization=f"m{day % 2}@host")
        audit.record(entry, now=NOW + timedelta(days=day))


def change(**columns: Any) -> None:
    QuerySet(KeyEvent).filter(seq=2).update(**columns)


def cut_off() -> None:
    """The last row, and the head with it: as a restored backup has them."""
    QuerySet(KeyEvent).filter(seq=4).delete()
    AuditHead.objects.update(seq=3, digest=KeyEvent.objects.get(seq=3).digest)


# -- verify --


def test_a_whole_chain_is_0_and_gives_an_anchor_to_keep() -> None:
    ended = run("cybs_audit", "verify")
    assert ended.code == 0
    assert ended.out.startswith("4 rows read; it is whole.")
    found = run("cybs_audit", "verify", "--json").json
    digest = AuditHead.objects.get().digest
    assert found == {"rows": 4, "faults": [], "more": 0, "anchor": f"4:{digest}"}
    assert f"--anchor 4:{digest}" in ended.out


def test_a_changed_row_is_1_and_named_and_gives_no_anchor() -> None:
    change(actor="ben")
    ended, found = run("cybs_audit", "verify"), run("cybs_audit", "verify", "--json")
    assert (ended.code, found.code) == (1, 1)
    assert "Row 2 " in ended.out
    assert "it is not whole" in ended.out
    assert "--anchor" not in ended.out
    assert found.json["anchor"] is None
    assert len(found.json["faults"]) == 1


def test_the_anchor_finds_what_was_cut_off_together_with_the_head() -> None:
    kept = run("cybs_audit", "verify", "--json").json["anchor"]
    assert run("cybs_audit", "verify", "--anchor", kept).code == 0
    cut_off()
    assert run("cybs_audit", "verify").code == 0
    assert run("cybs_audit", "verify", "--anchor", kept).code == 1


def test_from_the_anchor_on_older_rows_are_not_read() -> None:
    kept = run("cybs_audit", "verify", "--json").json["anchor"]
    change(actor="ben")
    audit.record(audit.Entry(action="note", actor="anna", organization="m0@host"), now=NOW)
    assert run("cybs_audit", "verify", "--anchor", kept).code == 1
    ended = run("cybs_audit", "verify", "--anchor", kept, "--from-anchor", "--json")
    assert (ended.code, ended.json["rows"]) == (0, 1)


@pytest.mark.parametrize("arguments", [("--anchor", "4"), ("--from-anchor",)])
def test_an_anchor_that_is_none_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert run("cybs_audit", "verify", *arguments).code not in (0, None)


# -- export --


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_export_is_one_object_a_line() -> None:
    rows = lines(run("cybs_audit", "export", "--user", "auditor").out)
    assert [row["seq"] for row in rows] == [1, 2, 3, 4, 5]
    assert (rows[4]["action"], rows[4]["actor"]) == ("audit-export", "auditor")
    assert rows[0]["at"] == "2026-11-22T12:00:00.000000+00:00"


def test_an_export_keeps_to_its_limits() -> None:
    ended = run(
        "cybs_audit", "export", "--since", "2026-11-23", "--until", "2026-11-25T12:00Z",
        "--organization", "m0",
    )  # fmt: skip
    assert [row["seq"] for row in lines(ended.out)] == [3]


def test_an_export_of_nobody_is_2_and_not_audited(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    ended = run("cybs_audit", "export", "--organization", "nobody", "--output", str(path))
    assert (ended.code, path.exists()) == (2, False)
    assert not KeyEvent.objects.filter(action="audit-export").exists()
    enrolment.organization("quiet")
    QuerySet(KeyEvent).filter(organization__startswith="quiet").delete()
    ended = run("cybs_audit", "export", "--organization", "quiet")
    assert (ended.code, ended.out) == (0, "")


def test_an_export_into_a_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    ended = run("cybs_audit", "export", "--output", str(path))
    assert (ended.code, ended.out) == (0, "")
    assert len(lines(path.read_text())) == 5


def test_a_file_that_is_there_is_left_alone_and_nothing_was_exported(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("the only copy")
    ended = run("cybs_audit", "export", "--output", str(path))
    assert ended.code == 2
    assert "File exists" in ended.err
    assert path.read_text() == "the only copy"
    assert not KeyEvent.objects.filter(action="audit-export").exists()


@pytest.mark.parametrize("moment", ["yesterday", "2026-13-01", ""])
def test_a_moment_that_is_none_is_a_usage_error(moment: str) -> None:
    assert run("cybs_audit", "export", "--since", moment).code != 0
    assert not KeyEvent.objects.filter(action="audit-export").exists()
