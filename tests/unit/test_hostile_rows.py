"""tests/hostile_inputs.md lists where each bad input is tried; what it names must be there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
LINE: Final = re.compile(r"\| (B\d+) \| ([^|]+) \| ([^|]+) \|")
NAME: Final = re.compile(r"`(test_\w+\.py)::(test_\w+)`((?: \[[^\]]+\])*)")
FILES: Final = {path.name: path for path in TESTS.rglob("test_*.py")}
# Cases that several tests share are written down apart from them.
SHARED_CASES: Final = TESTS / "unit" / "protocol" / "hostile_tokens.py"

LINES: Final = (TESTS / "hostile_inputs.md").read_text().splitlines()
ROWS: Final = {found[1]: found[3] for line in LINES if (found := LINE.fullmatch(line))}
NAMED: Final = [(row, *found) for row, cell in ROWS.items() for found in NAME.findall(cell)]


@cache
def text(file: str) -> str:
    return FILES[file].read_text()


@cache
def functions(file: str) -> set[str]:
    return {n.name for n in ast.walk(ast.parse(text(file))) if isinstance(n, ast.FunctionDef)}


def test_every_row_is_listed_once_and_in_order() -> None:
    assert list(ROWS) == [f"B{number}" for number in range(1, 101)]


def test_every_row_names_a_test_or_says_why_not() -> None:
    reasons = [cell for row, cell in ROWS.items() if row not in {name[0] for name in NAMED}]

    assert all(reason.startswith("not applicable because ") for reason in reasons)
    assert len(reasons) <= 2


@pytest.mark.parametrize(
    ("row", "file", "function", "labels"), NAMED, ids=[f"{row} {name}" for row, _, name, _ in NAMED]
)
def test_what_is_named_for_a_row_exists(row: str, file: str, function: str, labels: str) -> None:
    assert function in functions(file)
    for label in re.findall(r"\[([^\]]+)\]", labels):
        assert label in text(file) + SHARED_CASES.read_text()
