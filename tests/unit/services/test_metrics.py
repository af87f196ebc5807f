"""The metrics, and the rules that are shipped with them, evaluated over what is rendered."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.models import AlertRecipient, JobRun, State
from django_cybs_jwt.sealing import KeyRing
from django_cybs_jwt.services import alerts, metrics
from django_cybs_jwt.testing.simulation import Simulation
from tests import mail as outgoing
from tests.unit.services import enrolment, estate, prometheus
from tests.unit.services.estate import DAY, NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cybs_ring")]

END = "cybs_jwt_end_timestamp_seconds"


def samples(now: datetime = NOW) -> prometheus.Samples:
    return prometheus.read_samples(metrics.render(now))


def rules() -> list[prometheus.Rule]:
    return prometheus.read_rules(metrics.prometheus_rules())


def rule(name: str) -> prometheus.Rule:
    return next(one for one in rules() if one.name == name)


def firing(now: datetime = NOW) -> dict[str, int]:
    """Rules that fire, and for how many series, where all rows were there all the time."""

    @cache
    def history(moment: float) -> prometheus.Samples:
        return samples(datetime.fromtimestamp(moment, UTC))

    found = {one.name: len(one.firing(history, now.timestamp())) for one in rules()}
    return {name: count for name, count in found.items() if count}


@pytest.fixture
def ticked() -> None:
    JobRun.objects.create(name="tick", succeeded_at=NOW)


@pytest.mark.usefixtures("ticked")
def test_a_key_in_use_is_a_timestamp_with_its_blast_radius() -> None:
    mall = estate.organization("mall", kind="portfolio")
    for n in range(17):
        estate.organization(f"mid{n}", parent=mall)
    row = estate.key(mall, days=20, covers="all")

    ((labels, value),) = samples()[END]

    assert value == (NOW + 20 * DAY).timestamp()
    assert labels == {
        "artefact": "signing-certificate",
        "organization": "mall",
        "host": estate.LIVE_HOST,
        "environment": "live",
        "key_id": row.key_id,
        "id": str(row.pk),
        "successor": "none",
    }
    assert samples()["cybs_jwt_end_stops_merchants"] == [(labels, 17)]


def test_only_what_an_alert_can_be_about_has_a_series() -> None:
    estate.key(estate.organization("far"), days=91)
    estate.key(estate.organization("waiting"), days=20, state=State.STAGED)
    estate.key(estate.organization("ended"), days=-500)

    assert [labels["organization"] for labels, _ in samples()[END]] == ["ended"]


def test_job_alerts_and_deliveries_are_counted() -> None:
    estate.key(estate.organization("acme"), days=20)
    estate.key(estate.organization("endless"), days=None)
    AlertRecipient.objects.create(channel="mail", address="a@example.com")
    alerts.raise_due(NOW)
    before = samples()
    alerts_by_severity = {
        labels["severity"]: value for labels, value in before["cybs_jwt_open_alerts"]
    }
    JobRun.objects.create(name="tick", succeeded_at=NOW)

    assert alerts_by_severity == {"info": 0, "warning": 1, "critical": 0}
    assert before["cybs_jwt_keys_without_end"] == [({}, 1)]
    assert before["cybs_jwt_tick_timestamp_seconds"] == [({}, 0)]
    assert samples()["cybs_jwt_tick_timestamp_seconds"] == [({}, NOW.timestamp())]


@pytest.mark.parametrize("name", ['a"} 1\nevil 1', "back\\slash", "new\nline", 'quo"te', "ü\u2028"])
def test_a_hostile_name_stays_inside_its_label(name: str) -> None:
    row = estate.key(estate.organization("acme"), days=20)
    enrolment.move(row.organization, org_id=name)

    text = metrics.render(NOW)

    lines = [line for line in text.split("\n") if line.startswith(END)]
    assert len(lines) == 1
    assert 'organization="' in lines[0]
    assert "\nevil" not in text


RULES = {
    "CybsKeyEnded": ("critical", ""),
    "CybsKeyEndsInAWeek": ("critical", "10m"),
    "CybsKeyEndsInAMonth": ("warning", "1h"),
    "CybsTestKeyEnded": ("info", "1h"),
    "CybsKekIsOld": ("warning", "1h"),
    "CybsTickIsSilent": ("critical", ""),
    "CybsMetricsAreMissing": ("warning", "1h"),
    "CybsAlertsAreNotDelivered": ("warning", "8h"),
    "CybsQueueWaits": ("critical", "2m"),
    "CybsInDoubtForLong": ("warning", ""),
    "CybsParked": ("warning", ""),
}


def test_rules__are_yaml_that_is_understood_and_speaks_of_metrics_that_are_rendered() -> None:
    assert {one.name: (one.severity, one.held_for) for one in rules()} == RULES
    rendered = set(samples())
    for one in rules():
        named = {token for token in prometheus.tokens(one.expr) if token.startswith("cybs_jwt")}
        assert named, one.name
        assert named <= rendered
        assert one.annotations.keys() == {"summary", "description"}


@pytest.mark.usefixtures("ticked")
def test_rules__name_only_labels_that_their_series_have(cybs_simulator: Simulation) -> None:
    cybs_simulator.merchant("acme", signs_with="shared_secret")
    estate.key(estate.organization("mall"), days=5)
    cybs.enqueue("acme", "GET", "/tss/v2/transactions/1", idempotency_key="1")
    seen = samples(timezone.now())
    for one in rules():
        (name,) = {token for token in prometheus.tokens(one.expr) if token in seen}
        wanted = set(re.findall(r"\$labels\.(\w+)", " ".join(one.annotations.values())))
        assert all(wanted <= labels.keys() for labels, _ in seen[name]), one.name
        assert not wanted or seen[name], one.name


@pytest.mark.parametrize("expr", ["cybs_jwt_x > 1 or", "cybs_jwt_x[5m] > 1", "time() > ", "x{a=1}"])
def test_rules__in_a_language_that_is_not_understood_are_an_error(expr: str) -> None:
    one = prometheus.Rule("Wrong", expr, "warning")
    with pytest.raises((AssertionError, IndexError)):
        one.pending({"cybs_jwt_x": [({}, 2.0)]}, 0.0)


@pytest.mark.parametrize(
    ("waited", "blip", "fires"),
    [(8.1, None, True), (7.9, None, False), (24, None, True), (24, 4, False), (24, 9, True)],
)
def test_rules__fire_when_they_were_true_for_as_long_as_they_say(
    waited: float, blip: float | None, fires: bool
) -> None:
    """*waited* hours of pending deliveries, except *blip* hours ago."""
    now = NOW.timestamp()

    def history(moment: float) -> prometheus.Samples:
        ago = (now - moment) / 3600
        pending = ago <= waited and (blip is None or abs(ago - blip) > 0.5)
        return {"cybs_jwt_pending_deliveries": [({}, float(pending))]}

    one = rule("CybsAlertsAreNotDelivered")

    assert one.patience == 8 * 3600
    assert bool(one.firing(history, now)) is fires


@pytest.mark.usefixtures("ticked")
@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (400, set()),
        (89, set()),
        (31, set()),
        (29, {"CybsKeyEndsInAMonth"}),
        (8, {"CybsKeyEndsInAMonth"}),
        (6.9, {"CybsKeyEndsInAMonth", "CybsKeyEndsInAWeek"}),
        (0.01, {"CybsKeyEndsInAMonth", "CybsKeyEndsInAWeek"}),
        (0, {"CybsKeyEndsInAMonth", "CybsKeyEndsInAWeek", "CybsKeyEnded"}),
        (-30, {"CybsKeyEndsInAMonth", "CybsKeyEndsInAWeek", "CybsKeyEnded"}),
    ],
)
def test_rules__fire_for_a_key_that_ends_and_not_for_one_that_lasts(
    days: float, expected: set[str]
) -> None:
    estate.key(estate.organization("fine"), days=500)
    estate.key(estate.organization("acme"), days=days)

    assert firing() == dict.fromkeys(expected, 1)


@pytest.mark.usefixtures("ticked")
def test_rules__a_verified_successor_calms_the_month_a_scheduled_one_the_week_too() -> None:
    verified = estate.key(estate.organization("acme"), days=6)
    scheduled = estate.key(estate.organization("shop"), days=6)
    estate.successor(verified)
    estate.successor(scheduled, activate_at=NOW + DAY)

    assert firing() == {"CybsKeyEndsInAWeek": 1}


@pytest.mark.usefixtures("ticked")
def test_rules__an_ended_test_key_pages_nobody() -> None:
    estate.key(estate.organization("acme", host=estate.HOST), days=-3)

    assert firing() == {"CybsTestKeyEnded": 1}


@pytest.mark.usefixtures("ticked")
def test_rules__an_old_key_encryption_key_is_a_warning(settings: Any) -> None:
    for created, expected in [(date(2026, 9, 1), {}), (date(2025, 11, 1), {"CybsKekIsOld": 1})]:
        ring = json.loads(KeyRing.generate("kek", created=created).to_json())
        settings.CYBS_JWT = {"KEYRING": ring, "LIVE": True}

        assert firing() == expected


@pytest.mark.parametrize(
    ("hours", "expected"),
    [(None, {"CybsTickIsSilent": 1}), (1, {}), (25.9, {}), (26.1, {"CybsTickIsSilent": 1})],
)
def test_rules__a_silent_job_fires_after_26_hours(
    hours: float | None, expected: dict[str, int]
) -> None:
    if hours is not None:
        JobRun.objects.create(name="tick", succeeded_at=NOW - timedelta(hours=hours))

    assert firing() == expected


@pytest.mark.usefixtures("ticked")
def test_rules__what_cannot_be_handed_over_fires(settings: Any) -> None:
    from django_cybs_jwt.services.alerts import delivery

    outgoing.use(settings, "no.such.backend.Backend")
    estate.key(estate.organization("acme", host=estate.HOST), days=20)
    AlertRecipient.objects.create(channel="mail", address="a@example.com")
    alerts.raise_due(NOW)
    delivery.deliver(NOW)
    assert firing() == {"CybsAlertsAreNotDelivered": 1}

    outgoing.use(settings, outgoing.LOCMEM)
    delivery.deliver(NOW + DAY)
    assert "CybsAlertsAreNotDelivered" not in firing()


def test_rules__metrics_that_are_gone_fire() -> None:
    one, now = rule("CybsMetricsAreMissing"), NOW.timestamp()

    assert one.firing(lambda _: {}, now) == [{}]
    assert one.firing(lambda _: samples(), now) == []
