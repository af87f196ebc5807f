"""Celery's side: thin, JSON only, and one place that knows Celery."""

from __future__ import annotations

import ast
import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import celery
import pytest
from django.utils import timezone

import django_cybs_jwt
from django_cybs_jwt import tasks
from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.models import ExpiryAlert, JobRun
from django_cybs_jwt.services.queue import working
from tests.forks import true_in_a_fork
from tests.services import requires_module
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


def test_tick__does_what_is_due() -> None:
    estate.key(estate.organization("acme"), days=20, now=timezone.now())

    tasks.tick()

    assert ExpiryAlert.objects.get().threshold == 30
    assert JobRun.objects.get(name="tick").succeeded_at <= timezone.now()


def test_beat_schedule__names_tasks_that_a_worker_finds() -> None:
    app = celery.Celery("host", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = tasks.beat_schedule(queue="own")
    app.finalize()

    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in app.tasks
        assert entry["options"] == {"expires": 300, "queue": "own"}
    assert json.loads(json.dumps(tasks.beat_schedule())) == tasks.beat_schedule()
    assert "queue" not in tasks.beat_schedule()["cybs-jwt-tick"]["options"]


def test_beat_schedule__can_be_called_in_a_settings_module() -> None:
    program = "from django_cybs_jwt.tasks import beat_schedule; print(len(beat_schedule()))"
    root = Path(django_cybs_jwt.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


@pytest.mark.parametrize("task", [tasks.send, tasks.sweep, tasks.tick, tasks.verify])
def test_every_task_keeps_no_result_is_json_and_never_retries(task: Any) -> None:
    assert task.ignore_result
    assert not task.store_errors_even_if_ignored
    assert task.serializer == "json"
    assert task.max_retries == 0
    assert not getattr(task, "autoretry_for", ())


def test_a_ring_is_acknowledged_after_the_work_and_given_back_by_a_killed_worker() -> None:
    assert tasks.send.acks_late
    assert tasks.send.reject_on_worker_lost


@pytest.mark.parametrize("name", [tasks.SEND, tasks.SWEEP, tasks.TICK, tasks.VERIFY])
def test_what_a_host_configures_for_its_own_tasks_does_not_reach_ours(name: str) -> None:
    host = celery.Celery("host", broker="memory://", set_as_current=False)
    host.conf.update(
        task_time_limit=30,
        task_soft_time_limit=20,
        task_default_rate_limit="1/s",
        task_acks_late=name != tasks.SEND,
        task_acks_on_failure_or_timeout=False,
        task_reject_on_worker_lost=False,
        task_ignore_result=False,
        task_store_errors_even_if_ignored=True,
        task_track_started=True,
        task_serializer="pickle",
    )
    ours = host.tasks[name]
    assert (ours.time_limit, ours.soft_time_limit) == (tasks.LONGEST, tasks.LONGEST)
    assert not ours.rate_limit
    assert ours.ignore_result
    assert not ours.store_errors_even_if_ignored
    assert not ours.track_started
    assert ours.serializer == "json"
    if name == tasks.SEND:
        assert ours.acks_late
        assert ours.reject_on_worker_lost
        assert (ours.acks_on_failure, ours.acks_on_timeout) == (True, True)


def test_the_check_of_a_worker_sees_what_a_host_annotates() -> None:
    host = celery.Celery("host", broker="memory://", set_as_current=False)
    host.conf.task_annotations = {tasks.SEND: {"time_limit": 30}}
    assert min(tasks._limits(host.tasks[tasks.SEND])) == 30


def test_our_tasks_leave_the_hosts_configuration_alone() -> None:
    def told(app: celery.Celery) -> dict[str, Any]:
        app.finalize()
        return {k: v for k, v in app.conf.items() if k != "deprecated_settings"}

    host = celery.Celery("host", broker="memory://", set_as_current=False)
    before = told(host)
    with_ours = celery.Celery("host", broker="memory://", set_as_current=False)
    assert tasks.SEND in with_ours.tasks
    assert told(with_ours) == before


def test_send__hands_the_id_to_the_service_and_returns_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[str] = []
    monkeypatch.setattr(working, "attend", given.append)
    assert tasks.send.apply(("one",)).result is None
    assert given == ["one"]


# The ring


@pytest.fixture
def host_app() -> Iterator[celery.Celery]:
    before = celery.current_app._get_current_object()
    app = celery.Celery("host", broker="memory://")
    yield app
    before.set_current()
    tasks.ring._producer = None


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_ring__puts_the_rows_id_and_nothing_else_on_the_queue_of_its_host(
    host_app: celery.Celery, settings: Any
) -> None:
    queues = {"default": "cybs-test", "slow.example.com": "cybs-slow"}
    settings.CYBS_JWT = {**settings.CYBS_JWT, "TASK_QUEUES": queues}
    row = uuid4()
    for host, queue in (("api.example.com", "cybs-test"), ("slow.example.com", "cybs-slow")):
        tasks.ring(row, host)
        assert tasks.ring.flush(10)
        with host_app.connection_for_read() as connection:
            message = connection.default_channel.basic_get(queue, no_ack=True)
        assert json.loads(message.body)[:2] == [[str(row)], {}]
        assert message.headers["task"] == tasks.SEND
        assert message.headers["retries"] == 0
        assert message.headers["eta"] is None


@pytest.mark.parametrize(
    ("queues", "queue"),
    [({"default": "cybs-test", "resolve": "cybs-care"}, "cybs-care"), ({"default": "all"}, "all")],
)
def test_ring__to_verify_says_nothing_to_those_who_look_after_things(
    host_app: celery.Celery, settings: Any, queues: dict[str, str], queue: str
) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "TASK_QUEUES": queues}
    tasks.ring.verify()
    assert tasks.ring.flush(10)
    with host_app.connection_for_read() as connection:
        message = connection.default_channel.basic_get(queue, no_ack=True)
    assert json.loads(message.body)[:2] == [[], {}]
    assert message.headers["task"] == tasks.VERIFY


def test_ring__says_that_there_is_no_celery_app(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = celery.Celery("default", set_as_current=False)
    monkeypatch.setattr(tasks, "current_app", bare)
    monkeypatch.setattr(bare, "_get_current_object", lambda: bare, raising=False)
    for ring in (lambda: tasks.ring(uuid4(), "api.example.com"), tasks.ring.verify):
        with pytest.raises(ConfigurationError, match="no Celery app"):
            ring()
    assert not tasks.ring.broker().configured


@pytest.mark.parametrize("scheme", ["amqp://guest:PASSWORD@", "redis://:PASSWORD@"])
@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_ring__never_holds_up_a_caller_whose_broker(
    how: str,
    scheme: str,
    host_app: celery.Celery,
    silent_port: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if scheme.startswith("redis"):
        requires_module("redis")
    port = silent_port if how == "hangs" else closed_port()
    host_app.conf.broker_url = f"{scheme}127.0.0.1:{port}/0"
    tasks.ring.bell.flush(10)
    tasks.ring._bell = None  # one that does not rest
    callers: set[int] = set()
    connect = socket.socket.connect

    def looking(own: socket.socket, address: Any) -> None:
        callers.add(threading.get_ident())
        connect(own, address)

    monkeypatch.setattr(socket.socket, "connect", looking)
    for _ in range(20):
        with contextlib.suppress(ConnectionError):  # it has failed already, and rests
            tasks.ring(uuid4(), "api.example.com")
            tasks.ring.verify()
    assert tasks.ring.is_away()
    assert tasks.ring.flush(60)
    tasks.ring._bell = None
    assert not tasks.ring.is_away()
    assert callers
    assert threading.get_ident() not in callers, "whoever rings waits for no broker"
    assert "cannot be rung" in caplog.text
    assert "PASSWORD" not in caplog.text


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_ring__of_a_forked_child_is_on_a_connection_of_its_own(host_app: celery.Celery) -> None:
    tasks.ring(uuid4(), "api.example.com")
    assert tasks.ring.flush(10)
    parents = tasks.ring._producer
    assert parents is not None

    def in_the_child() -> bool:
        tasks.ring(uuid4(), "api.example.com")
        is_out = tasks.ring.flush(10)
        own = tasks.ring._producer
        return is_out and own.connection is not parents.connection

    assert true_in_a_fork(in_the_child)
    assert tasks.ring._producer is parents


def test_tick__run_by_a_worker_in_this_process_gives_no_result() -> None:
    result = tasks.tick.apply()

    assert result.successful()
    assert result.result is None


def test_celery__is_imported_by_one_file_and_every_task_is_one_line() -> None:
    package = Path(django_cybs_jwt.__file__).parent
    importing = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(
            (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("celery"))
            or (isinstance(node, ast.Import) and any(n.name == "celery" for n in node.names))
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    tree = ast.parse((package / "tasks.py").read_text())
    shared = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]

    assert importing == {"tasks.py"}
    assert shared
    for node in shared:
        documented, *imported, called = node.body
        assert isinstance(documented, ast.Expr)
        assert all(isinstance(each, ast.ImportFrom) for each in imported)
        assert isinstance(called, ast.Expr)


def test_a_time_is_asked_for_once_at_the_edge() -> None:
    before = timezone.now()

    tasks.tick()

    ran: datetime = JobRun.objects.get(name="tick").succeeded_at
    assert before <= ran <= timezone.now()
