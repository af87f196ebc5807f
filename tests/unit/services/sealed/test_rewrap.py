"""A rewrap moves every sealed secret to the primary key, and changes and loses nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.db.models import BinaryField
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.models import Credential, KeyEvent
from django_cybs_jwt.sealing import KeyRing, kek_id_of, payload_digest, ring_file, seal
from django_cybs_jwt.sealing import rewrap as blob_rewrap
from django_cybs_jwt.services import epoch, signing, withdrawal
from django_cybs_jwt.services.keys import sealing_context
from django_cybs_jwt.services.sealed import proof as sealed_proof
from django_cybs_jwt.services.sealed import rewrap
from django_cybs_jwt.services.sealed.columns import TABLES
from django_cybs_jwt.services.sealed.rewrap import Report
from tests.services import postgresql_as_default
from tests.unit.services import enrolment
from tests.unit.services.sealed_keys import blobs, key, use_ring

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def sealed_under_old(settings: Any, cybs_ring: dict[str, Any]) -> None:
    use_ring(settings, "old")


def run(**options: Any) -> Report:
    return rewrap.run(actor="operator", now=timezone.now(), **options)


def keks() -> list[str]:
    return [kek_id_of(blob) for blob in blobs().values()]


def everything_opens() -> bool:
    proof = sealed_proof.prove()
    return not list(proof.findings()) and proof.opened.total() == len(blobs())


def other_columns() -> list[dict[str, Any]]:
    sealed = {"sealed_secret", "sealed_p12"}
    names = [f.attname for f in Credential._meta.concrete_fields if f.name not in sealed]
    return list(Credential.objects.order_by("pk").values(*names))


def events() -> list[tuple[str, str, str]]:
    rows = KeyEvent.objects.filter(action__startswith="rewrap").order_by("seq")
    return [(row.action, row.actor, row.reason) for row in rows]


# -- what it moves --


def test_every_sealed_column_of_the_app_is_in_the_table() -> None:
    """A column that is added and not listed would be lost with its key-encryption key."""
    binary = {
        (model, field.name)
        for model in apps.get_app_config("cybs_jwt").get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, BinaryField)
    }
    listed = {(table.model, name) for table in TABLES for name in table.proofs}
    assert listed == binary
    assert {name for _, name in listed} >= {"sealed_secret", "sealed_p12"}


def test_all_is_under_the_primary_key_afterwards_and_opens(settings: Any) -> None:
    for number in range(5):
        key(f"m{number}")
    before = {place: payload_digest(blob) for place, blob in blobs().items()}
    use_ring(settings, "new", old="decrypt_only")

    report = run(size=2)

    assert (report.total, report.moved, report.failed, report.remaining) == (5, 5, {}, 0)
    assert keks() == ["new"] * 10
    assert everything_opens()
    assert {place: payload_digest(blob) for place, blob in blobs().items()} == before


def test_the_old_key_is_not_needed_any_more(settings: Any) -> None:
    row = key()
    use_ring(settings, "new", old="decrypt_only")
    run()

    use_ring(settings, "new")

    assert signing.keys_for("acme").signing.kid == row.key_id
    assert everything_opens()


def test_nothing_else_changes_not_the_version_and_not_the_epoch(settings: Any) -> None:
    """Approvals stay valid and other processes keep their opened keys: the key is the same."""
    key()
    key("second", activate=False)
    use_ring(settings, "new", old="decrypt_only")
    before = other_columns(), epoch.value()

    run()

    assert (other_columns(), epoch.value()) == before


def test_a_row_without_an_original_file_and_a_destroyed_one_are_no_obstacle(settings: Any) -> None:
    acme = enrolment.organization()
    enrolment.shared_secret(acme)
    gone = key("gone", activate=False)
    withdrawal.destroy(gone, actor="a", now=timezone.now(), reason="r")
    use_ring(settings, "new", old="decrypt_only")

    report = run()

    assert (report.total, report.moved, report.remaining) == (1, 1, 0)
    assert keks() == ["new"]
    gone.refresh_from_db()
    assert (gone.sealed_secret, gone.sealed_p12) == (None, None)


def test_a_row_that_is_half_moved_is_finished(settings: Any) -> None:
    row = key()
    before = blobs()[row.pk, "sealed_p12"]
    use_ring(settings, "new", old="decrypt_only")
    run()
    enrolment.change(row, sealed_p12=before)

    report = run()

    assert report.moved == 1
    assert keks() == ["new", "new"]
    assert everything_opens()


def test_running_again_moves_nothing(settings: Any) -> None:
    key()
    use_ring(settings, "new", old="decrypt_only")
    run()
    before = blobs()

    report = run()

    assert (report.total, report.moved) == (0, 0)
    assert blobs() == before


def test_rows_that_are_done_are_passed_over_without_reading_their_blobs(settings: Any) -> None:
    for number in range(3):
        key(f"m{number}")
    with CaptureQueriesContext(connection) as queries:
        run()
    read = [query["sql"].partition(" FROM ")[0] for query in queries]
    assert any(sql.startswith("SELECT") for sql in read)
    assert not any("sealed_secret" in sql for sql in read)


def test_a_limit_is_kept_and_the_next_run_goes_on(settings: Any) -> None:
    for number in range(5):
        key(f"m{number}")
    use_ring(settings, "new", old="decrypt_only")

    first, second = run(limit=3, size=2), run()

    assert (first.moved, first.remaining) == (3, 2)
    assert (second.total, second.moved, second.remaining) == (2, 2, 0)
    assert everything_opens()


def test_it_tells_how_far_it_is_after_each_transaction(settings: Any) -> None:
    for number in range(5):
        key(f"m{number}")
    use_ring(settings, "new", old="decrypt_only")
    told: list[int] = []

    run(size=2, after_batch=lambda report: told.append(report.moved))

    assert told == [2, 4, 5]


def test_what_a_newer_run_has_moved_is_not_moved_back(settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "ring.json"
    ring_file.write_new(path, KeyRing.from_mapping(settings.CYBS_JWT["KEYRING"]))
    settings.CYBS_JWT = {"KEYRING_FILE": path}
    row = key()
    assert conf.keyring().primary_id == "old"

    newer = ring_file.change(path, lambda ring: ring.with_new("newer").promoted("newer"))
    context = sealing_context(row, "sealed_secret")
    moved = blob_rewrap(row.sealed_secret, context=context, ring=newer)
    enrolment.change(row, sealed_secret=moved)
    report = run()

    assert sorted(keks()) == ["newer", "old"]
    assert (report.moved, report.failed_rows) == (0, 1)
    assert everything_opens()


def test_beginning_and_end_are_audited(settings: Any) -> None:
    key()
    use_ring(settings, "new", old="decrypt_only")

    run()

    assert events() == [
        ("rewrap-begin", "operator", "to new: 1 to move"),
        ("rewrap-end", "operator", "to new: 1 moved, 0 failed, 0 remain"),
    ]


def test_a_dry_run_tries_everything_and_writes_nothing(settings: Any) -> None:
    key("good")
    bad = key("bad")
    enrolment.change(bad, sealed_secret=b"damaged")
    use_ring(settings, "new", old="decrypt_only")
    before = blobs(), KeyEvent.objects.count()

    with CaptureQueriesContext(connection) as queries:
        report = run(dry_run=True)

    assert (report.total, report.moved) == (2, 2)
    assert list(report.failed) == [f"Credential {bad.pk} sealed_secret"]
    assert (blobs(), KeyEvent.objects.count()) == before
    assert not [q for q in queries if q["sql"].startswith(("UPDATE", "INSERT", "DELETE"))]


# -- what does not open --

BROKEN: dict[str, tuple[Callable[[Credential], dict[str, Any]], str]] = {
    "garbage": (lambda _: {"sealed_secret": b"damaged"}, "SecretIntegrityError"),
    "empty": (lambda _: {"sealed_secret": b""}, "SecretIntegrityError"),
    "another row's": (
        lambda other: {"sealed_secret": other.sealed_secret},
        "SecretIntegrityError",
    ),
    "the other column's": (
        lambda _: {"sealed_secret": Credential.objects.get(key_id="bad").sealed_p12},
        "SecretIntegrityError",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_secret_that_does_not_open_is_named_and_left_and_stops_no_other(
    settings: Any, name: str
) -> None:
    good, bad = key("good"), key("bad")
    enrolment.change(bad, key_id="bad")
    change, error = BROKEN[name]
    enrolment.change(bad, **change(good))
    left = blobs()[bad.pk, "sealed_secret"]
    use_ring(settings, "new", old="decrypt_only")

    report = run(size=1)

    assert list(report.failed) == [f"Credential {bad.pk} sealed_secret"]
    assert report.failed[f"Credential {bad.pk} sealed_secret"].startswith(error)
    assert report.remaining == 1
    assert blobs()[bad.pk, "sealed_secret"] == left
    assert sorted(map(kek_id_of, (b for (pk, _), b in blobs().items() if pk == good.pk))) == [
        "new",
        "new",
    ]
    assert kek_id_of(blobs()[bad.pk, "sealed_p12"]) == "new", "its other column is sound"
    assert events()[-1][2] == "to new: 2 moved, 1 failed, 1 remain"


@pytest.mark.parametrize(
    ("ring", "error"), [({"old": "blocked"}, "KeyBlocked"), ({}, "KeyUnavailable")]
)
def test_a_key_that_is_blocked_or_missing_is_named(
    settings: Any, ring: dict[str, str], error: str
) -> None:
    key()
    before = blobs()
    use_ring(settings, "new", **ring)

    report = run()

    assert (report.moved, report.remaining) == (0, 1)
    assert all(reason.startswith(f"{error}: ") for reason in report.failed.values())
    assert all("'old'" in reason for reason in report.failed.values())
    assert blobs() == before


# -- beside others --


def work(report: Report) -> rewrap._Work:
    return rewrap._Work(TABLES[0], conf.keyring(), report, None, False)


def test_what_was_written_meanwhile_is_not_overwritten(settings: Any) -> None:
    """Between reading and writing another process re-sealed one key and destroyed another."""
    rows = [key(f"m{number}") for number in range(3)]
    use_ring(settings, "new", old="decrypt_only")
    report = Report(primary="new", total=3)
    with transaction.atomic():
        taken = work(report)._take(None, 10, waiting=False)
        use_ring(settings, "spare")
        blob = reseal(rows[0])
        withdrawal.retire(rows[1], actor="a", now=timezone.now(), reason="r")
        withdrawal.destroy(rows[1], actor="a", now=timezone.now(), reason="r")
        use_ring(settings, "new", old="decrypt_only")
        moved = work(report)._move(taken)

    assert moved == 1
    assert blobs()[rows[0].pk, "sealed_secret"] == blob
    assert (rows[1].pk, "sealed_secret") not in blobs()
    assert kek_id_of(blobs()[rows[2].pk, "sealed_secret"]) == "new"


def reseal(row: Credential) -> bytes:
    context = TABLES[0].context(row, "sealed_secret")
    blob = seal(b"newer", context=context, ring=conf.keyring())
    enrolment.change(row, sealed_secret=blob)
    return blob


@pytest.fixture(scope="module")
def postgresql(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), postgresql_as_default():
        yield


def in_thread(act: Callable[[], Any]) -> threading.Thread:
    def run_and_close() -> None:
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run_and_close)
    thread.start()
    return thread


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_a_locked_row_is_passed_over_and_moved_when_it_is_free(
    postgresql: None, settings: Any
) -> None:
    rows = [key(f"m{number}") for number in range(6)]
    use_ring(settings, "new", old="decrypt_only")
    first = min(row.pk for row in rows)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Credential.objects.select_for_update().get(pk=first)
            held.set()
            release.wait(20)

    told: list[int] = []

    def note(report: Report) -> None:
        told.append(report.moved)
        if report.moved == 5:
            release.set()

    holder = in_thread(hold)
    held.wait(20)
    report = run(size=2, after_batch=note)
    holder.join(60)

    assert told == [2, 4, 5, 6], "five while the first was locked, then that one"
    assert (report.moved, report.remaining) == (6, 0)
    assert everything_opens()


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_somebody_who_locks_rows_against_the_order_is_not_deadlocked(
    postgresql: None, settings: Any
) -> None:
    rows = [key(f"m{number}") for number in range(40)]
    use_ring(settings, "new", old="decrypt_only")
    order = sorted((row.pk for row in rows), reverse=True)
    errors: list[Exception] = []
    stop = threading.Event()

    def lock_backwards() -> None:
        while not stop.is_set():
            try:
                with transaction.atomic():
                    for pk in order[:10]:
                        Credential.objects.select_for_update().get(pk=pk)
            except Exception as error:  # noqa: BLE001  # a deadlock is what the test looks for
                errors.append(error)

    locker = in_thread(lock_backwards)
    reports = []
    for primary, other in (("new", "old"), ("old", "new"), ("new", "old")):
        use_ring(settings, primary, **{other: "decrypt_only"})
        reports.append(run(size=40))
    stop.set()
    locker.join(60)

    assert errors == []
    assert [(report.moved, report.remaining) for report in reports] == [(40, 0)] * 3
    assert everything_opens()


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_imports_beside_a_rewrap_are_kept(postgresql: None, settings: Any) -> None:
    for number in range(30):
        key(f"m{number}")
    use_ring(settings, "new", old="decrypt_only")
    imported: list[Any] = []

    def import_some() -> None:
        imported.extend(key(f"i{number}").pk for number in range(15))

    importer = in_thread(import_some)
    run(size=5)
    importer.join(60)

    assert len(imported) == 15
    assert set(imported) <= {pk for pk, _ in blobs()}
    assert keks() == ["new"] * 90
    assert everything_opens()
