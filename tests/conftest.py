from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from django_cybs_jwt.protocol import key_reader

pytest_plugins = ["django_cybs_jwt.testing.plugin"]

# Examples here seal, sign and write rows: how long one takes says more about the machine.
settings.register_profile("patient", deadline=None)
if not os.environ.get("CI"):  # hypothesis then takes a profile of its own, as patient
    settings.load_profile("patient")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in what a shell runs in the background: the commands that tests interrupt would have it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key file may take a loaded machine a minute, but where a test measures time, alone."""
    if request.node.get_closest_marker("alone") is None or "protocol" not in request.path.parts:
        monkeypatch.setattr(key_reader, "WALL_SECONDS", 60.0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """CI has half an hour: what is marked `long` is for `make test` by hand."""
    if os.environ.get("CYBS_BRIEF") != "1":
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
    items[:] = [item for item in items if not item.get_closest_marker("long")]
