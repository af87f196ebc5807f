"""A process that holds the ring as it was keeps opening what is moved to a new key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.processes import Platform, next_line

pytestmark = pytest.mark.alone

VAULT = str(Path(__file__).with_name("vault.py"))
ROWS = 20


@pytest.fixture
def platform(tmp_path: Path, database_url: str) -> Platform:
    platform = Platform(tmp_path, database_url)
    platform.command("cybs_keyring", "generate", "first")
    platform.command("migrate", "--verbosity", "0")
    subprocess.run([sys.executable, VAULT, "fill", str(ROWS)], env=platform.env, check=True)
    return platform


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_rewrap_under_a_new_key_stops_no_process_that_runs(platform: Platform) -> None:
    with platform.start(VAULT, "open") as process:
        assert process.stdin is not None

        def opens() -> dict[str, int]:
            process.stdin.write("again\n")
            process.stdin.flush()
            told: dict[str, int] = json.loads(next_line(process))
            return told

        assert next_line(process) == "ready\n"
        assert opens() == {"opened": ROWS}
        for name in ("second", "third"):
            platform.command("cybs_keyring", "add", name)
            platform.command("cybs_keyring", "promote", name)
            assert opens() == {"opened": ROWS}
            platform.command("cybs_rewrap")
            assert opens() == {"opened": ROWS}
        process.stdin.close()
        assert process.wait(timeout=60) == 0
