"""Processes that start from one line, each on the default database of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.services import default_database_url

ROOT: Final = Path(__file__).parents[3]


def race(script: Path, racers: Iterable[tuple[str, ...]]) -> list[str]:
    """Run *script* once for each tuple of arguments, all at once; what each printed at its end.

    Each says "ready" first, and waits for a line.
    """
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": default_database_url(),
        "PYTHONPATH": str(ROOT),
    }
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(script), *arguments],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for arguments in racers
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [process.communicate(timeout=60)[0].strip() for process in processes]
