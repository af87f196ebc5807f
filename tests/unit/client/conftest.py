from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.client.merchants import Async, Sender, Sync, close_pools
from tests.unit.client.raw_server import RawServer, serving


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def sender(request: pytest.FixtureRequest) -> Sender:
    made: Sender = request.param()
    return made


@pytest.fixture
def server() -> Iterator[RawServer]:
    """Answers 200 {} unless told otherwise."""
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def _close_pools() -> Iterator[None]:
    yield
    close_pools()
