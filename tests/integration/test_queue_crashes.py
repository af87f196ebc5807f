"""A worker that is killed at any point loses nothing and charges nobody twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import HOST, Platform, get
from tests.services import scratch_postgresql

pytestmark = pytest.mark.services

STEPS = str(Path(__file__).with_name("queue_steps.py"))

# Killed at this point: the row's state then, its state in the end, and how often was charged.
# What left whole may have been processed or not: then the end must say which.
POINTS: dict[str, tuple[str, set[tuple[str, int]]]] = {
    "prepared": ("QUEUED", {("ANSWERED", 1)}),  # c4
    "claiming": ("QUEUED", {("ANSWERED", 1)}),  # c6, not committed
    "claimed": ("SENDING", {("ABSENT", 0)}),  # c5, and c6 committed
    "headers_written": ("SENDING", {("ABSENT", 0)}),  # c7
    "body_written": ("SENDING", {("ABSENT", 0), ("ANSWERED", 1)}),  # c8
    "answered": ("SENDING", {("ANSWERED", 1)}),  # c9
    "recording": ("SENDING", {("ANSWERED", 1)}),  # c10
    "recorded": ("ANSWERED", {("ANSWERED", 1)}),  # c11
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("queue")
    if request.param == "sqlite":
        yield from enrolled(Platform(folder, f"sqlite:///{folder / 'db.sqlite3'}"))
        return
    with scratch_postgresql("cybs_queue") as url:
        yield from enrolled(Platform(folder, url))


def enrolled(platform: Platform) -> Iterator[Platform]:
    platform.command("cybs_keyring", "generate")
    platform.command("migrate", "--verbosity", "0")
    with platform.simulator():
        platform.command("cybs_org", "add", "acme", "--kind", "merchant", "--host", HOST)
        platform.import_p12("acme", "signing", "--activate")
        yield platform


def steps(platform: Platform, *what: str, dies_at: str = "") -> str:
    """Run them in one process; killed at a failpoint, or ended well."""
    ended = subprocess.run(
        [sys.executable, STEPS, ",".join(what)],
        env={**platform.env, "CYBS_FAILPOINT": dies_at},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == (-signal.SIGKILL if dies_at else 0), ended.stderr
    if dies_at:
        assert ended.stderr.splitlines()[-1] == f"killed at {dies_at}"
    return ended.stdout


def shown(platform: Platform, *what: str) -> list[dict[str, Any]]:
    """What each `show` among the steps says."""
    return [json.loads(line) for line in steps(platform, *what).splitlines()]


def charged(platform: Platform, transaction_id: str) -> int:
    ledger = json.loads(get(platform.port, "/__simulator/ledger"))
    mine = [entry for entry in ledger if entry["transactionId"] == transaction_id]
    return sum(entry["operation"] == "authorization" and not entry["undone"] for entry in mine)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(platform: Platform, point: str) -> None:
    then, ends = POINTS[point]
    steps(platform, f"enqueue {point}", f"work {point}", dies_at=point)
    show = f"show {point}"
    left, row = shown(platform, show, f"wait {point} 200", f"recover {point}", show)
    assert left["state"] == then
    assert (row["state"], charged(platform, row["transaction_id"])) in ends
    assert row["attempt"] == 1
    assert row["attempts"] == (["lost"] if then == "SENDING" else ["answered"])


def test_a_sweeper_killed_in_the_middle_is_followed_by_another(platform: Platform) -> None:
    """c12."""
    steps(platform, "enqueue c12", "work c12", dies_at="claimed")
    steps(platform, "wait c12 200", "sweep c12", dies_at="swept")
    left, row = shown(platform, "show c12", "recover c12", "show c12")
    assert left["state"] == "IN_DOUBT"
    assert (row["state"], row["attempts"]) == ("ABSENT", ["lost"])


def test_a_resolver_killed_after_its_undoing_does_not_leave_the_row_in_doubt(
    platform: Platform,
) -> None:
    """c13."""
    steps(platform, "enqueue c13", "work c13", dies_at="claimed")
    steps(platform, "wait c13 200", "sweep c13", "wait c13 900", "work c13", dies_at="undone")
    left, row = shown(platform, "show c13", "recover c13", "show c13")
    assert left["state"] == "IN_DOUBT"
    assert (row["state"], charged(platform, row["transaction_id"])) == ("ABSENT", 0)
