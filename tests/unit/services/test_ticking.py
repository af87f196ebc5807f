"""Everything due is done by one call, twice does no harm, and one failure stops nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_cybs_jwt.models import Credential, JobRun
from django_cybs_jwt.services import alerts, rotation, ticking, verification
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services.hands import Hands

NOW = datetime(2027, 3, 1, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def test_tick__carries_out_verifies_and_notes_its_time(cybs_simulator: Simulation) -> None:
    organization = cybs_simulator.merchant("acme", signs_with="shared_secret", response_mle=False)
    row = cybs_simulator.import_shared_secret(organization, activate=False)
    at = NOW + timedelta(hours=1)
    rotation.rotate(row, actor="anna", now=NOW, at=at, force=True, reason="test")
    verification.request(Credential.objects.filter(pk=row.pk), actor="anna", now=NOW)

    first = ticking.tick(at, clock=lambda: at)
    second = ticking.tick(at, clock=lambda: at)

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

    assert done["switched"] is None
    assert done["verified"] == 0
    assert "tick: switched failed" in caplog.text
    assert not JobRun.objects.filter(name=ticking.JOB).exists()


def test_tick__decides_each_part_by_the_time_at_which_it_begins(
    cybs_ring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = timedelta(minutes=1)
    seen: list[datetime] = []

    def slow(*, now: datetime) -> list[Credential]:
        seen.append(now)
        clock.moment += 6 * minute
        return []

    clock = Hands(NOW)
    monkeypatch.setattr(rotation, "carry_out_due", slow)
    monkeypatch.setattr(alerts, "raise_due", lambda now: seen.append(now) or 0)

    ticking.tick(NOW, clock=clock)

    assert seen == [NOW, NOW + 6 * minute]
    assert JobRun.objects.get(name=ticking.JOB).succeeded_at == NOW + 6 * minute


def test_tick__goes_on_from_the_time_it_was_given(cybs_ring: Any) -> None:
    ticking.tick(NOW)

    assert NOW < JobRun.objects.get(name=ticking.JOB).succeeded_at < NOW + timedelta(minutes=1)


def test_tick__asks_the_gateway_after_everybody_was_told() -> None:
    assert list(ticking.PARTS)[-2:] == ["told", "verified"]
