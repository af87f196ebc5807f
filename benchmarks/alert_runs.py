"""Alerts that were lost or told twice in two years of a job that is often down.

    python -m benchmarks.alert_runs [--runs 10000]

The real services on an SQLite database in memory: runs in bursts, hours apart and after weeks of
downtime, killed at any step, over a channel that refuses. `tests.unit.services.alert_runs` makes
them and knows what they should have told.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from datetime import UTC, date, datetime
from typing import Final

import django

BEGIN: Final = datetime(2027, 9, 1, tzinfo=UTC)
KEYS: Final = 40
DAYS: Final = 730


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alert_runs", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="default 10,000")
    parser.add_argument("--seed", type=int, default=20_280_229)
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ.pop("DATABASE_URL", None)
    django.setup()
    logging.getLogger("django_cybs_jwt").setLevel(logging.CRITICAL)  # refusals are planned
    start = time.perf_counter()
    for what, number in measured(options.runs, options.seed).items():
        print(f"{what:44} {number:>8}")
    print(f"{'seconds':44} {time.perf_counter() - start:>8.0f}")


def measured(runs: int, seed: int) -> dict[str, int]:
    from django.db import connection
    from django.test.utils import override_settings

    from django_cybs_jwt.sealing import KeyRing
    from tests.unit.services.alert_runs import CHANNEL, Years

    connection.creation.create_test_db(verbosity=0, serialize=False)
    ring = json.loads(KeyRing.generate("benchmark", created=date(2029, 1, 1)).to_json())
    with override_settings(
        CYBS_JWT={"KEYRING": ring, "ALERT_CHANNELS": CHANNEL, "ALERT_DAILY_LIMIT": 1000}
    ):
        found = Years(seed=seed, keys=KEYS, days=DAYS, begin=BEGIN).run(runs)
    return {
        "runs": found.runs,
        "alerts raised": len(found.raised),
        "alerts told": len(found.told),
        "of those that had to be told": len(found.must_be_told),
        "lost": len(found.losses),
        "raised or told twice": found.duplicates,
        "told at a wrong time": len(found.untimely),
        "repeated after a kill before it was noted": found.repeated.total(),
    }


if __name__ == "__main__":
    main()
