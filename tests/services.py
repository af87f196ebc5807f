"""Services on loopback: used where they are reachable, skipped with a reason where not.

POSTGRESQL_URL, RABBITMQ_URL and REDIS_URL say where they are. With CYBS_REQUIRE_SERVICES=1,
as in CI, a test whose service is missing fails instead of skipping.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

POSTGRESQL = "postgres://postgres@127.0.0.1:5432/cybs_jwt_services"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
REDIS = "redis://127.0.0.1:6379/0"


def requires_postgresql() -> str:
    """Its URL, or skip; fail where services are required."""
    pytest.importorskip("psycopg")
    return _reachable("PostgreSQL", "POSTGRESQL_URL", POSTGRESQL, port=5432)


def requires_rabbitmq() -> str:
    """Its URL, or skip; fail where services are required."""
    return _reachable("RabbitMQ", "RABBITMQ_URL", RABBITMQ, port=5672)


def requires_redis() -> str:
    """Its URL, or skip; fail where services are required."""
    return _reachable("Redis", "REDIS_URL", REDIS, port=6379)


@contextmanager
def scratch_postgresql(name: str) -> Iterator[str]:
    """The URL of a new, empty database of that name; dropped at the end."""
    import psycopg

    server = urlsplit(requires_postgresql())
    admin = server._replace(path="/postgres").geturl()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield server._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgresql_as_default() -> Iterator[None]:
    """While open, Django's default database is a new PostgreSQL one, in every thread.

    Wrap it in a module-scoped fixture that takes `django_db_setup` and `django_db_blocker`;
    the tests then use `transactional_db` as usual. A suite that runs on PostgreSQL stays there.
    """
    from django.db import connections

    if connections["default"].vendor == "postgresql":
        yield
        return
    url = requires_postgresql()
    before, connection = connections.settings["default"], connections["default"]
    connections.settings["default"] = {**before, **_database(url), "OPTIONS": {}}
    del connections["default"]
    try:
        creation = connections["default"].creation
        creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        try:
            yield
        finally:
            creation.destroy_test_db(before["NAME"], verbosity=0)
    finally:
        connections.settings["default"] = before
        connections["default"] = connection


def _database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    name = f"{parts.path.lstrip('/')}_{os.getpid()}"
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "TEST": {"NAME": f"test_{name}", "CHARSET": None, "MIGRATE": True, "MIRROR": None},
    }


def _reachable(name: str, variable: str, default: str, *, port: int) -> str:
    url = os.environ.get(variable) or default
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or port), timeout=1).close()
    except OSError as error:
        _missing(f"{name} is not reachable at {parts.hostname}:{parts.port or port} ({error}).")
    return url


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CYBS_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{reason} CYBS_REQUIRE_SERVICES=1 asks for it.", pytrace=False)
    pytest.skip(reason)
