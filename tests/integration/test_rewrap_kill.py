"""A re-wrap that is killed anywhere, beside imports, loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import MANAGE, Platform

pytestmark = [pytest.mark.services, pytest.mark.alone]

VAULT = str(Path(__file__).with_name("vault.py"))
ROWS = 600


@pytest.fixture
def platform(tmp_path: Path, database_url: str) -> Platform:
    platform = Platform(tmp_path, database_url)
    platform.command("cybs_keyring", "generate", "first")
    platform.command("migrate", "--verbosity", "0")
    return platform


def fill(platform: Platform, rows: int) -> None:
    subprocess.run([sys.executable, VAULT, "fill", str(rows)], env=platform.env, check=True)


def findings(platform: Platform) -> list[dict[str, Any]]:
    """What the doctor finds, but for settings and jobs: this platform has neither."""
    process = platform.start(str(MANAGE), "cybs_doctor", "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 1), err
    return [found for found in json.loads(out) if found["finding"] not in ("check", "job")]


@contextmanager
def imports(platform: Platform) -> Iterator[list[str]]:
    """The ids that another process has committed, complete when the block ends."""
    committed: list[str] = []
    process = platform.start(VAULT, "import")
    try:
        yield committed
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        committed += out.split()
    finally:
        process.kill()


def kill_a_rewrap(platform: Platform, kek_id: str, point: str, batch: int) -> None:
    """Start one that dies there, and nowhere else."""
    with platform.start(VAULT, "rewrap", kek_id, point, str(batch)) as process:
        out, err = process.communicate(timeout=120)
    assert (out, process.returncode) == ("[]\n", -signal.SIGKILL), err


# Where it dies, and in which batch.
DEATHS = [
    ("begun", 1),
    ("read", 1),
    ("written", 1),
    ("committed", 1),
    ("written", 6),
    ("committed", 6),
    ("read", 12),
    ("moved", 1),
]


@pytest.mark.parametrize(
    "database_url", ["postgresql", pytest.param("sqlite", marks=pytest.mark.long)], indirect=True
)
def test_killed_rewraps__leave_every_row_readable_and_lose_no_import(platform: Platform) -> None:
    fill(platform, ROWS)
    with imports(platform) as imported:
        for number, (point, batch) in enumerate(DEATHS):
            kill_a_rewrap(platform, f"k{number}", point, batch)
    platform.command("cybs_rewrap")

    history = platform.command("cybs_audit", "export").splitlines()
    told = [json.loads(line)["action"] for line in history]
    print(f"{len(imported)} imports beside them")
    assert told.count("rewrap-begin") == len(DEATHS) + 1
    assert told.count("rewrap-end") == 1
    assert imported
    assert {row["id"] for row in platform.json("cybs_keys", "list")} >= set(imported)
    assert findings(platform) == []
    sealed = {key["id"]: key["sealed"] for key in platform.json("cybs_keyring", "list")}
    assert sealed == dict.fromkeys(sealed, 0) | {f"k{number}": 2 * ROWS + len(imported)}


@pytest.mark.parametrize(
    "database_url", ["postgresql", pytest.param("sqlite", marks=pytest.mark.long)], indirect=True
)
def test_rewraps_at_once__share_the_work_and_fail_nothing(platform: Platform) -> None:
    fill(platform, ROWS)
    platform.command("cybs_keyring", "add", "second")
    platform.command("cybs_keyring", "promote", "second")

    lines = [str(MANAGE), "cybs_rewrap", "--batch", "20", "--json"]
    processes = [platform.start(*lines) for _ in range(3)]
    reports = [json.loads(process.communicate(timeout=120)[0]) for process in processes]

    print([report["moved"] for report in reports])
    assert sum(report["moved"] for report in reports) == ROWS
    assert [report["failed"] for report in reports] == [[]] * 3
    assert findings(platform) == []
