"""What the documents promise about the code, held against the code."""

from __future__ import annotations

import ast
import importlib
import re
import statistics
from dataclasses import fields
from pathlib import Path

import pytest

import django_cybs_jwt
from django_cybs_jwt import conf, exceptions, services

PACKAGE = Path(django_cybs_jwt.__file__).parent
ROOT = PACKAGE.parent
DOCS = ROOT / "docs"
MODULES = [path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts]

LONGEST_MODULE = 400
LONGEST_FUNCTION = 45


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def resolve(name: str) -> object:
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(["django_cybs_jwt", *parts[:split]]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[split:]:
            found = getattr(found, attribute)
        return found
    raise AssertionError(f"no module for {name}")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module__stays_within_the_size_budget(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    longest = max(((node.end_lineno or 0) - node.lineno + 1 for node in functions(path)), default=0)

    assert len(lines) <= LONGEST_MODULE
    assert longest <= LONGEST_FUNCTION


def test_modules_are_mostly_a_page_or_two() -> None:
    sizes = [len([line for line in path.read_text().splitlines() if line.strip()])
             for path in MODULES if path.name != "__init__.py"]  # fmt: skip

    assert 60 <= statistics.median(sizes) <= 100


def test_functions_are_mostly_short() -> None:
    sizes = sorted(
        (node.end_lineno or 0) - node.lineno + 1 for path in MODULES for node in functions(path)
    )

    assert statistics.median(sizes) <= 10
    assert sizes[len(sizes) * 9 // 10] <= 30


def test_no_module_is_a_drawer() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "helpers", "common", "misc"}


UNPICKLING = {"pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle", "jsonpickle"}
EVALUATING = {"eval", "exec", "compile", "__import__"}


def dangers(tree: ast.AST) -> set[str]:
    """What a module uses that turns text or bytes into code."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names} & UNPICKLING
        elif isinstance(node, ast.ImportFrom):
            names |= {(node.module or "").split(".")[0]} & UNPICKLING
            names |= {alias.name for alias in node.names} & (UNPICKLING | EVALUATING)
        elif isinstance(node, ast.Name):
            names |= {node.id} & EVALUATING
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_unpickles_or_evaluates(path: Path) -> None:
    assert not dangers(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import json, pickle as p",
        "import yaml.loader",
        "from pickle import loads",
        "from yaml.loader import Loader",
        "from celery.utils import pickle",
        "from builtins import eval as run",
        "eval('1')",
        "run = exec",
        "def f():\n    from marshal import loads",
    ],
)
def test_what_unpickles_or_evaluates_is_found_however_it_is_written(line: str) -> None:
    assert dangers(ast.parse(line))


def test_who_catches_what_the_database_raises_catches_a_dead_connection_too() -> None:
    """Django's InterfaceError is no DatabaseError; Error is both."""
    assert [path for path in MODULES if re.search(r"\bDatabaseError\b", path.read_text())] == []


def test_package__imports_nothing_by_itself() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]

    assert [node.module for node in imports if isinstance(node, ast.ImportFrom)] == ["__future__"]
    assert len(imports) == 1


def test_tour__names_functions_that_exist() -> None:
    text = (DOCS / "tour.md").read_text()
    names = set(re.findall(r"`([a-z_0-9]+(?:\.\w+)+)`", text))

    assert len(names) >= 15
    for name in names:
        assert resolve(name) is not None


PARTS = "admin|cybs|client|conf|management|models|protocol|sealing|services|simulator|tasks|testing"
OTHERS = {"cybs.requests", "cybs.attempt.duration", "cybs.break_glass"}  # metrics, a webhook


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=str)
def test_page__names_code_that_exists(page: Path) -> None:
    found = re.findall(rf"`((?:{PARTS})(?:\.[A-Za-z_]\w*)+)[`(]", page.read_text())

    for name in set(found) - OTHERS:
        assert resolve(name) is not None, name


def test_services__are_all_where_their_table_of_contents_says() -> None:
    named = re.findall(r"`(\w+)`", services.__doc__ or "")

    for name in named:
        assert resolve(f"services.{name}") is not None


def test_settings_page__lists_every_setting() -> None:
    listed = set(re.findall(r"^\| `([A-Z_0-9]+)`", (DOCS / "settings.md").read_text(), re.M))

    assert listed == {item.name for item in fields(conf.Settings)}


def test_checks_page__lists_every_id() -> None:
    listed = re.findall(r"`cybs_jwt\.W(\d{3})`", (DOCS / "checks.md").read_text())
    raised = re.findall(r"_warn\(\s*(\d+),", (PACKAGE / "checks.py").read_text())

    assert sorted(map(int, listed)) == sorted(map(int, raised))


def test_commands_page__lists_every_command() -> None:
    listed = set(re.findall(r"`(cybs_\w+)", (DOCS / "commands.md").read_text()))

    assert listed == {path.stem for path in (PACKAGE / "management/commands").glob("cybs_*.py")}


def test_error_tree__is_drawn_as_it_is() -> None:
    drawn = set(re.findall(r"\b([A-Z]\w+(?:Error|[a-z]))\b", exceptions.__doc__ or ""))

    assert {child for child, _ in _tree()} <= drawn


def test_error_tree__is_drawn_under_the_right_parents() -> None:
    path: list[str] = []
    drawn = set()
    for line in (exceptions.__doc__ or "").splitlines():
        found = re.match(r"((?:│   |    )*)(?:├── |└── )?([A-Z]\w+(?:, [A-Z]\w+)*)(?:  |$)", line)
        if found:
            depth = len(line[: found.start(2)]) // 4
            names = found[2].split(", ")
            path[depth:] = names[:1]
            drawn |= {(name, path[depth - 1]) for name in names if depth}

    assert drawn == {(child, parent) for child, parent in _tree() if parent}


def _tree() -> set[tuple[str, str]]:
    """Every error with the error above it; CybsError has none."""
    errors = {
        value
        for value in vars(exceptions).values()
        if isinstance(value, type) and issubclass(value, exceptions.CybsError)
    }
    above = {error: next((b for b in error.__bases__ if b in errors), None) for error in errors}
    return {(error.__name__, base.__name__ if base else "") for error, base in above.items()}


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=str)
def test_links__lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_public_names__are_what_all_says() -> None:
    for name in ("protocol", "sealing", "client", "simulator", "cybs", "models"):
        module = importlib.import_module(f"django_cybs_jwt.{name}")
        assert sorted(module.__all__) == list(dict.fromkeys(sorted(module.__all__)))
        assert all(hasattr(module, item) for item in module.__all__)
