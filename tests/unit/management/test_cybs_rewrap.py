"""cybs_rewrap: exit codes, the report, the rate."""

from __future__ import annotations

import time
from typing import Any

import pytest

from django_cybs_jwt.models import KeyEvent
from django_cybs_jwt.sealing import kek_id_of
from tests.unit.management.running import run
from tests.unit.services import enrolment
from tests.unit.services.sealed_keys import blobs, key, use_ring

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def five_keys_under_old(settings: Any, cybs_ring: dict[str, Any]) -> None:
    use_ring(settings, "old")
    for number in range(5):
        key(f"m{number}")
    use_ring(settings, "new", old="decrypt_only")


def keks() -> set[str]:
    return set(map(kek_id_of, blobs().values()))


def test_all_moved_is_0() -> None:
    ended = run("cybs_rewrap")
    assert ended.code == 0
    assert ended.out.startswith("To new: 5 rows found, 5 moved, 0 failed, 0 left;")
    assert keks() == {"new"}


def test_the_json_report_is_the_same_in_numbers() -> None:
    report = run("cybs_rewrap", "--batch", "2", "--json").json
    assert report.pop("seconds") >= 0
    assert report.pop("rate") > 0
    assert report == {
        "primary": "new",
        "found": 5,
        "moved": 5,
        "failed_rows": 0,
        "failed": [],
        "left": 0,
        "dry_run": False,
    }


def test_who_did_it_is_audited() -> None:
    run("cybs_rewrap", "--user", "anna")
    rows = KeyEvent.objects.filter(action__startswith="rewrap")
    assert {row.actor for row in rows} == {"anna"}
    assert rows.count() == 2


def test_a_dry_run_writes_nothing_and_is_0() -> None:
    before = blobs()
    ended = run("cybs_rewrap", "--dry-run")
    assert (ended.code, blobs()) == (0, before)
    assert "5 would move" in ended.out


def test_a_limit_that_is_reached_is_0_and_says_what_is_left() -> None:
    ended = run("cybs_rewrap", "--limit", "2", "--json")
    assert (ended.code, ended.json["moved"], ended.json["left"]) == (0, 2, 3)
    assert run("cybs_rewrap", "--json").json["moved"] == 3


def test_a_secret_that_does_not_open_is_1_and_named() -> None:
    (pk, field), *_ = blobs()
    from django_cybs_jwt.models import Credential

    enrolment.change(Credential.objects.get(pk=pk), **{field: b"damaged"})
    text, report = run("cybs_rewrap"), run("cybs_rewrap", "--json")
    assert (text.code, report.code) == (1, 1)
    assert f"Credential {pk} {field}: SecretIntegrityError" in text.out
    assert [failure["subject"] for failure in report.json["failed"]] == [f"Credential {pk} {field}"]
    assert report.json["left"] == 1


def test_a_dry_run_with_a_secret_that_does_not_open_is_1(settings: Any) -> None:
    use_ring(settings, "new")
    assert run("cybs_rewrap", "--dry-run").code == 1


def test_many_failures_are_counted_and_not_all_printed(settings: Any) -> None:
    for number in range(8):
        key(f"x{number}")
    use_ring(settings, "spare")
    ended = run("cybs_rewrap")
    assert ended.out.count("KeyUnavailable") == 20
    assert ended.out.startswith("To spare: 13 rows found, 0 moved, 13 failed, 13 left;")
    assert "and 6 secrets more" in ended.out
    report = run("cybs_rewrap", "--json").json
    assert (report["failed_rows"], len(report["failed"])) == (13, 26)


def test_a_rate_is_kept() -> None:
    began = time.monotonic()
    report = run("cybs_rewrap", "--rate", "10", "--batch", "1", "--json").json
    assert time.monotonic() - began >= 0.4, "five rows at ten a second"
    assert report["rate"] <= 10.5


@pytest.mark.parametrize("option", ["--batch", "--limit", "--rate"])
@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_number_that_is_none_is_a_usage_error(option: str, number: str) -> None:
    before = blobs()
    assert run("cybs_rewrap", option, number).code != 0
    assert blobs() == before


def test_without_a_ring_it_is_2(settings: Any) -> None:
    settings.CYBS_JWT = {}
    assert run("cybs_rewrap").code == 2
