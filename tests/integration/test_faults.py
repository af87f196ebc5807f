"""Everything broken at once, small; `make faults` is the long run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from django_cybs_jwt.services.queue.failpoints import POINTS
from tests.services import requires_postgresql, requires_rabbitmq

pytestmark = [pytest.mark.services, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
ORDERS = 200


def run(name: str, *, orders: int) -> dict[str, Any]:
    """One run in a process of its own, and its counts."""
    options = ["--orders", str(orders), "--merchants", "10", "--workers", "2", "--seconds", "1200"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--one", name, "--brief", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.stdout, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return counts


def test_under_kills_cuts_and_faults_every_order_is_charged_exactly_once() -> None:
    requires_postgresql()
    requires_rabbitmq()
    counts = run("rabbitmq", orders=ORDERS)
    assert counts["orders"] >= ORDERS
    assert counts["wrong"] == {}
    assert counts["injected"] > 0
    assert set(counts["searched"]) == {"logs", "broker, results, task events"}
    assert all(counts["searched"].values())
    assert counts["doing"]["workers killed"] > 0
    assert counts["doing"]["broker cut off"] > 0
    if counts["broker"] == "own":
        assert counts["doing"]["broker restarts"] > 0
    # Each point has tests of its own (test_queue_crashes); that all strike is the long run's.
    assert set(counts["died_at"]) & set(POINTS)
