"""A database of its own for a test whose processes share it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import scratch_postgresql


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Parametrise it with "sqlite" (a file) or "postgresql"."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'db.sqlite3'}"
        return
    with scratch_postgresql("cybs_integration") as url:
        yield url
