"""The Redis of the fault runs really crashes; their RabbitMQ does so in test_faults."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.faults import brokers
from tests.services import requires_module, requires_program

pytestmark = [pytest.mark.services, pytest.mark.alone]


@pytest.mark.parametrize("forgets", [0.0, 1.0])
def test_a_redis_that_crashes_keeps_its_rings_only_with_its_disk(
    forgets: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = requires_module("redis")
    requires_program("redis-server")
    monkeypatch.setattr(brokers, "FORGETS", forgets)
    with closing(brokers.Redis(tmp_path)) as node, redis.Redis.from_url(node.url) as store:
        store.rpush("rings", "one")
        node.restart()
        assert store.llen("rings") == 1
        node.crash()
        assert store.llen("rings") == (0 if forgets else 1)
