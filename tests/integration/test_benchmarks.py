"""`python -m benchmarks` runs, with the official SDK and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.official_sdk import requires_sdk

ROOT = Path(__file__).parents[2]
SIDES = ("ours", "bare", "sdk")


def bench(*arguments: str, sdk: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--samples", "10", *arguments],
        cwd=ROOT,
        env={**os.environ, "CYBS_SDK_PYTHON": sdk},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_the_sdk_its_column_says_so() -> None:
    table = bench(sdk="/nowhere/python")

    rows = [line for line in table.splitlines() if "token" in line or "cryption" in line]
    assert len(rows) == 7
    assert all("not measured" in row for row in rows)


@pytest.mark.sdk
def test_with_the_sdk_every_row_has_three_sides_and_its_verdict() -> None:
    document: dict[str, Any] = json.loads(bench("--json", sdk=str(requires_sdk())))

    assert document["machine"]["SDK: cybersource-rest-client-python"] == "0.0.80"
    for row in document["rows"]:
        assert row["samples"] == 10
        assert all(row[side]["median"] >= row[side]["minimum"] > 0 for side in SIDES)
        assert (row["verdict"] is None) == (row["at_most"] is row["at_least"] is None)
