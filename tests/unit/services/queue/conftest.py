from __future__ import annotations

from typing import Any

import pytest

from django_cybs_jwt.services import signing
from django_cybs_jwt.services.queue import breakers, database_clock, retrying
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.queue import rows


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> rows.Clock:
    """A clock that stands still until it is moved, and a full budget."""
    clock = rows.Clock()
    monkeypatch.setattr(database_clock, "now", clock.now)
    monkeypatch.setattr(database_clock, "carried", clock.now)
    retrying.budget._tokens.clear()
    breakers.forget()
    return clock


@pytest.fixture
def clock(fresh: rows.Clock) -> rows.Clock:
    return fresh


@pytest.fixture
def acme(cybs_simulator: Simulation, settings: Any) -> Simulation:
    """A merchant with a shared secret and a Response MLE key."""
    owner = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    key = material.rsa_key(name="queue response")
    cybs_simulator.import_p12(owner, "response-mle", private_key=key)
    signing.forget()
    return cybs_simulator
