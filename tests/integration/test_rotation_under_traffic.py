"""Keys change while four processes send without pause: nothing fails, and everybody sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import Platform, Senders

pytestmark = [pytest.mark.services, pytest.mark.alone]

PROCESSES = 4
SEEN_WITHIN = 5.0


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


def key_in(platform: Platform, purpose: str, state: str) -> dict[str, Any]:
    """The one key of acme for that purpose in that state."""
    rows = platform.json("cybs_keys", "list", "acme")
    [found] = [row for row in rows if (row["purpose"], row["state"]) == (purpose, state)]
    return dict(found)


def rotate(platform: Platform, senders: Senders, purpose: str, *how: str) -> None:
    """Rotate, and wait until every process has sent with the key that is then active."""
    platform.command("cybs_rotate", "acme", "--purpose", purpose, *how)
    senders.until_each_tells(key_in(platform, purpose, "ACTIVE")["key_id"])


@pytest.mark.parametrize(
    "database_url", ["postgresql", pytest.param("sqlite", marks=pytest.mark.long)], indirect=True
)
def test_rotation__fails_no_request_while_four_processes_send(platform: Platform) -> None:
    with platform.senders(PROCESSES, "acme") as senders:
        for purpose in ("signing", "response-mle"):
            platform.import_p12("acme", purpose)
            platform.command("cybs_verify", "acme", "--purpose", purpose)
            rotate(platform, senders, purpose)
            rotate(platform, senders, purpose, "--rollback")
            back = key_in(platform, purpose, "RETIRING")["id"]
            rotate(platform, senders, purpose, "--to", back)
        reports = senders.stop()

    print([report["sent"] for report in reports])
    assert [report["failures"] for report in reports] == [{}] * PROCESSES
    assert all(len(report["signed_by"]) == 2 for report in reports)
    assert all(len(report["opened_by"]) == 2 for report in reports)


@pytest.mark.parametrize(
    ("database_url", "verb"),
    [("sqlite", "suspend"), ("postgresql", "compromise")],
    indirect=["database_url"],
)
def test_withdrawn_key__stops_signing_in_every_process(platform: Platform, verb: str) -> None:
    key = key_in(platform, "signing", "ACTIVE")["id"]

    with platform.senders(PROCESSES, "acme") as senders:
        platform.command("cybs_keys", verb, key, "--reason", "test")
        withdrawn = time.time()
        senders.until_each_tells("KeyNotUsable")
        time.sleep(1)  # and none sends again
        reports = senders.stop()

    delays = [report["last_success"] - withdrawn for report in reports]
    print(delays)
    assert max(delays) <= SEEN_WITHIN
    assert all(set(report["failures"]) == {"KeyNotUsable"} for report in reports)
