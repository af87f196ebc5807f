"""cybs_keyring and cybs_gateway_cert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from django_cybs_jwt import conf
from django_cybs_jwt.models import GatewayCertificate, KeyEvent
from django_cybs_jwt.testing import material
from tests.unit.management.running import run
from tests.unit.services.enrolment import HOST, OTHER_HOST

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def file(settings: Any, tmp_path: Path) -> Path:
    path = tmp_path / "keyring.json"
    settings.CYBS_JWT = {"KEYRING_FILE": str(path)}
    return path


def test_it_writes_a_ring_that_only_its_owner_reads(file: Path) -> None:
    ended = run("cybs_keyring", "generate")
    assert ended.code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert conf.keyring().primary_id
    assert "apart from the database" in ended.out


def test_it_prints_no_key(file: Path) -> None:
    ended = run("cybs_keyring", "generate", "--json")
    ring = json.loads(file.read_text())
    assert set(ended.json) >= {"file", "primary", "fingerprint"}
    keys = [ring["index_key"], ring["audit_key"], *(kek["key"] for kek in ring["keys"].values())]
    assert not any(key in ended.out + ended.err for key in keys)


def test_it_leaves_an_existing_file_alone_and_ends_with_1(file: Path) -> None:
    file.write_text("precious")
    ended = run("cybs_keyring", "generate")
    assert ended.code == 1
    assert "is left alone" in ended.err
    assert file.read_text() == "precious"


def test_it_follows_no_symbolic_link(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    file.symlink_to(target)
    assert run("cybs_keyring", "generate").code == 1
    assert not target.exists()


def test_two_rings_are_never_alike(settings: Any, file: Path, tmp_path: Path) -> None:
    run("cybs_keyring", "generate")
    settings.CYBS_JWT = {"KEYRING_FILE": str(tmp_path / "second.json")}
    run("cybs_keyring", "generate")
    first, second = (json.loads(p.read_text()) for p in (file, tmp_path / "second.json"))
    assert first["index_key"] != second["index_key"]
    assert first["audit_key"] != second["audit_key"]


def test_without_a_path_it_ends_with_2(settings: Any) -> None:
    settings.CYBS_JWT = {}
    ended = run("cybs_keyring", "generate")
    assert ended.code == 2
    assert "KEYRING_FILE" in ended.err


def test_a_directory_that_is_not_there_ends_with_2(settings: Any, tmp_path: Path) -> None:
    settings.CYBS_JWT = {"KEYRING_FILE": str(tmp_path / "none" / "keyring.json")}
    ended = run("cybs_keyring", "generate")
    assert ended.code == 2
    assert ended.err.endswith(f"No such file or directory. Make the folder {tmp_path}/none first.")


def test_a_folder_is_not_taken_for_a_ring_that_is_there(settings: Any, tmp_path: Path) -> None:
    settings.CYBS_JWT = {"KEYRING_FILE": str(tmp_path)}
    ended = run("cybs_keyring", "generate")
    assert (ended.code, "is a folder" in ended.err) == (2, True)


def test_the_first_key_can_be_named(file: Path) -> None:
    assert run("cybs_keyring", "generate", "--id", "prod-1").code == 0
    assert conf.keyring().primary_id == "prod-1"


@pytest.mark.parametrize("name", ["a b", "../x", "ü", "x" * 65])
def test_a_name_that_is_none_ends_with_2_and_writes_nothing(file: Path, name: str) -> None:
    assert run("cybs_keyring", "generate", "--id", name).code == 2
    assert not file.exists()


# cybs_gateway_cert


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "mle.pem"
    path.write_text(material.gateway_certificate(kid="1" * 22).pem)
    return path


@pytest.mark.usefixtures("cybs_ring")
def test_a_certificate_is_added_for_a_host_and_listed(certificate: Path) -> None:
    assert run("cybs_gateway_cert", "list").out == (
        "No certificates yet; P12 files bring their own.\n"
    )
    ended = run("cybs_gateway_cert", "add", str(certificate), "--host", HOST, "--prefer", "--json")
    (facts,) = ended.json
    assert (facts["host"], facts["organization"], facts["key_id"], facts["preferred"]) == (
        HOST,
        None,
        "1" * 22,
        True,
    )
    assert run("cybs_gateway_cert", "list", "--json").json == [facts]
    assert "1" * 22 in run("cybs_gateway_cert", "list").out


@pytest.mark.usefixtures("cybs_ring", "fresh_chain")
def test_a_certificate_that_is_there_is_not_stored_again(certificate: Path) -> None:
    add = ("cybs_gateway_cert", "add", str(certificate), "--host", HOST)
    assert "It was there already." not in run(*add).out
    assert run(*add).out.splitlines()[-1] == "It was there already."
    assert KeyEvent.objects.filter(action="gateway-cert").count() == 1

    assert run(*add, "--prefer", "--json").json[0]["preferred"] is True
    assert run(*add, "--json").json[0]["preferred"] is True, "nothing is taken back unasked"
    assert KeyEvent.objects.filter(action="gateway-cert").count() == 2
    assert run("cybs_gateway_cert", "add", str(certificate), "--host", OTHER_HOST).code == 0
    assert GatewayCertificate.objects.count() == 2


@pytest.mark.usefixtures("cybs_ring")
def test_a_certificate_is_removed_once(certificate: Path) -> None:
    run("cybs_gateway_cert", "add", str(certificate), "--host", HOST)
    remove = ("cybs_gateway_cert", "remove", "1" * 22, "--host", HOST)
    assert run(*remove).out.splitlines()[-1] == "Removed."
    assert not GatewayCertificate.objects.exists()
    again = run(*remove)
    assert (again.code, "`cybs_gateway_cert list` shows" in again.err) == (2, True)


@pytest.mark.usefixtures("cybs_ring")
@pytest.mark.parametrize(
    ("content", "host", "code"),
    [(b"text", HOST, 1), (None, HOST, 2), (b"", "no host", 1), (b"", HOST, 1)],
    ids=["no certificate", "no file", "both wrong", "empty"],
)
def test_what_cannot_be_added_ends_with_its_code(
    tmp_path: Path, content: bytes | None, host: str, code: int
) -> None:
    path = tmp_path / "x.pem"
    if content is not None:
        path.write_bytes(content)
    assert run("cybs_gateway_cert", "add", str(path), "--host", host).code == code
    assert not GatewayCertificate.objects.exists()


@pytest.mark.usefixtures("cybs_ring")
def test_of_several_certificates_it_says_that_there_are_several(certificate: Path) -> None:
    certificate.write_text(certificate.read_text() * 3)
    ended = run("cybs_gateway_cert", "add", str(certificate), "--host", HOST)
    assert ended.code == 1
    assert "several certificates (3)" in ended.err


@pytest.mark.usefixtures("cybs_ring")
def test_a_host_that_is_none_ends_with_2(certificate: Path) -> None:
    assert run("cybs_gateway_cert", "add", str(certificate), "--host", "http://x/").code == 2
