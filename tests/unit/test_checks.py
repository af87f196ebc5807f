"""System checks: one test per id, the defaults pass, and none locks anybody out."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import celery
import pytest
from django.apps import apps
from django.core.checks import CheckMessage, Tags, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from django_cybs_jwt import checks, tasks
from django_cybs_jwt.models import AlertRecipient
from django_cybs_jwt.services import doorbell
from django_cybs_jwt.services.doorbell import Broker
from django_cybs_jwt.services.queue import durability
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing import ring as published
from tests import mail as outgoing
from tests.acceptance.shell import ROOT, Project
from tests.unit.services import enrolment
from tests.unit.test_conf import HOST, LIVE_HOST, WRONG


def ids(messages: Iterable[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("cybs_jwt.") for message in messages]


def found(databases: list[str] | None = None) -> list[CheckMessage]:
    tags = ["cybs_jwt", Tags.database]
    return [
        message
        for message in run_checks(tags=tags, databases=databases or [])
        if str(message.id).startswith("cybs_jwt.")
    ]


@pytest.fixture
def ring_file(tmp_path: Path) -> Path:
    file = tmp_path / "ring.json"
    material_of = {"key": material.shared_secret().secret, "status": "enabled"}
    ring = {
        "primary": "2026",
        "keys": {"2026": material_of},
        "index_key": material.shared_secret().secret,
        "audit_key": material.shared_secret().secret,
    }
    file.write_text(json.dumps(ring))
    file.chmod(0o600)
    return file


@pytest.fixture
def healthy(settings: Any, ring_file: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings without anything to warn of; the result changes one of them."""
    immediate = {"transaction_mode": "IMMEDIATE"}
    database = {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": immediate}
    monkeypatch.setitem(settings.DATABASES, "default", database)

    def change(**values: Any) -> None:
        settings.CYBS_JWT = {"KEYRING_FILE": str(ring_file), **values}

    change()
    return change


def test_defaults_with_a_key_ring_pass(healthy: Any) -> None:
    assert found() == []


def test_w001_settings_that_cannot_be_read(healthy: Any) -> None:
    healthy(LIFE=True)
    assert ids(found()) == ["W001"]


@pytest.mark.parametrize("wrong", WRONG)
def test_w001_names_every_wrong_value_and_no_check_breaks_on_it(healthy: Any, wrong: str) -> None:
    healthy(**WRONG[wrong])
    assert "W001" in ids(found())


def test_w001_no_dictionary(settings: Any) -> None:
    settings.CYBS_JWT = ["LIVE"]
    assert "W001" in ids(found())


def test_w002_no_ring(healthy: Any, ring_file: Path) -> None:
    ring_file.unlink()
    messages = found()
    assert ids(messages) == ["W002"]
    assert "cybs_keyring generate" in messages[0].msg


def test_w002_a_ring_that_is_damaged(healthy: Any, ring_file: Path) -> None:
    ring_file.write_text("{")
    assert ids(found()) == ["W002"]


@pytest.mark.parametrize("weak", [bytes(32), b"a" * 32, bytes(range(32)), b"short"])
def test_w002_a_ring_that_is_weak(healthy: Any, ring_file: Path, weak: bytes) -> None:
    ring = json.loads(ring_file.read_text())
    ring["keys"]["2026"]["key"] = base64.b64encode(weak).decode()
    ring_file.write_text(json.dumps(ring))
    assert ids(found()) == ["W002"]


@pytest.mark.parametrize("name", ["SECRET_KEY", "SECRET_KEY_FALLBACKS"])
def test_w003_a_ring_made_of_the_secret_key(
    settings: Any, healthy: Any, ring_file: Path, name: str
) -> None:
    secret = json.loads(ring_file.read_text())["index_key"]
    setattr(settings, name, secret if name == "SECRET_KEY" else [secret])
    assert ids(found()) == ["W003"]


def test_w004_a_ring_that_every_account_can_read(healthy: Any, ring_file: Path) -> None:
    ring_file.chmod(0o644)
    messages = found()
    assert ids(messages) == ["W004"]
    assert messages[0].hint == f"chmod 600 {ring_file}"


def test_w005_a_live_host_that_is_redirected(healthy: Any) -> None:
    healthy(BASE_URLS={LIVE_HOST: "https://egress.example.com"})
    messages = found()
    assert ids(messages) == ["W005"]
    assert LIVE_HOST in messages[0].msg
    healthy(BASE_URLS={HOST: "https://egress.example.com"})
    assert found() == []


def test_w006_live_while_debugging(settings: Any, healthy: Any) -> None:
    healthy(LIVE=True)
    assert found() == []
    settings.DEBUG = True
    assert ids(found()) == ["W006"]


def test_w007_live_with_the_published_ring(healthy: Any) -> None:
    healthy(KEYRING=published.testing_ring())
    assert found() == []
    healthy(KEYRING=published.testing_ring(), LIVE=True)
    assert ids(found()) == ["W007"]


@pytest.mark.parametrize("options", [{}, {"transaction_mode": "DEFERRED"}])
def test_w008_sqlite_that_begins_deferred(
    settings: Any, healthy: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", options)
    assert ids(found()) == ["W008"]


def test_w008_is_of_no_concern_to_another_database(
    settings: Any, healthy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.DATABASES, "default", {"ENGINE": "django.db.backends.postgresql"})
    assert found() == []


def test_w009_a_ca_bundle_that_is_not_there(healthy: Any, tmp_path: Path) -> None:
    healthy(CA_BUNDLE=str(tmp_path / "none.pem"))
    assert ids(found()) == ["W009"]


@pytest.mark.parametrize("name", ["no-such-python", "/etc/passwd", "/"])
def test_w010_an_interpreter_that_cannot_be_run(healthy: Any, name: str) -> None:
    healthy(P12_INTERPRETER=name)
    assert ids(found()) == ["W010"]


@pytest.mark.parametrize("name", ["connect", "read", "write", "pool", "total"])
@pytest.mark.parametrize("seconds", [0, -1.0])
def test_w001_a_timeout_that_is_not_above_zero(healthy: Any, name: str, seconds: float) -> None:
    healthy(TIMEOUT={name: seconds})
    assert ids(found()) == ["W001"]
    assert "above zero" in found()[0].msg


@pytest.mark.django_db
@pytest.mark.usefixtures("cybs_ring")
def test_w012_a_host_in_use_that_nothing_can_be_encrypted_for() -> None:
    enrolment.shared_secret(enrolment.organization())
    messages = checks.check_rows(databases=["default"])
    assert ids(messages) == ["W012"]
    assert f"1 signing key(s) on {HOST}" in messages[0].msg
    assert "cybs_gateway_cert add" in str(messages[0].hint)
    assert checks.check_rows(databases=None) == []


def test_every_message_is_a_warning_with_a_hint_and_an_id_of_its_own(
    settings: Any, tmp_path: Path
) -> None:
    settings.DEBUG = True
    settings.CYBS_JWT = {
        "KEYRING": published.testing_ring(),
        "LIVE": True,
        "BASE_URLS": {LIVE_HOST: "https://egress.example.com"},
        "CA_BUNDLE": str(tmp_path / "none.pem"),
        "P12_INTERPRETER": "no-such-python",
    }
    messages = found()
    assert len(ids(messages)) == len(set(ids(messages)))
    assert len(messages) >= 5
    for message in messages:
        assert message.hint
        assert not message.is_serious()


def test_no_message_repeats_a_secret(settings: Any) -> None:
    ring = published.testing_ring()
    settings.SECRET_KEY = ring["index_key"]
    settings.CYBS_JWT = {
        "KEYRING": ring,
        "BASE_URLS": {HOST: "https://user:hunter2@egress.example.com"},
        "PROXY": "http://proxy.example.com",
        "PROXY_AUTH": "user:hunter2",
    }
    text = " ".join(f"{message}" for message in found())
    assert "hunter2" not in text
    for value in (ring["index_key"], ring["audit_key"], ring["keys"]["testing"]["key"]):
        assert value not in text


@pytest.mark.django_db  # Django 6.1's own checks ask the database what it can do
def test_the_checks_are_bound_to_the_check_command(healthy: Any, ring_file: Path) -> None:
    ring_file.unlink()
    err = StringIO()
    call_command("check", stdout=StringIO(), stderr=err)
    assert "cybs_jwt.W002" in err.getvalue()
    with pytest.raises(SystemCheckError):
        call_command("check", fail_level="WARNING", stdout=StringIO(), stderr=err)


@pytest.mark.django_db
@pytest.mark.usefixtures("cybs_ring")
def test_the_check_that_reads_rows_runs_only_where_databases_are_named() -> None:
    enrolment.shared_secret(enrolment.organization())
    err = StringIO()
    call_command("check", stdout=StringIO(), stderr=err)
    assert "W012" not in err.getvalue()
    call_command("check", databases=["default"], stdout=StringIO(), stderr=err)
    assert "W012" in err.getvalue()


LOCKED_OUT: dict[str, dict[str, Any]] = {
    "no ring": {},
    "misspelled": {"LIFE": True},
    "wrong types": {"TIMEOUT": {"read": "5"}, "BASE_URLS": ["x"], "LIVE": "False"},
    "a name that is no text": {7: 7, "LIFE": True},
    "a path that is none": {"KEYRING_FILE": "ring\0.json"},
    "modules that break": {
        "KEYRING": published.testing_ring(),
        "DOORBELL": "breaks.ring",
        "ALERT_CHANNELS": {"pager": "breaks_too.Pager"},
    },
}


@pytest.mark.parametrize("wrong", LOCKED_OUT)
def test_no_check_locks_out_migrate(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "breaks.py").write_text("raise SystemExit(7)")
    (tmp_path / "breaks_too.py").write_text("def (")
    project = Project(tmp_path, LOCKED_OUT[wrong])
    ended = project.run("migrate", env={"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"})
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"cybs_jwt.W0" in ended.stderr
    assert b"cybs_jwt.W023" not in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_no_check_locks_out_migrate_without_a_secret_key(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.run("cybs_keyring", "generate").returncode == 0
    ended = project.run("migrate", env={"SHELL_SECRET_KEY": ""})
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"cybs_jwt" not in ended.stderr


@pytest.mark.parametrize("error", [RuntimeError, RecursionError, KeyError])
def test_w023__a_check_that_breaks_is_a_warning(
    healthy: Any, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def breaks(_path: str) -> bool:
        raise error("hunter2")

    monkeypatch.setattr(checks, "is_world_readable", breaks)
    (message,) = found()
    assert message.id == "cybs_jwt.W023"
    assert message.msg == f"check_keyring could not be carried out: {error.__name__}."


def test_no_check_locks_out_making_the_first_ring(tmp_path: Path) -> None:
    project = Project(tmp_path, {"BASE_URLS": {LIVE_HOST: "https://egress.example.com"}})
    ended = project.run("cybs_keyring", "generate")
    assert ended.returncode == 0, ended.stderr.decode()
    assert project.keyring.stat().st_mode & 0o777 == 0o600


# The doorbell


def broker(**changes: Any) -> Broker:
    faultless = {
        "configured": True,
        "transport": "redis",
        "prefetch": 1,
        "acks_late": True,
        "cancels_on_connection_loss": False,
        "time_limit": 0.0,
        "visibility": 3600.0,
        "greenlets": False,
        "reuse": 0,
    }
    return Broker(**{**faultless, **changes})


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, []),
        ({"configured": False, "prefetch": 4}, ["W014"]),
        ({"prefetch": 4}, ["W015"]),
        ({"prefetch": 0}, ["W015"]),
        ({"acks_late": False}, ["W016"]),
        ({"cancels_on_connection_loss": True}, ["W016"]),
        ({"time_limit": 60.0}, ["W017"]),
        ({"time_limit": 200.0}, []),
        ({"greenlets": True}, []),
        ({"visibility": 180.0}, ["W019"]),
        ({"visibility": 180.0, "transport": "sentinel"}, ["W019"]),
        ({"visibility": 180.0, "transport": "amqp"}, []),
    ],
)
def test_w014_to_w019__what_is_wrong_with_a_broker(
    healthy: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], warned: list[str]
) -> None:
    healthy(DOORBELL="django_cybs_jwt.tasks.ring")
    monkeypatch.setattr(doorbell, "broker", lambda: broker(**changes))
    assert ids(found()) == warned


@pytest.mark.parametrize(
    ("database", "warned"),
    [
        ({"CONN_MAX_AGE": 0}, []),
        ({"CONN_MAX_AGE": 60}, ["W018"]),
        ({"CONN_MAX_AGE": None}, ["W018"]),
        ({"CONN_MAX_AGE": 60, "OPTIONS": {"pool": True}}, []),
    ],
)
def test_w018__greenlets_must_not_keep_connections(
    healthy: Any,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    database: dict[str, Any],
    warned: list[str],
) -> None:
    healthy(DOORBELL="django_cybs_jwt.tasks.ring")
    monkeypatch.setitem(settings.DATABASES, "default", {"ENGINE": "postgresql", **database})
    monkeypatch.setattr(doorbell, "broker", lambda: broker(greenlets=True))
    assert ids(found()) == warned


@pytest.mark.parametrize(
    ("age", "reuse", "warned"),
    [(60, 0, ["W028"]), (None, 0, ["W028"]), (60, 1_000, []), (0, 0, [])],
)
def test_w028__kept_connections_are_not_to_be_closed_after_every_task(
    healthy: Any,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    age: int | None,
    reuse: int,
    warned: list[str],
) -> None:
    healthy(DOORBELL="django_cybs_jwt.tasks.ring")
    database = {"ENGINE": "postgresql", "CONN_MAX_AGE": age}
    monkeypatch.setitem(settings.DATABASES, "default", database)
    monkeypatch.setattr(doorbell, "broker", lambda: broker(reuse=reuse))
    assert ids(found()) == warned


def test_w013__a_doorbell_that_is_not_there(healthy: Any) -> None:
    healthy(DOORBELL="django_cybs_jwt.tasks.no_such_ring")
    assert ids(found()) == ["W013"]


@pytest.mark.parametrize("name", ["acme.no.Such", "tests.NoSuch", "nothing", "json.__doc__", ""])
def test_w022__a_channel_that_is_not_there(healthy: Any, name: str) -> None:
    healthy(ALERT_CHANNELS={"pager": name, "other": "tests.unit.services.alert_runs.Notebook"})
    (message,) = found()
    assert message.id == "cybs_jwt.W022"
    assert "ALERT_CHANNELS" in message.msg


def test_w014__celery_in_a_process_without_an_app(
    healthy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy(DOORBELL="django_cybs_jwt.tasks.ring")
    bare = celery.Celery("default", set_as_current=False)
    monkeypatch.setattr(tasks, "current_app", bare)
    monkeypatch.setattr(bare, "_get_current_object", lambda: bare, raising=False)
    assert ids(found()) == ["W014"]


def test_a_doorbell_of_ones_own_is_not_judged(healthy: Any) -> None:
    healthy(DOORBELL="builtins.print")
    assert ids(found()) == []


@pytest.mark.django_db
def test_w020__a_database_that_may_forget(healthy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy()
    monkeypatch.setattr(durability, "weakness", lambda: "It forgets.")
    assert ids(found(databases=["default"])) == ["W020"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("backend", "timeout", "told", "expected"),
    [
        (outgoing.SMTP, None, True, ["W021"]),
        (outgoing.SMTP, 30, True, []),
        (outgoing.SMTP, None, False, []),
        (outgoing.LOCMEM, None, True, []),
    ],
    ids=["may hang", "has a timeout", "tells nobody", "no server"],
)
def test_w021__alerts_by_a_mail_server_that_may_hang(
    settings: Any, backend: str, timeout: float | None, told: bool, expected: list[str]
) -> None:
    AlertRecipient.objects.create(channel="mail", address="ops@example.com", active=told)
    outgoing.use(settings, backend, timeout)

    assert ids(checks.check_rows(databases=["default"])) == expected


def test_w024__no_time_zones(healthy: Any, settings: Any) -> None:
    settings.USE_TZ = False
    messages = found()
    assert ids(messages) == ["W024"]
    assert "USE_TZ = True" in str(messages[0].hint)


def test_w025__versions_of_what_is_sealed(healthy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that seals nothing whoever likes keeps versions."""
    registered = {"Credential", "Organization"}
    reversion: Any = ModuleType("reversion")
    reversion.is_registered = lambda model: model.__name__ in registered
    monkeypatch.setitem(sys.modules, "reversion", reversion)
    assert found() == []
    installed = apps.is_installed
    monkeypatch.setattr(apps, "is_installed", lambda name: name == "reversion" or installed(name))
    (message,) = found()
    assert "django-reversion keeps versions of Credential." in message.msg
    registered.clear()
    options = apps.get_model("cybs_jwt", "OutboundRequest")._meta
    monkeypatch.setattr(options, "simple_history_manager_attribute", "history", raising=False)
    (message,) = found()
    assert "django-simple-history keeps versions of OutboundRequest." in message.msg


@pytest.mark.parametrize(
    ("operation", "policy"),
    [
        ("POST /pts/v2/payouts", "void"),
        ("POST /pts/v2/payouts", "resend"),
        ("POST /pts/v2/payments/{id}/voids", "search"),
        ("GET /tss/v2/transactions/{id}", "manual"),
    ],
)
def test_w026__a_policy_that_cannot_work(healthy: Any, operation: str, policy: str) -> None:
    healthy(RESOLVE={operation: policy})
    (message,) = found()
    assert (message.id, "cannot clear up" in message.msg) == ("cybs_jwt.W026", True)


def test_w026__policies_that_work_are_passed_over(healthy: Any) -> None:
    guarded = "POST /pts/v2/payments/{id}/captures"
    for policy in ("search", "void", "resend", "manual"):
        healthy(RESOLVE={guarded: policy})
        assert found() == []
    healthy(RESOLVE={"POST /pts/v2/payouts": "search"})
    assert found() == []
