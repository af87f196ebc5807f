"""Celery's side: thin, JSON only, and one place that knows Celery."""

from __future__ import annotations

import ast
import json
from datetime import datetime
from pathlib import Path

import celery
import pytest
from django.utils import timezone

import django_cybs_jwt
from django_cybs_jwt import tasks
from django_cybs_jwt.models import ExpiryAlert, JobRun
from tests.unit.services import estate

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]


def test_tick__does_what_is_due() -> None:
    estate.key(estate.organization("acme"), days=20, now=timezone.now())

    tasks.tick()

    assert ExpiryAlert.objects.get().threshold == 30
    assert JobRun.objects.get(name="tick").succeeded_at <= timezone.now()


def test_beat_schedule__names_a_task_that_a_worker_finds() -> None:
    app = celery.Celery("host", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = tasks.beat_schedule()
    app.finalize()

    (entry,) = app.conf.beat_schedule.values()

    assert entry["task"] in app.tasks
    assert entry["options"]["expires"] <= entry["schedule"]
    assert json.loads(json.dumps(tasks.beat_schedule())) == tasks.beat_schedule()


def test_tick__takes_nothing_keeps_no_result_and_is_json() -> None:
    assert tasks.tick.ignore_result
    assert tasks.tick.serializer == "json"
    assert tasks.tick.name == tasks.TICK


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
    assert all(len(node.body) == 2 for node in shared)  # a docstring and a call


def test_a_time_is_asked_for_once_at_the_edge() -> None:
    before = timezone.now()

    tasks.tick()

    ran: datetime = JobRun.objects.get(name="tick").succeeded_at
    assert before <= ran <= timezone.now()
