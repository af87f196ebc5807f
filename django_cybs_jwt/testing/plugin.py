"""pytest fixtures: `pytest_plugins = ["django_cybs_jwt.testing.plugin"]` in your conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from django_cybs_jwt.testing.ring import testing_ring

if TYPE_CHECKING:
    from django_cybs_jwt.testing.simulation import Simulation


@pytest.fixture
def cybs_ring(settings: Any) -> Iterator[dict[str, Any]]:
    """Settings with the published key ring; no key and no breaker left over from another test."""
    from django_cybs_jwt.services import signing, usage
    from django_cybs_jwt.services.queue import breakers  # late: Django is set up by now

    ring = testing_ring()
    settings.CYBS_JWT = {**getattr(settings, "CYBS_JWT", {}), "KEYRING": ring}
    signing.forget()
    breakers.forget()
    with usage.held():
        yield ring


@pytest.fixture
def cybs_simulator(db: None, cybs_ring: dict[str, Any]) -> Iterator[Simulation]:
    """A gateway in this process: enrol merchants, send, look at its ledger, inject faults."""
    from django_cybs_jwt.testing.simulation import Simulation  # late, as above

    with Simulation().in_process() as simulation:
        yield simulation
