"""What `check --database default` finds on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from django_cybs_jwt import checks
from tests.services import postgresql_as_default
from tests.unit.services import enrolment

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("postgresql", "cybs_ring"),
]


@pytest.fixture(scope="module")
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), postgresql_as_default():
        yield


@pytest.mark.parametrize(
    ("jit", "many", "expected"),
    [("on", 0, ["cybs_jwt.W027"]), ("off", 0, []), ("on", 1, [])],
    ids=["compiled", "not compiled", "few"],
)
def test_w027__counts_over_many_are_not_to_be_compiled(
    monkeypatch: pytest.MonkeyPatch, jit: str, many: int, expected: list[str]
) -> None:
    enrolment.organization("acme")
    monkeypatch.setattr(checks, "MANY", many)
    with connection.cursor() as cursor:
        cursor.execute(f"SET jit = {jit}")
    try:
        assert [each.id for each in checks.check_rows(databases=["default"])] == expected
    finally:
        connection.close()
