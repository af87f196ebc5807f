"""cybs_export: the new password from outside the argument list, and exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from django_cybs_jwt.models import Credential, KeyEvent
from tests.unit.management.running import Ended, run, type_in
from tests.unit.services import enrolment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cybs_ring")]

NEW = "battery-staple-9"


@pytest.fixture
def key(cybs_ring: Any, monkeypatch: pytest.MonkeyPatch) -> Credential:
    monkeypatch.setenv("NEW", NEW)
    return enrolment.rsa_key(enrolment.organization(), purpose="signing")


def export(key: Credential, path: Path, *more: str) -> Ended:
    line = ["cybs_export", str(key.pk), str(path), "--reason", "moving", "--user", "alice"]
    return run(*line, *(more or ("--new-password-env", "NEW")))


def test_export__writes_the_file_and_names_the_actor(key: Credential, tmp_path: Path) -> None:
    path = tmp_path / "acme.p12"

    ended = export(key, path)

    assert ended.code == 0
    assert ended.out.startswith(f"Wrote {path}: key {key.key_id} of acme@{enrolment.HOST}")
    assert pkcs12.load_pkcs12(path.read_bytes(), NEW.encode()).key is not None
    event = KeyEvent.objects.filter(action="export").latest("seq")
    assert (event.actor, event.reason) == ("alice", f"{path}: moving")


def test_export__prints_json(key: Credential, tmp_path: Path) -> None:
    ended = export(key, tmp_path / "a.p12", "--new-password-env", "NEW", "--json")

    assert ended.json == {
        "file": str(tmp_path / "a.p12"),
        "organization": "acme",
        "key_id": key.key_id,
        "fingerprint": key.fingerprint,
    }


def test_password__may_come_on_standard_input(
    key: Credential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "acme.p12"
    type_in(monkeypatch, f"{NEW}\n")

    assert export(key, path, "--verbosity", "1").code == 0
    assert pkcs12.load_pkcs12(path.read_bytes(), NEW.encode()).key is not None


class Terminal:
    """A keyboard at which these lines are typed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
        self.lines = list(lines)
        monkeypatch.setattr("sys.stdin", self)
        monkeypatch.setattr("getpass.getpass", lambda _prompt: self.lines.pop(0))

    def isatty(self) -> bool:
        return True


def test_typed_password__is_asked_for_twice(
    key: Credential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "acme.p12"
    Terminal(monkeypatch, NEW, "battery-stable-9", NEW, NEW)

    differing = export(key, path, "--verbosity", "1")
    equal = export(key, path, "--verbosity", "1")

    assert (differing.code, equal.code) == (2, 0)
    assert NEW not in differing.err


def test_file_that_exists__ends_with_1_and_stays(key: Credential, tmp_path: Path) -> None:
    path = tmp_path / "acme.p12"
    path.write_text("mine")

    ended = export(key, path)

    assert (ended.code, path.read_text()) == (1, "mine")


def test_folder_that_is_missing__ends_with_2(key: Credential, tmp_path: Path) -> None:
    ended = export(key, tmp_path / "missing" / "acme.p12")

    assert ended.code == 2
    assert "No such file or directory" in ended.err


@pytest.mark.parametrize(("password", "code"), [("short", 1), ("", 1), (None, 2)])
def test_password_that_is_weak_or_missing__writes_nothing(
    key: Credential,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    password: str | None,
    code: int,
) -> None:
    monkeypatch.delenv("NEW")
    if password is not None:
        monkeypatch.setenv("NEW", password)

    ended = export(key, tmp_path / "acme.p12")

    assert ended.code == code
    assert list(tmp_path.iterdir()) == []


def test_key_that_is_not_there__ends_with_2(key: Credential, tmp_path: Path) -> None:
    line = ["cybs_export", "nothing", str(tmp_path / "a.p12"), "--reason", "moving"]

    assert run(*line, "--new-password-env", "NEW").code == 2


def test_password__is_no_argument(key: Credential, tmp_path: Path) -> None:
    assert export(key, tmp_path / "a.p12", "--new-password", NEW).code != 0
    assert list(tmp_path.iterdir()) == []
