from __future__ import annotations

import pytest

from django_cybs_jwt.protocol import key_reader

pytest_plugins = ["django_cybs_jwt.testing.plugin"]


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key file may take a loaded machine a minute, but where that limit is what is tested."""
    if "protocol" not in request.path.parts:
        monkeypatch.setattr(key_reader, "WALL_SECONDS", 60.0)
