"""From an empty directory to a payment, by commands alone, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from django_cybs_jwt.testing import material
from tests.acceptance.shell import ROOT, Project
from tests.integration.processes import announced, next_line

HOST = "apitest.cybersource.com"
CARD = "4111111111111111"
PAYMENT = json.dumps(
    {
        "clientReferenceInformation": {"code": "order-1"},
        "orderInformation": {"amountDetails": {"totalAmount": "10.00", "currency": "EUR"}},
        "paymentInformation": {
            "card": {"number": CARD, "expirationMonth": "12", "expirationYear": "2031"}
        },
    }
).encode()
SEND = ("cybs_send", "acme", "POST", "/pts/v2/payments", "--data", "-")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A key ring and a migrated database; copied for each test."""
    project = Project(tmp_path_factory.mktemp("project"))
    for arguments in (("cybs_keyring", "generate"), ("migrate", "--verbosity", "0")):
        ended = project.run(*arguments)
        assert ended.returncode == 0, ended.stderr.decode()
    return project


@pytest.fixture
def project(migrated: Project, tmp_path: Path) -> Project:
    return migrated.copied_to(tmp_path)


@pytest.fixture(scope="session")
def enrolled(migrated: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With a merchant that has a signing key and a response key; copied for each test."""
    project = migrated.copied_to(tmp_path_factory.mktemp("enrolled"))
    add(project, "acme")
    for purpose in ("signing", "response-mle"):
        import_p12(project, "acme", purpose)
    return project


@pytest.fixture
def acme(enrolled: Project, tmp_path: Path) -> Project:
    return enrolled.copied_to(tmp_path)


def add(project: Project, org_id: str) -> None:
    project.json("cybs_org", "add", org_id, "--kind", "merchant", "--host", HOST)


def p12(project: Project, org_id: str, purpose: str) -> str:
    key = material.rsa_key(name=f"shell {org_id} {purpose}")
    path = project.directory / f"{org_id}-{purpose}.p12"
    path.write_bytes(material.p12(org_id, private_key=key).data)
    return str(path)


def import_p12(project: Project, org_id: str, purpose: str) -> Any:
    return project.json(
        *("cybs_import", org_id, p12(project, org_id, purpose), "--purpose", purpose),
        *("--password-env", "P12_PASSWORD", "--activate"),
        env={"P12_PASSWORD": material.PASSWORD},
    )


@contextmanager
def simulator(project: Project, *options: str) -> Iterator[str]:
    """`cybs_simulator` on a free port, and the project pointed at it."""
    command = [sys.executable, "-m", "django", "cybs_simulator", "--port", "0", *options]
    with subprocess.Popen(
        command, cwd=ROOT, env=project.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        url = announced(process)
        project.settings["BASE_URLS"] = {HOST: url}
        certificate = project.directory / "mle.pem"
        certificate.write_text(httpx.get(f"{url}/__simulator/certificate").text)
        add_certificate = ("cybs_gateway_cert", "add", str(certificate), "--host", HOST, "--prefer")
        assert project.run(*add_certificate).returncode == 0
        try:
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)


def ledger(url: str) -> list[dict[str, Any]]:
    found = httpx.get(f"{url}/__simulator/ledger").json()
    return list(found)


def test_the_ring_is_written_once_for_its_owner_only(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.run("cybs_keyring", "generate").returncode == 0
    assert project.keyring.stat().st_mode & 0o777 == 0o600
    before = project.keyring.read_bytes()
    again = project.run("cybs_keyring", "generate")
    assert again.returncode == 1
    assert b"left alone" in again.stderr
    assert project.keyring.read_bytes() == before


def test_the_ring_comes_before_the_database_and_that_is_no_fault(
    project: Project, tmp_path: Path
) -> None:
    calm = b"There is no database yet: the audit trail begins with what follows `migrate`."
    new = Project(tmp_path / "new")
    new.directory.mkdir()
    ended = new.run("cybs_keyring", "generate")
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.splitlines()[-1] == calm
    assert calm not in project.run("cybs_keyring", "add", "second").stdout


@pytest.mark.skipif(os.name != "posix", reason="umask")
def test_the_ring_is_private_whatever_the_umask(tmp_path: Path) -> None:
    project = Project(tmp_path)
    before = os.umask(0)
    try:
        assert project.run("cybs_keyring", "generate").returncode == 0
    finally:
        os.umask(before)
    assert project.keyring.stat().st_mode & 0o777 == 0o600


def test_from_nothing_to_an_encrypted_payment(acme: Project) -> None:
    with simulator(acme) as url:
        ended = acme.run(*SEND, "--json", stdin=PAYMENT)
        assert ended.returncode == 0, ended.stderr.decode()
        facts = json.loads(ended.stdout)
        (entry,) = ledger(url)
    assert facts["status_code"] == 201
    assert (facts["request_encrypted"], facts["encrypted"]) == (True, True)
    assert facts["body"]["status"] == "AUTHORIZED"
    assert {"org_id", "operation", "code", "transactionId", "amount"} <= set(entry)
    assert (entry["org_id"], entry["code"], entry["amount"]) == ("acme", "order-1", "10.00")
    keys = {key["key_id"]: key["purpose"] for key in acme.json("cybs_keys", "list", "acme")}
    assert keys[facts["key_id"]] == "signing"


def test_exit_codes_of_send_tell_four_outcomes_apart(acme: Project) -> None:
    with simulator(acme) as url:
        assert acme.run(*SEND, stdin=PAYMENT).returncode == 0

        missing = acme.run("cybs_send", "acme", "GET", "/tss/v2/transactions/1")
        assert missing.returncode == 1

        assert acme.run("cybs_send", "nobody", "GET", "/x").returncode == 2
        assert acme.run("cybs_send", "acme", "GET", "//evil").returncode == 2
        assert acme.run("cybs_send", "acme").returncode == 2

        httpx.post(f"{url}/__simulator/faults", json={"kind": "reset_after"})
        unknown = acme.run(*SEND, stdin=PAYMENT)
        assert unknown.returncode == 3
        assert b"Look the transaction up" in unknown.stderr
        assert len(ledger(url)) == 2
    # The simulator is gone: nothing was sent.
    assert acme.run(*SEND, stdin=PAYMENT).returncode == 2


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_what_the_terminal_cannot_show_does_not_hide_that_it_was_sent(
    acme: Project, form: tuple[str, ...]
) -> None:
    with simulator(acme) as url:
        payment = PAYMENT.replace(b"order-1", "Größe 💶".encode())
        ended = acme.run(*SEND, *form, stdin=payment, env={"PYTHONIOENCODING": "ascii"})
        assert len(ledger(url)) == 1
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"AUTHORIZED" in ended.stdout
    if form:
        information = json.loads(ended.stdout)["body"]["clientReferenceInformation"]
        assert information["code"] == "Größe 💶"


def test_a_send_that_is_interrupted_may_have_been_sent(acme: Project) -> None:
    with simulator(acme) as url:
        httpx.post(f"{url}/__simulator/faults", json={"kind": "latency", "seconds": 30})
        command = [sys.executable, "-m", "django", *SEND]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=acme.environment(),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=False,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(PAYMENT)
            process.stdin.close()
            deadline = time.monotonic() + 20
            while not ledger(url) and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 3
            assert process.stderr is not None
            assert b"Interrupted: it may have been sent" in process.stderr.read()


def test_explain_on_a_401_names_the_suspect_on_stderr_and_shows_no_secret(acme: Project) -> None:
    with simulator(acme) as url:
        fault = {"kind": "clock_skew", "seconds": 3600}
        httpx.post(f"{url}/__simulator/faults", json=fault)
        ended = acme.run(*SEND, "--explain", "--json", stdin=PAYMENT)
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["status_code"] == 401
    text = ended.stderr.decode()
    assert "BAD  clock" in text
    assert "eyJ" not in text
    assert CARD not in text


def test_a_dry_run_needs_no_gateway_and_shows_no_signature_and_no_body(acme: Project) -> None:
    ended = acme.run(*SEND, "--dry-run", "--json", stdin=PAYMENT)
    assert ended.returncode == 0
    facts = json.loads(ended.stdout)
    assert facts["headers"]["authorization"] == "Bearer <redacted>"
    assert facts["claims"]["v-c-merchant-id"] == "acme"
    assert b"eyJ" not in ended.stdout
    assert CARD.encode() not in ended.stdout


def test_a_tls_simulator_is_trusted_by_the_bundle_it_names(acme: Project) -> None:
    command = [sys.executable, "-m", "django", "cybs_simulator", "--port", "0", "--tls"]
    with subprocess.Popen(
        command, cwd=ROOT, env=acme.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        url = announced(process)
        assert url.startswith("https://127.0.0.1:")
        acme.settings |= {"BASE_URLS": {HOST: url}, "CA_BUNDLE": next_line(process).split()[-1]}
        bundle = acme.settings["CA_BUNDLE"]
        assert next_line(process).strip().endswith(f": export CYBS_CA_BUNDLE={bundle}")
        ended = acme.run("cybs_send", "acme", "GET", "/tss/v2/transactions/1", "--json")
        process.send_signal(signal.SIGINT)
    assert ended.returncode == 1, ended.stderr.decode()
    assert json.loads(ended.stdout)["status_code"] == 404


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM ends a process at once elsewhere.")
def test_a_tls_simulator_that_is_terminated_leaves_no_key_behind(
    project: Project, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "django", "cybs_simulator", "--port", "0", "--tls"]
    environment = project.environment({"TMPDIR": str(temporary)})
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [path.name for path in temporary.glob("*/server.key")] == ["server.key"]
        process.terminate()
        assert process.wait(timeout=20) == 0
    assert list(temporary.iterdir()) == []


def test_a_password_comes_from_a_variable_or_standard_input_never_as_an_argument(
    project: Project,
) -> None:
    add(project, "acme")
    path = p12(project, "acme", "signing")
    as_argument = project.run("cybs_import", "acme", path, "--password", material.PASSWORD)
    assert as_argument.returncode == 2
    assert material.PASSWORD.encode() not in as_argument.stderr
    wrong = project.run("cybs_import", "acme", path, stdin=b"wrong\n")
    assert wrong.returncode == 1
    assert b"Traceback" not in wrong.stderr
    typed = project.run("cybs_import", "acme", path, stdin=material.PASSWORD.encode() + b"\n")
    assert typed.returncode == 0
    assert material.PASSWORD.encode() not in typed.stdout + typed.stderr


def test_a_shared_secret_comes_from_a_variable_or_standard_input(project: Project) -> None:
    add(project, "acme")
    first, second = material.shared_secret(), material.shared_secret()
    shared = ("cybs_import", "acme", "--shared-secret", "--key-id")
    facts = project.json(
        *(*shared, first.key_id, "--secret-env", "SECRET", "--expires", "2099-12-31"),
        env={"SECRET": first.secret},
    )
    assert (facts["kind"], facts["state"]) == ("shared_secret", "STAGED")
    assert facts["ends"] == "2099-12-31T00:00:00+00:00"
    typed = project.run(*shared, second.key_id, stdin=f"{second.secret}\n".encode())
    assert typed.returncode == 0
    assert second.secret.encode() not in typed.stdout + typed.stderr
    assert len(project.json("cybs_keys", "list")) == 2


def test_a_wrong_file_ends_with_1_in_one_line(project: Project) -> None:
    add(project, "acme")
    path = p12(project, "other", "signing")
    ended = project.run(
        *("cybs_import", "acme", path, "--password-env", "P12_PASSWORD"),
        env={"P12_PASSWORD": material.PASSWORD},
    )
    assert ended.returncode == 1
    last = ended.stderr.decode().strip().splitlines()[-1]
    assert last.startswith("CommandError: The file belongs to organization 'other'")
    assert project.json("cybs_keys", "list") == []


def test_without_a_ring_an_import_says_how_to_get_one(project: Project) -> None:
    add(project, "acme")
    project.keyring.unlink()
    file = material.shared_secret()
    ended = project.run(
        *("cybs_import", "acme", "--shared-secret", "--key-id", file.key_id),
        *("--secret-env", "SECRET"),
        env={"SECRET": file.secret},
    )
    assert ended.returncode == 2
    assert b"cybs_keyring generate" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_the_database_file_holds_no_secret_in_clear(acme: Project) -> None:
    key = material.rsa_key(name="shell acme signing")
    from tests.unit.services.enrolment import pkcs8

    acme.run("cybs_keys", "list")
    with closing(sqlite3.connect(acme.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = b"".join(path.read_bytes() for path in acme.directory.glob("db.sqlite3*"))
    assert b"CJE1" in content
    assert material.PASSWORD.encode() not in content
    assert pkcs8(key)[40:72] not in content
    assert (acme.directory / "acme-signing.p12").read_bytes()[-64:-32] not in content


SEEN_WITHIN = 5.0  # seconds, on a loaded machine too


@pytest.mark.alone
def test_a_command_is_obeyed_by_a_running_process_after_at_most_one_look(acme: Project) -> None:
    row = next(key for key in acme.json("cybs_keys", "list") if key["purpose"] == "signing")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.watcher"],
        cwd=ROOT,
        env=acme.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as watcher:
        try:
            assert json.loads(next_line(watcher))[1] == row["key_id"]
            before = time.time()
            retire = ("cybs_keys", "retire", row["id"], "--reason", "left")
            assert acme.run(*retire).returncode == 0
            ended = time.time()
            moment, what = json.loads(next_line(watcher))
        finally:
            watcher.kill()
    assert what == "NoKey"
    assert before < moment < ended + SEEN_WITHIN
