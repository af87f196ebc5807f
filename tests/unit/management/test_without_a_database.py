"""Before `migrate`, or with the database away, a command says so in a sentence and ends with 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import IntegrityError, OperationalError, connection

from django_cybs_jwt.management.commands import cybs_keyring
from django_cybs_jwt.services import database_faults, organizations
from tests.acceptance.shell import ROOT, Project
from tests.unit.management.running import run

COMMANDS = [
    "cybs_alerts run",
    "cybs_alerts list",
    "cybs_approvals list",
    "cybs_audit verify",
    "cybs_audit export",
    "cybs_doctor",
    "cybs_expiry",
    f"cybs_export {uuid4()} y --reason r",
    "cybs_gateway_cert list",
    "cybs_import acme --shared-secret --key-id k",
    "cybs_keys list",
    "cybs_meta acme list",
    "cybs_org list",
    "cybs_probe acme",
    "cybs_queue",
    "cybs_readiness",
    "cybs_rewrap",
    "cybs_rotate acme --purpose signing",
    "cybs_send acme GET /x",
    "cybs_send acme GET /x --queued --idempotency-key k",
    "cybs_staff list",
    "cybs_verify acme",
    "cybs_worker --drain",
]
EACH = """
import json, sys
import django
django.setup()
from tests.unit.management.running import run
print(json.dumps([[each, *vars(run(*each.split())).values()] for each in sys.argv[1:]]))
"""


def all_of_them(project: Project) -> dict[str, tuple[int, str, str]]:
    """Exit code, output and message of every command, all in one process of that project."""
    ended = subprocess.run(
        [sys.executable, "-c", EACH, *COMMANDS],
        capture_output=True,
        cwd=ROOT,
        env=project.environment(),
        timeout=120,
        check=True,
    )
    assert b"Traceback" not in ended.stderr, ended.stderr.decode()
    return {name: (code, out, err) for name, code, out, err in json.loads(ended.stdout)}


def test_the_first_ring_says_in_one_calm_sentence_that_no_trail_has_it(tmp_path: Path) -> None:
    ended = Project(tmp_path).run("cybs_keyring", "generate")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode().splitlines()[1:] == [cybs_keyring.BEFORE]


def test_a_first_ring_with_the_database_away_says_so(tmp_path: Path) -> None:
    project = Project(tmp_path)
    away = Project(tmp_path / "nowhere", project.settings)
    ended = away.run("cybs_keyring", "generate")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode().splitlines()[1:] == [cybs_keyring.AWAY]
    changed = away.run("cybs_keyring", "add", "second")
    assert changed.stdout.decode().splitlines()[1:] == [cybs_keyring.AWAY]
    assert b"Not in the audit chain" in changed.stderr


def test_before_migrate_every_command_names_migrate(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.run("cybs_keyring", "generate").returncode == 0
    for name, (code, _, err) in all_of_them(project).items():
        assert (code, "manage.py migrate" in err) == (2, True), (name, code, err)


def test_with_the_database_away_every_command_says_so(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.run("cybs_keyring", "generate").returncode == 0
    away = Project(tmp_path / "nowhere", project.settings)
    for name, (code, _, err) in all_of_them(away).items():
        assert (code, "cannot be reached" in err) == (2, True), (name, code, err)


@pytest.mark.django_db
def test_what_a_healthy_database_refuses_is_named_without_the_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OperationalError("database or disk is full\nDETAIL: hunter2")

    monkeypatch.setattr(organizations, "listing", full)
    ended = run("cybs_org", "list")
    assert (ended.code, ended.err) == (
        2,
        "The database refused this, OperationalError: database or disk is full",
    )
    quoting = database_faults.sentence(IntegrityError("Duplicate entry 'hunter2'"))
    assert quoting == "The database refused this, IntegrityError."


@pytest.mark.django_db
def test_inside_a_broken_transaction_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.set_rollback(True)
    try:
        told = database_faults.sentence(OperationalError("disk I/O error"))
    finally:
        connection.set_rollback(False)
    assert told == "The database refused this, OperationalError: disk I/O error"
