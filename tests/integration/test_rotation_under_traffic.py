"""Keys change while four processes send without pause: nothing fails, and everybody sees it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.processes import Platform
from tests.services import requires_postgresql

pytestmark = [pytest.mark.services, pytest.mark.alone]

PROCESSES = 4
SEEN_WITHIN = 5.0


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'db.sqlite3'}"
        return
    import psycopg

    server = requires_postgresql()
    name = f"cybs_traffic_{os.getpid()}"
    admin = urlsplit(server)._replace(path="/postgres").geturl()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def platform(tmp_path: Path, database_url: str) -> Iterator[Platform]:
    platform = Platform(tmp_path, database_url)
    platform.command("cybs_keyring", "generate")
    platform.command("migrate", "--verbosity", "0")
    with platform.simulator():
        platform.command("cybs_org", "add", "acme", "--kind", "merchant", "--host", HOST)
        platform.import_p12("acme", "signing", "--activate")
        platform.import_p12("acme", "response-mle", "--activate")
        yield platform


HOST = "apitest.cybersource.com"


@pytest.mark.parametrize("database_url", ["postgresql", "sqlite"], indirect=True)
def test_rotation__fails_no_request_while_four_processes_send(platform: Platform) -> None:
    with platform.senders(PROCESSES, "acme") as senders:
        for purpose in ("signing", "response-mle"):
            platform.import_p12("acme", purpose)
            platform.command("cybs_verify", "acme", "--purpose", purpose)
            platform.command("cybs_rotate", "acme", "--purpose", purpose)
            time.sleep(2.5)
            platform.command("cybs_rotate", "acme", "--purpose", purpose, "--rollback")
            time.sleep(2.5)
            newest = platform.json("cybs_keys", "list", "acme")
            [back] = [
                row["id"]
                for row in newest
                if row["purpose"] == purpose and row["state"] == "RETIRING"
            ]
            platform.command("cybs_rotate", "acme", "--purpose", purpose, "--to", back)
            time.sleep(2.5)
        reports = senders.stop()

    print([report["sent"] for report in reports])
    assert [report["failures"] for report in reports] == [{}] * PROCESSES
    assert all(report["sent"] > 50 for report in reports)
    assert all(len(report["signed_by"]) == 2 for report in reports)
    assert all(len(report["opened_by"]) == 2 for report in reports)


@pytest.mark.parametrize(
    ("database_url", "verb"),
    [("sqlite", "suspend"), ("postgresql", "compromise")],
    indirect=["database_url"],
)
def test_withdrawn_key__stops_signing_in_every_process(platform: Platform, verb: str) -> None:
    rows = platform.json("cybs_keys", "list", "acme")
    [key] = [row["id"] for row in rows if row["purpose"] == "signing"]

    with platform.senders(PROCESSES, "acme") as senders:
        time.sleep(1)
        platform.command("cybs_keys", verb, key, "--reason", "test")
        withdrawn = time.time()
        time.sleep(SEEN_WITHIN + 1)
        reports = senders.stop()

    delays = [report["last_success"] - withdrawn for report in reports]
    print(delays)
    assert max(delays) <= SEEN_WITHIN
    assert all(set(report["failures"]) == {"KeyNotUsable"} for report in reports)
    assert all(report["sent"] > 5 for report in reports)
