"""pytest fixtures: `pytest_plugins = ["django_cybs_jwt.testing.plugin"]` in your conftest.py.

They build on pytest-django; the extra `testing` brings both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from django_cybs_jwt.testing.ring import testing_ring

if TYPE_CHECKING:
    from django_cybs_jwt.testing.simulation import Simulation


@pytest.fixture
def cybs_ring(settings: Any) -> Iterator[dict[str, Any]]:
    """Settings with the published key ring; what this process learns is no other test's."""
    from django_cybs_jwt.services import usage  # late: Django is set up by now

    ring = testing_ring()
    settings.CYBS_JWT = {**getattr(settings, "CYBS_JWT", {}), "KEYRING": ring}
    _forget()
    try:
        with usage.held():
            yield ring
    finally:
        _forget()


@pytest.fixture
def cybs_simulator(db: None, cybs_ring: dict[str, Any]) -> Iterator[Simulation]:
    """A gateway in this process: enrol merchants, send, look at its ledger, inject faults."""
    from django_cybs_jwt.testing.simulation import Simulation  # late, as above

    with Simulation().in_process() as simulation:
        yield simulation


def _forget() -> None:
    """Keys in memory, closed hosts, used-up retries and the database's clock."""
    from django_cybs_jwt.services import signing  # late, as above
    from django_cybs_jwt.services.queue import breakers, database_clock, retrying

    signing.forget()
    breakers.forget()
    retrying.budget.forget()
    database_clock.forget()
