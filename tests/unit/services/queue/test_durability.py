"""A database that may forget a commit sends nothing from the queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, connections

from django_cybs_jwt import cybs
from django_cybs_jwt.exceptions import ConfigurationError, WeakDurability
from django_cybs_jwt.services.queue import durability, executing
from django_cybs_jwt.testing.simulation import Simulation
from tests.services import postgresql_as_default
from tests.unit.services.queue import rows

FLUSH = "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit"


@pytest.fixture(autouse=True)
def not_asked_yet() -> Iterator[None]:
    durability._proved.clear()
    yield
    durability._proved.clear()


@pytest.fixture
def sqlite_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A connection to a file, in WAL, in place of the suite's own database."""
    own = connections["default"].copy()
    own.settings_dict = {
        **own.settings_dict,
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "db.sqlite3"),
    }
    if connection.vendor != "sqlite":
        pytest.skip("SQLite alone")
    monkeypatch.setattr(durability, "connection", own)
    own.cursor().execute("PRAGMA journal_mode = WAL")
    yield own
    own.close()


@pytest.mark.django_db
@pytest.mark.parametrize(("level", "weak"), [("OFF", True), ("NORMAL", True), ("FULL", False)])
def test_sqlite__must_keep_synchronous_full(sqlite_file: Any, level: str, weak: bool) -> None:
    sqlite_file.cursor().execute(f"PRAGMA synchronous = {level}")
    assert bool(durability.weakness()) is weak


@pytest.mark.django_db
def test_it_asks_once_while_all_is_well_and_again_after_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = [None, "weak"]
    monkeypatch.setattr(durability, "weakness", told.pop)
    with pytest.raises(WeakDurability, match="weak"):
        durability.require()
    durability.require()
    durability.require()
    assert told == []


@pytest.mark.django_db
def test_nothing_is_sent_and_nothing_is_claimed(
    acme: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows.enqueue()
    monkeypatch.setattr(durability, "weakness", lambda: "It forgets.")
    with pytest.raises(ConfigurationError, match="forgets"):
        executing.send_due(row, now=row.created_at)
    with pytest.raises(ConfigurationError, match="forgets"):
        cybs.submit("acme", "POST", rows.PAYMENTS, json=rows.payment(), idempotency_key="a")
    row.refresh_from_db()
    assert (row.state, row.attempt) == ("QUEUED", 0)
    assert rows.money(acme) == []


@pytest.mark.parametrize(("level", "weak"), [("0", True), ("1", False), ("2", True), ("3", False)])
def test_mysql__must_flush_its_log_at_every_commit(
    monkeypatch: pytest.MonkeyPatch, level: str, weak: bool
) -> None:
    """Its commit is as durable as the others': what a power cut forgets is refused."""
    monkeypatch.setattr(durability, "connection", SimpleNamespace(vendor="mysql"))
    monkeypatch.setattr(durability, "_ask", {FLUSH: level}.__getitem__)
    assert bool(durability.weakness()) is weak
    assert not weak or f"= {level}. Set it to 1" in str(durability.weakness())


@pytest.mark.django_db
def test_mysql__tells_it_to_whoever_asks() -> None:
    if connection.vendor != "mysql":
        pytest.skip("MySQL and MariaDB alone")
    assert int(durability._ask(FLUSH)) in range(4)


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_postgresql__must_not_run_with_synchronous_commit_off() -> None:
    with postgresql_as_default(), connection.cursor() as cursor:
        assert durability.weakness() is None
        for level, weak in (("local", False), ("off", True)):
            cursor.execute(f"SET synchronous_commit = {level}")
            assert bool(durability.weakness()) is weak
