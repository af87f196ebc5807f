"""A re-wrap that is killed anywhere, beside imports, loses nothing; and how fast it is."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import MANAGE, Platform

pytestmark = [pytest.mark.services, pytest.mark.alone]

VAULT = str(Path(__file__).with_name("vault.py"))
KILLS = 8
ROWS = 600
AT_LEAST = 1000  # rows a second on PostgreSQL, and 30,000 of them examined in 60 s


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
    out, err = process.communicate()
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


def kill_a_rewrap(platform: Platform, kek_id: str, after: float) -> int:
    """Kill one that moves, *after* seconds; returns how many before it were cut off midway."""
    with platform.start(VAULT, "rewrap", kek_id) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = process.stdout.readline()
        assert told, process.stderr.read()
        before = json.loads(told)
        assert before["findings"] == []
        assert process.stdout.readline() == "moving\n", process.stderr.read()
        time.sleep(after)
        process.kill()
        return int(before["cut_off"])


@pytest.mark.parametrize("database_url", ["postgresql", "sqlite"], indirect=True)
def test_killed_rewraps__leave_every_row_readable_and_lose_no_import(platform: Platform) -> None:
    fill(platform, ROWS)
    chance = random.Random()

    with imports(platform) as imported:
        cut_off = started = 0
        while cut_off < KILLS:
            started += 1
            cut_off = kill_a_rewrap(platform, f"k{started}", chance.uniform(0, 0.2))
    platform.command("cybs_rewrap")

    print(f"{cut_off} of {started - 1} kills came midway, {len(imported)} imports beside them")
    assert imported
    assert {row["id"] for row in platform.json("cybs_keys", "list")} >= set(imported)
    assert findings(platform) == []
    sealed = {key["id"]: key["sealed"] for key in platform.json("cybs_keyring", "list")}
    assert sealed == dict.fromkeys(sealed, 0) | {f"k{started}": 2 * ROWS + len(imported)}


@pytest.mark.parametrize("database_url", ["postgresql", "sqlite"], indirect=True)
def test_rewraps_at_once__share_the_work_and_fail_nothing(platform: Platform) -> None:
    fill(platform, ROWS)
    platform.command("cybs_keyring", "add", "second")
    platform.command("cybs_keyring", "promote", "second")

    lines = [str(MANAGE), "cybs_rewrap", "--batch", "20", "--json"]
    processes = [platform.start(*lines) for _ in range(3)]
    reports = [json.loads(process.communicate()[0]) for process in processes]

    print([report["moved"] for report in reports])
    assert sum(report["moved"] for report in reports) == ROWS
    assert [report["failed"] for report in reports] == [[]] * 3
    assert findings(platform) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_speed__is_a_thousand_rows_a_second_and_a_doctor_within_his_minute(
    platform: Platform,
) -> None:
    fill(platform, 3000)
    began = time.monotonic()
    assert findings(platform) == []
    examined = time.monotonic() - began

    platform.command("cybs_keyring", "add", "second")
    platform.command("cybs_keyring", "promote", "second")
    report = platform.json("cybs_rewrap")

    print(f"{report['rate']} rows re-wrapped a second, {3000 / examined:.0f} rows examined")
    assert report["moved"] == 3000
    assert report["rate"] >= AT_LEAST
    assert examined <= 60 * 3000 / 30_000
