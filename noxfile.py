"""The matrix: which Python with which Django, each half alone, databases, the oldest of all."""

from __future__ import annotations

import nox

nox.options.sessions = ["tests", "pythons", "pure", "oldest"]
nox.options.error_on_missing_interpreters = False

MATRIX = [
    ("3.11", "5.2"),
    ("3.12", "5.2"),
    ("3.12", "6.0"),
    ("3.12", "6.1"),
    ("3.13", "5.2"),
    ("3.13", "6.0"),
    ("3.13", "6.1"),
]
# What touches Django; the rest is the same under every version of it and runs once a Python.
DJANGO_SIDE = [
    "tests/unit/services",
    "tests/unit/models",
    "tests/unit/management",
    "tests/unit/admin",
    "tests/unit/test_conf.py",
    "tests/unit/test_checks.py",
    "tests/unit/test_catalogue.py",
    "tests/unit/test_architecture.py",
    "tests/unit/test_no_leaks.py",
    "tests/unit/test_tasks.py",
    "tests/unit/test_logs.py",
    "tests/acceptance",
]
EXAMPLE = ["-c", "example_project/pytest.toml", "--rootdir", "example_project", "example_project"]
PURE_SIDE = [
    "tests/unit/protocol",
    "tests/unit/sealing",
    "tests/unit/client",
    "tests/unit/simulator",
    "tests/unit/testing",
]
# What measures time is for `make test`, and so is what starts processes.
SIDE_BY_SIDE = ["-q", "-m", "not alone", "--numprocesses", "auto"]
# The matrix runs on SQLite; `make test` has the services to itself.
NO_SERVICES = {"CYBS_REQUIRE_SERVICES": "", "POSTGRESQL_URL": "postgres://127.0.0.1:1/none"}
PYPROJECT = nox.project.load_toml("pyproject.toml")
TEST = nox.project.dependency_groups(PYPROJECT, "test")


@nox.session
@nox.parametrize("python,django", MATRIX)
def tests(session: nox.Session, django: str) -> None:
    """The Django side of the unit suite, on SQLite."""
    session.install("-e", ".", f"django=={django}.*", *TEST)
    session.run("pytest", *SIDE_BY_SIDE, *DJANGO_SIDE, *session.posargs, env=NO_SERVICES)
    session.run("pytest", "-q", *EXAMPLE, env=NO_SERVICES)


@nox.session
def postgresql(session: nox.Session) -> None:
    """The Django side of the unit suite on PostgreSQL, where DATABASE_URL says it is."""
    session.install("-e", ".", *TEST)
    _on(session, "postgres://postgres@127.0.0.1:5432/cybs_jwt_suite")


@nox.session
def mariadb(session: nox.Session) -> None:
    """The same on MariaDB or MySQL. mysqlclient is built, which takes their C library."""
    session.install("-e", ".[mysql]", *TEST)
    _on(session, "mysql://root@127.0.0.1:3306/cybs_jwt_suite")


def _on(session: nox.Session, usual: str) -> None:
    url = session.env.get("DATABASE_URL") or usual
    line = ["pytest", *SIDE_BY_SIDE, *DJANGO_SIDE, *session.posargs]
    session.run(*line, env={"DATABASE_URL": url})


@nox.session(python=["3.12", "3.13"])
def pythons(session: nox.Session) -> None:
    """The pure side under the other Pythons; `make test` runs it under this one."""
    session.install("-e", ".", *TEST)
    session.run("pytest", *SIDE_BY_SIDE, *PURE_SIDE, *session.posargs, env=NO_SERVICES)


@nox.session
def pure(session: nox.Session) -> None:
    """Without Django and Celery: keys, messages, sealing, clients and the simulator."""
    session.install("cryptography", "pyjwt", "joserfc", "httpx")
    session.run("python", "-m", "tests.pure")


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """With the oldest version of everything that is declared."""
    session.install("-e", ".", *TEST, "--constraint", "tests/constraints/oldest.txt")
    sides = [*DJANGO_SIDE, *PURE_SIDE]
    session.run("pytest", *SIDE_BY_SIDE, *sides, *session.posargs, env=NO_SERVICES)
