"""Re-wrapped rows a second, what it costs whoever signs beside it, and the doctor's minute.

`python -m benchmarks.rewrap` makes a PostgreSQL database of its own, fills it, and drops it.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from tests.integration.processes import MANAGE, Platform
from tests.services import scratch_postgresql

VAULT: Final = str(Path(__file__).parents[1] / "tests" / "integration" / "vault.py")
ALONE: Final = 15.0  # seconds
ROUNDS: Final = 3
POLITE: Final = ("--rate", "1000", "--batch", "100")

Facts = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rewrap", description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000, help="keys to move (default 30000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, scratch_postgresql("cybs_bench_rewrap") as url:
        facts = _measured(Platform(Path(folder), url), options.rows)
    facts = {"machine": report.machine(), "rows": options.rows, **facts}
    print(json.dumps(facts, indent=2) if options.json else "\n".join(_lines(facts)))


def _measured(platform: Platform, rows: int) -> Facts:
    platform.command("cybs_keyring", "generate", "k0")
    platform.command("migrate", "--verbosity", "0")
    subprocess.run([sys.executable, VAULT, "fill", str(rows)], env=platform.env, check=True)
    doctor = _doctor(platform)
    rounds = [_round(platform, number, rows) for number in range(1, ROUNDS + 1)]
    return {"doctor": doctor, "rounds": rounds}


def _doctor(platform: Platform) -> Facts:
    """The whole command: start, every secret, every check."""
    began = time.monotonic()
    out, err = platform.start(str(MANAGE), "cybs_doctor", "--json").communicate()
    seconds = time.monotonic() - began
    found = [each for each in json.loads(out) if each["finding"] not in ("check", "job")]
    assert not found, err
    return {"seconds": seconds}


def _round(platform: Platform, number: int, rows: int) -> Facts:
    """Side by side, so that a noisy moment strikes each: nobody, at full speed, stepping back."""
    with _signer(platform) as alone:
        time.sleep(ALONE)
    promote(platform, f"k{number}a")
    with _signer(platform) as beside:
        full = platform.json("cybs_rewrap")
    promote(platform, f"k{number}b")
    with _signer(platform) as beside_polite:
        polite = _nice(platform, "cybs_rewrap", *POLITE, "--json")
    assert (full["moved"], full["left"]) == (polite["moved"], polite["left"]) == (rows, 0)
    return {
        "alone": alone,
        "full": {"rate": full["rate"], "signing": beside},
        "polite": {"rate": polite["rate"], "signing": beside_polite},
    }


def promote(platform: Platform, kek_id: str) -> None:
    platform.command("cybs_keyring", "add", kek_id)
    platform.command("cybs_keyring", "promote", kek_id)


@contextmanager
def _signer(platform: Platform) -> Iterator[Facts]:
    """A process that signs while the block runs; how long that took is there when it ends."""
    facts: Facts = {}
    with platform.start(VAULT, "sign", "600") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "signing\n"
            yield facts
            process.send_signal(signal.SIGTERM)
            facts.update(json.loads(process.communicate(timeout=30)[0]))
        finally:
            process.kill()


def _nice(platform: Platform, *arguments: str) -> Facts:
    line = ["nice", "-n", "10", sys.executable, str(MANAGE), *arguments]
    done = subprocess.run(line, env=platform.env, capture_output=True, text=True, check=True)
    facts: Facts = json.loads(done.stdout)
    return facts


def _lines(facts: Facts) -> Iterator[str]:
    yield ", ".join(f"{name} {value}" for name, value in facts["machine"].items())
    seconds = facts["doctor"]["seconds"]
    yield f"doctor: {facts['rows']} rows in {seconds:.1f} s (target: 30000 within 60 s)"
    rounds = facts["rounds"]
    alone = [each["alone"] for each in rounds]
    yield f"signing alone: {_latency(alone)}"
    for name, how in (("full", "at full speed"), ("polite", f"nice -n 10, {' '.join(POLITE)}")):
        rate = statistics.median(each[name]["rate"] for each in rounds)
        beside = [each[name]["signing"] for each in rounds]
        rise = _median(beside, "p99") / _median(alone, "p99") - 1
        yield f"re-wrap {how}: {rate:.0f} rows a second (target: 1000)"
        yield f"  signing beside it: {_latency(beside)}, p99 {rise:+.0%} (target: +5%)"


def _latency(runs: list[Facts]) -> str:
    spread = ", ".join(f"{run['p99']:.2f}" for run in runs)
    return f"p50 {_median(runs, 'p50'):.2f} ms, p99 {_median(runs, 'p99'):.2f} ms (of {spread})"


def _median(runs: list[Facts], name: str) -> float:
    return statistics.median(run[name] for run in runs)


if __name__ == "__main__":
    main()
