"""Measure and report; a missed target is in the report and not in the exit code."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import report
from benchmarks.measuring import Row, measured
from benchmarks.official_sdk import OfficialSDK, interpreter
from benchmarks.subjects import Material, subjects


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--samples", type=int, default=300, help="of each subject (default 300)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rows, machine = _measured(options.samples)
    print(report.as_json(rows, machine) if options.json else report.as_table(rows, machine))


def _measured(samples: int) -> tuple[list[Row], dict[str, str]]:
    material, machine, python = Material.make(), report.machine(), interpreter()
    with ExitStack() as stack:
        sdk = None
        if python is not None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-"))
            sdk = stack.enter_context(OfficialSDK(python, Path(directory), material))
            machine |= sdk.versions
        return measured(subjects(material), samples=samples, sdk=sdk), machine


if __name__ == "__main__":
    main()
