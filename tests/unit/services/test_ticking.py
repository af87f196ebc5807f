"""Everything due is done by one call, twice does no harm, and one failure stops nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_cybs_jwt.models import Credential, JobRun
from django_cybs_jwt.services import rotation, ticking, verification
from django_cybs_jwt.testing.simulation import Simulation

NOW = datetime(2027, 3, 1, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def test_tick__carries_out_verifies_and_notes_its_time(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    at = NOW + timedelta(hours=1)
    rotation.rotate(row, actor="anna", now=NOW, at=at, force=True, reason="test")
    verification.request(Credential.objects.filter(pk=row.pk), actor="anna", now=NOW)

    first = ticking.tick(at)
    second = ticking.tick(at)

    assert (first["switched"], first["verified"]) == (1, 1)
    assert (second["switched"], second["verified"]) == (0, 0)
    assert JobRun.objects.get(name=ticking.JOB).succeeded_at == at


def test_tick__goes_on_after_a_part_failed_and_does_not_count_as_run(
    cybs_ring: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("planned")

    monkeypatch.setattr(rotation, "carry_out_due", fail)

    done = ticking.tick(NOW)

    assert "switched" not in done
    assert done["verified"] == 0
    assert "tick: switched failed" in caplog.text
    assert not JobRun.objects.exists()
