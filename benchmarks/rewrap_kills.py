"""A re-wrap that is killed again and again: how many secrets open in the end, and under which key.

`python -m benchmarks.rewrap_kills` makes a PostgreSQL database of its own, fills it, and drops it.
Half of the kills strike between two statements, one after the other in each place where it
matters; the others are a plain kill -9 of `cybs_rewrap` at any moment.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks.rewrap import VAULT, promote
from tests.integration.processes import MANAGE, Platform
from tests.services import scratch_postgresql

POINTS: Final = ("begun", "read", "written", "committed")
BATCH: Final = 50  # rows, as in vault.py
LATEST: Final = 1.5  # seconds after it has begun
SECRETS: Final = 2  # in each row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rewrap_kills", description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000, help="keys to move (default 30000)")
    parser.add_argument("--kills", type=int, default=20, help="how often (default 20)")
    parser.add_argument("--seed", type=int, default=20, help="of the moments (default 20)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, scratch_postgresql("cybs_bench_kills") as url:
        platform = Platform(Path(folder), url)
        Killing(platform, options.rows, options.kills, options.seed).run()


class Killing:
    """One database, and whoever moves its rows to new keys and does not live to see the end."""

    def __init__(self, platform: Platform, rows: int, kills: int, seed: int) -> None:
        self.platform, self.secrets, self.kills = platform, rows * SECRETS, kills
        self.most_batches = max(1, 2 * rows // (kills * BATCH))  # so that they strike all along
        self.draw = random.Random(seed)  # noqa: S311  # the same moments each time
        self.points = cycle(POINTS)
        self.key = 0
        platform.command("cybs_keyring", "generate", "k0")
        platform.command("migrate", "--verbosity", "0")
        subprocess.run([sys.executable, VAULT, "fill", str(rows)], env=platform.env, check=True)
        self._promote_next()

    def run(self) -> None:
        for number in range(1, self.kills + 1):
            told = self._kill(number)
            moved = self.secrets - self._left()
            print(f"kill {number:2}: {told:22} {moved} of {self.secrets} under {self.name}")
        self.platform.command("cybs_rewrap")
        self._report()

    @property
    def name(self) -> str:
        return f"k{self.key}"

    def _promote_next(self) -> None:
        self.key += 1
        promote(self.platform, self.name)

    def _left(self) -> int:
        sealed = {row["id"]: row["sealed"] for row in self.platform.json("cybs_keyring", "list")}
        return sum(count for name, count in sealed.items() if name != self.name)

    def _kill(self, number: int) -> str:
        """Where it struck; one that was done before goes on to another key."""
        while True:
            if number == self.kills:
                killed, told = self._kill_at("moved", 1)
            elif number % 2:
                killed, told = self._kill_at(
                    next(self.points), self.draw.randint(1, self.most_batches)
                )
            else:
                killed, told = self._kill_any_moment()
            if killed:
                return told
            self._promote_next()

    def _kill_at(self, point: str, batch: int) -> tuple[bool, str]:
        with self.platform.start(VAULT, "die", point, str(batch)) as process:
            process.communicate(timeout=300)
        return process.returncode == -signal.SIGKILL, f"{point}, batch {batch}"

    def _kill_any_moment(self) -> tuple[bool, str]:
        moment, before = self.draw.uniform(0, LATEST), self._begun()
        with self.platform.start(str(MANAGE), "cybs_rewrap", "--batch", str(BATCH)) as process:
            while self._begun() == before and process.poll() is None:
                time.sleep(0.05)
            time.sleep(moment)
            process.kill()
            process.communicate(timeout=60)
        return process.returncode == -signal.SIGKILL, f"{moment:.2f} s after it began"

    def _begun(self) -> int:
        with psycopg.connect(self.platform.env["DATABASE_URL"]) as connection:
            told = "SELECT count(*) FROM cybs_jwt_keyevent WHERE action = 'rewrap-begin'"
            row = connection.execute(told).fetchone()
        return int(row[0]) if row else 0

    def _report(self) -> None:
        found = self._proved()
        opened = found["opened"]
        print(f"{self.kills} kills, {self.kills} restarts, {self.key} new keys")
        print(f"{sum(opened.values())} of {self.secrets} secrets open, two in each row")
        print(f"{opened.get(self.name, 0)} of {self.secrets} secrets are under the newest key")
        print(f"{len(found['findings'])} are damaged, replayed or without a key")

    def _proved(self) -> dict[str, Any]:
        out, err = self.platform.start(VAULT, "prove").communicate(timeout=600)
        assert out, err
        found: dict[str, Any] = json.loads(out)
        return found


if __name__ == "__main__":
    main()
