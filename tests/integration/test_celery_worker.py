"""Real Celery workers on real brokers: each pool sends, a stop cuts nothing off, nothing leaks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.brokers import Redis
from tests.integration.processes import next_line
from tests.services import (
    requires_module,
    requires_program,
    requires_rabbitmq,
    scratch_postgresql,
)

pytestmark = [pytest.mark.services, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
STAGE = Path(__file__).with_name("celery_stage.py")
CARD = "4111111111111111"


@contextmanager
def stage(broker: str, tmp_path: Path, *what: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has gateways, merchants and a worker, and takes orders on its stdin."""
    with ExitStack() as stack:
        database = stack.enter_context(scratch_postgresql("cybs_celery"))
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(STAGE), broker, database, str(tmp_path), *what],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()  # it then stops what it has started
            process.wait(timeout=60)


def ask(process: subprocess.Popen[str], **question: Any) -> Any:
    assert process.stdin is not None
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    return json.loads(next_line(process, seconds=120))


def until(act: Callable[[], bool], *, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not act():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def broker(kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of RabbitMQ, where the queues are the test's own, or of a Redis of its own."""
    if kind == "rabbitmq":
        yield requires_rabbitmq()
        return
    requires_module("redis")
    requires_program("redis-server")
    with closing(Redis(tmp_path)) as node:
        yield node.url


@pytest.mark.parametrize(
    ("kind", "pool"), [("rabbitmq", "threads"), ("rabbitmq", "solo"), ("redis", "prefork")]
)
def test_each_pool_sends_and_no_card_data_is_in_broker_results_events_or_logs(
    kind: str, pool: str, tmp_path: Path
) -> None:
    with broker(kind, tmp_path) as url, stage(url, tmp_path, pool) as process:
        ask(process, act="order", count=10)
        until(lambda: ask(process, act="states") == {"ANSWERED": 10})
        ask(process, act="signal", number=int(signal.SIGTERM))
        until(lambda: ask(process, act="alive") is False)
        ask(process, act="order", count=5)
        waiting = ask(process, act="waiting")
        seen = ask(process, act="leftovers")
    assert len(waiting["ids"]) == 5
    assert all(each in waiting["text"] for each in waiting["ids"]), "what is searched is theirs"
    assert seen["events"] > 0
    log = (tmp_path / "workers.log").read_text()
    for text in (waiting["text"], seen["text"], log):
        assert CARD not in text
        assert "securityCode" not in text
    assert "order-" not in waiting["text"] + seen["text"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
def test_a_worker_that_is_told_to_stop_ends_the_send_that_is_under_way(
    how: signal.Signals, tmp_path: Path
) -> None:
    with stage(requires_rabbitmq(), tmp_path, "threads") as process:
        ask(process, act="slow", seconds=2.0)
        ask(process, act="order", count=1)
        until(lambda: ask(process, act="states") == {"SENDING": 1})
        ask(process, act="signal", number=int(how))
        until(lambda: ask(process, act="alive") is False)
        assert ask(process, act="states") == {"ANSWERED": 1}
