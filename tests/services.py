"""Services on loopback: used where they are reachable, skipped with a reason where not.

POSTGRESQL_URL, RABBITMQ_URL and REDIS_URL say where they are. With CYBS_REQUIRE_SERVICES=1,
as in CI, a test whose service is missing fails instead of skipping.
"""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

POSTGRESQL = "postgres://postgres@127.0.0.1:5432/cybs_jwt_services"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
REDIS = "redis://127.0.0.1:6379/0"


def requires_postgresql() -> str:
    """Its URL, or skip; fail where services are required."""
    return _at("PostgreSQL", "POSTGRESQL_URL", POSTGRESQL, _log_in_to_postgresql)


def requires_rabbitmq() -> str:
    """Its URL, or skip; fail where services are required."""
    return _at("RabbitMQ", "RABBITMQ_URL", RABBITMQ, _log_in_to_rabbitmq)


def requires_redis() -> str:
    """Its URL, or skip; fail where services are required."""
    return _at("Redis", "REDIS_URL", REDIS, _log_in_to_redis)


def requires_module(name: str) -> Any:
    """That module, or skip; fail where services are required."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"{name} is not installed: pip install --group test.")


def requires_program(name: str) -> str:
    """Its path, or skip; fail where services are required."""
    return shutil.which(name) or missing(f"{name} is not installed.")


def missing(reason: str) -> NoReturn:
    """Skip for that reason; fail where services are required."""
    if os.environ.get("CYBS_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{reason} CYBS_REQUIRE_SERVICES=1 asks for it.", pytrace=False)
    pytest.skip(reason)


@contextmanager
def scratch_postgresql(name: str) -> Iterator[str]:
    """The URL of a new, empty database whose name begins so; dropped at the end."""
    import psycopg

    server, own = urlsplit(requires_postgresql()), _unique(name)
    admin = server._replace(path="/postgres").geturl()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {own}")
    try:
        yield server._replace(path=f"/{own}").geturl()
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {own} WITH (FORCE)")


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


def default_database_url() -> str:
    """Of the default database as it is now, for a process that shares it."""
    from django.db import connections

    settings = connections["default"].settings_dict
    scheme = {"postgresql": "postgres"}.get(connections["default"].vendor, "mysql")
    password = f":{settings['PASSWORD']}" if settings["PASSWORD"] else ""
    port = f":{settings['PORT']}" if settings["PORT"] else ""
    who = f"{settings['USER']}{password}@{settings['HOST']}{port}"
    return f"{scheme}://{who}/{settings['NAME']}"


def _database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    name = _unique(parts.path.lstrip("/"))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "TEST": {"NAME": f"test_{name}", "CHARSET": None, "MIGRATE": True, "MIRROR": None},
    }


def _unique(name: str) -> str:
    """No run meets what another left, in whatever container it has the same process id."""
    return f"{name}_{uuid.uuid4().hex[:12]}"


def _at(name: str, variable: str, default: str, log_in: Callable[[str], str]) -> str:
    url = os.environ.get(variable) or default
    if refused := log_in(url):
        parts = urlsplit(url)
        missing(f"{name} at {parts.hostname}:{parts.port} lets nobody in ({refused}).")
    return url


# What each says to a log-in is asked once; its errors name no password, but the type is enough.


@functools.cache
def _log_in_to_postgresql(url: str) -> str:
    psycopg = requires_module("psycopg")
    admin = urlsplit(url)._replace(path="/postgres").geturl()
    try:
        psycopg.connect(admin, connect_timeout=5).close()
    except psycopg.Error as error:
        return type(error).__name__
    return ""


@functools.cache
def _log_in_to_rabbitmq(url: str) -> str:
    from kombu import Connection

    with Connection(url, connect_timeout=5) as connection:
        try:
            connection.connect()
        except (*connection.connection_errors, *connection.channel_errors) as error:
            return type(error).__name__
    return ""


@functools.cache
def _log_in_to_redis(url: str) -> str:
    redis = requires_module("redis")
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as store:
            store.ping()
    except redis.RedisError as error:
        return type(error).__name__
    return ""
