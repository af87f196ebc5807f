"""Break everything and count: lost 0, charged twice 0, stuck 0.

    python -m tests.faults [--orders 10000] [--only rabbitmq redis sqlite naive no-fence]

Each run is a process of its own. The controls must fail; then the count can be believed.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from typing import Any

RUNS: dict[str, dict[str, Any]] = {
    "rabbitmq": {},
    "redis": {"broker": "redis", "pool": "prefork", "concurrency": 3},
    "sqlite": {"database": "sqlite", "broker": "none", "share": 0.2, "workers": 2},
    "naive": {"control": "naive", "share": 0.3, "skew": False},
    "no-fence": {"control": "no-fence", "share": 0.3, "skew": False},
}
CONTROLS = ("naive", "no-fence")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--merchants", type=int, default=50)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=900.0, help="a run takes at most")
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--one", choices=list(RUNS), help="only this one, in this process")
    parser.add_argument("--brief", action="store_true", help="with --one: short, harsh, one line")
    options = parser.parse_args()
    if options.one:
        return _one(options.one, options)
    failed = []
    for name in options.only:
        line = [sys.executable, "-m", "tests.faults", "--one", name]
        for option in ("orders", "merchants", "workers", "seconds"):
            line += [f"--{option}", str(getattr(options, option))]
        if subprocess.run(line, check=False).returncode:
            failed.append(name)
    print("FAILED: " + ", ".join(failed) if failed else "All as it must be.")
    return bool(failed)


def _one(name: str, options: argparse.Namespace) -> int:
    from tests.faults.running import Run

    # Told to stop, it still takes along what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = {"workers": options.workers, **RUNS[name]}
    orders = int(options.orders * chosen.pop("share", 1.0))
    run = Run(orders=orders, merchants=options.merchants, seconds=options.seconds, **chosen)
    if run.control == "no-fence":
        run.plan["late"] = 0.05
    if options.brief:
        run.skew, run.every_point, run.kill_every, run.restart_every = False, False, 5.0, 20.0
    counts = run()
    if options.brief:
        print(json.dumps({**vars(counts), "wrong": counts.faults()}))
        return 0
    print(f"== {name}: {orders} orders")
    print(json.dumps(vars(counts), indent=1, default=str))
    wrong = counts.faults()
    caught = "charged_twice" in wrong
    if name == "naive":  # it sends the card to the broker: the search must be able to find it
        caught = caught and "canaries" in wrong
    if name in CONTROLS:
        print("control caught" if caught else "CONTROL NOT CAUGHT")
        return not caught
    print("as it must be" if not wrong else f"WRONG: {wrong}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
