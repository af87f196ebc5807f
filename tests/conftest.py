"""Which tests run side by side, and which need the machine to themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["django_cybs_jwt.testing.plugin"]

SIDE_BY_SIDE = Path(__file__).parent / "unit"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever is no unit test starts servers and processes of its own."""
    for item in items:
        if SIDE_BY_SIDE not in item.path.parents:
            item.add_marker("alone")
