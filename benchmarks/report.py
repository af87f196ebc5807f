"""The rows as a table, or as JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.measuring import Row, Times

NOT_MEASURED: Final = "not measured"
_DISTRIBUTIONS = ("cryptography", "pyjwt", "joserfc")
_HEADINGS = (
    "median, microseconds",
    "ours",
    "bare calls",
    "ours/bare",
    "of minima",
    "target",
    "SDK",
    "SDK/ours",
    "target",
    "",
)


def machine() -> dict[str, str]:
    """What the numbers were made with."""
    return {
        "CPU": f"{os.cpu_count()} x {_processor()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in _DISTRIBUTIONS},
    }


def as_table(rows: list[Row], machine: dict[str, str]) -> str:
    """One line a row, under what they were made with."""
    cells = [_HEADINGS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [", ".join(f"{name} {value}" for name, value in machine.items())]
    lines.append(f"{min(row.samples for row in rows)} samples each, turn by turn")
    lines.append("")
    for line in cells:
        first, *others = zip(line, widths, strict=True)
        texts = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
        lines.append("  ".join(texts).rstrip())
    return "\n".join(lines)


def as_json(rows: list[Row], machine: dict[str, str]) -> str:
    """The same and the minima, for machines; times are in microseconds."""
    return json.dumps({"machine": machine, "rows": [_document(row) for row in rows]}, indent=2)


def _cells(row: Row) -> tuple[str, ...]:
    wanted = row.subject
    return (
        wanted.name,
        _micro(row.ours),
        _micro(row.raw),
        f"{row.overhead:.3f}",
        f"{row.ours.minimum / row.raw.minimum:.3f}",
        "" if wanted.at_most is None else f"<= {wanted.at_most:g}",
        NOT_MEASURED if row.sdk is None else _micro(row.sdk),
        "" if row.speedup is None else f"{row.speedup:.1f}",
        "" if wanted.faster is None else f">= {wanted.faster:g}",
        row.verdict,
    )


def _document(row: Row) -> dict[str, Any]:
    return {
        "name": row.subject.name,
        "samples": row.samples,
        "ours": asdict(row.ours),
        "bare": asdict(row.raw),
        "ours_per_bare": row.overhead,
        "at_most": row.subject.at_most,
        "sdk": None if row.sdk is None else asdict(row.sdk),
        "sdk_per_ours": row.speedup,
        "at_least": row.subject.faster,
        "verdict": row.verdict or None,
    }


def _micro(times: Times) -> str:
    return f"{times.median:,.1f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
