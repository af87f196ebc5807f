"""The doctor finds what is wrong with a database and its ring, names it, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import KeyRingError
from django_cybs_jwt.models import (
    AlertDelivery,
    AuditHead,
    Credential,
    ExpiryAlert,
    JobRun,
    KeyEvent,
    KeySlot,
    State,
)
from django_cybs_jwt.sealing import seal
from django_cybs_jwt.services import alerts, doctor, gateway_certificates, signing, withdrawal
from django_cybs_jwt.services.alerts import recipients as alert_recipients
from django_cybs_jwt.services.sealed import proof as sealed_proof
from django_cybs_jwt.services.sealed import rewrap
from django_cybs_jwt.services.sealed.columns import TABLES
from django_cybs_jwt.testing import material
from tests.unit.services import enrolment
from tests.unit.services.sealed_keys import SEALED, blobs, key, use_ring

pytestmark = pytest.mark.django_db

NOW = timezone.now()


@pytest.fixture(autouse=True)
def healthy(settings: Any, cybs_ring: dict[str, Any]) -> None:
    """A ring, a certificate for the host, and a tick a minute ago."""
    use_ring(settings, "old")
    pem = material.gateway_certificate().pem.encode()
    gateway_certificates.add(pem, host=enrolment.HOST, actor="tests", now=NOW)
    JobRun.objects.create(name=alerts.JOB, succeeded_at=NOW - timedelta(minutes=1))


def examine(**options: Any) -> list[tuple[str, str]]:
    """The findings and whose they are: an organization, or the subject where there is none."""
    found = doctor.examine(now=options.pop("now", NOW), **options).findings
    return sorted((item.finding, item.organization or item.subject) for item in found)


def of(org_id: str) -> str:
    return f"{org_id}@{enrolment.HOST}"


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    for number in range(3):
        key(f"m{number}")
    enrolment.rsa_key(enrolment.organization("rsa"), purpose="signing")

    diagnosis = doctor.examine(now=NOW)

    assert diagnosis.findings == []
    assert diagnosis.opened == {"old": 7}


def test_an_empty_database_is_well() -> None:
    JobRun.objects.all().delete()
    assert examine() == []


def test_it_only_reads() -> None:
    enrolment.change(key("bad"), sealed_secret=b"damaged")
    with CaptureQueriesContext(connection) as queries:
        assert examine()
    assert queries
    read = {"SELECT", "SAVEPOINT", "RELEASE", "SHOW"}
    assert {query["sql"].split()[0] for query in queries} <= read


def test_it_leaves_no_opened_key_behind() -> None:
    from django_cybs_jwt.services import opened_keys

    key()
    signing.forget()
    doctor.examine(now=NOW)
    assert not opened_keys._entries


# -- one secret --


def moved(row: Credential, other: Credential, field: str) -> dict[str, Any]:
    return {field: getattr(other, field)}


def resealed(row: Credential, secret: bytes) -> bytes:
    context = TABLES[0].context(row, "sealed_secret")
    return seal(secret, context=context, ring=conf.keyring())


def flipped(row: Credential, at: int) -> bytes:
    blob = bytearray(row.sealed_secret)
    blob[at] ^= 1
    return bytes(blob)


WRONG: dict[str, tuple[str, Callable[[Credential, Credential], dict[str, Any]]]] = {
    "no blob at all": ("damaged", lambda _row, _other: {"sealed_secret": b"damaged"}),
    "no byte": ("damaged", lambda _row, _other: {"sealed_secret": b""}),
    "a flipped bit in the payload": (
        "damaged",
        lambda row, _other: {"sealed_secret": flipped(row, -1)},
    ),
    "a flipped bit in the data key": (
        "damaged",
        lambda row, _other: {"sealed_secret": flipped(row, 90)},
    ),
    "cut off": ("damaged", lambda row, _other: {"sealed_secret": bytes(row.sealed_secret)[:-1]}),
    "another row's secret": (
        "damaged",
        lambda row, other: moved(row, other, "sealed_secret"),
    ),
    "another row's file": ("damaged", lambda row, other: moved(row, other, "sealed_p12")),
    "the other column's blob": (
        "damaged",
        lambda row, _other: {"sealed_secret": bytes(row.sealed_p12)},
    ),
    "another fingerprint": ("mismatch", lambda _row, _other: {"fingerprint": "0" * 64}),
    "another secret, sealed with the ring": (
        "mismatch",
        lambda row, _other: {"sealed_secret": resealed(row, b"x" * 32)},
    ),
    "a key that is none": (
        "damaged",
        lambda row, _other: {
            "kind": "private_key",
            "sealed_secret": resealed(row, b"not PKCS#8"),
        },
    ),
    "no secret": ("empty", lambda _row, _other: {"sealed_secret": None}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_one_secret_is_found_and_the_row_is_named(name: str) -> None:
    row, other = key("bad"), key("good")
    finding, change = WRONG[name]
    enrolment.change(row, **change(row, other))

    found = doctor.examine(now=NOW).findings

    assert [(item.finding, item.organization) for item in found] == [(finding, of("bad"))]
    assert str(row.pk) in found[0].subject
    assert found[0].detail.endswith((".", ")")), "it says a sentence"


@pytest.mark.parametrize("field", SEALED)
def test_a_blob_of_the_same_row_that_was_sealed_later_is_a_replay(field: str) -> None:
    """It opens and it fits: only the audit row of the import knows the right one."""
    row = key()
    secret = TABLES[0].proofs["sealed_p12"](row)
    context = TABLES[0].context(row, field)
    plain = secret if field == "sealed_p12" else opened(row)
    enrolment.change(row, **{field: seal(plain, context=context, ring=conf.keyring())})

    assert examine() == [("replayed", of("acme"))]


def opened(row: Credential) -> bytes:
    from django_cybs_jwt.services.opened_keys import open_anew

    material = open_anew(row)
    assert isinstance(material, bytes)
    return material


def test_a_rewrap_is_no_replay(settings: Any) -> None:
    key()
    use_ring(settings, "new", old="decrypt_only")
    rewrap.run(actor="a", now=NOW)
    assert examine() == []


def test_a_secret_that_was_put_back_under_its_older_key_waits_for_a_rewrap(settings: Any) -> None:
    row = key()
    before = blobs()[row.pk, "sealed_secret"]
    use_ring(settings, "new", old="decrypt_only")
    rewrap.run(actor="a", now=NOW)
    enrolment.change(row, sealed_secret=before)
    assert examine() == [("rewrap", "old")]


def test_no_finding_says_a_secret() -> None:
    row, other = key("bad"), key("good")
    secret = opened(row)
    enrolment.change(row, sealed_secret=resealed(row, secret + b"!"))
    enrolment.change(other, sealed_secret=b"damaged " + secret)
    told = repr(doctor.examine(now=NOW))
    for form in (secret.hex(), repr(secret)[2:-1], (secret + b"!").hex()):
        assert form not in told


# -- the ring --


def test_a_missing_key_is_one_finding_however_many_secrets_need_it(settings: Any) -> None:
    for number in range(3):
        key(f"m{number}")
    use_ring(settings, "new")

    [found] = doctor.examine(now=NOW).findings

    assert (found.finding, found.subject) == ("kek-missing", "old")
    assert found.detail.startswith("6 secrets need it.")


def test_a_blocked_key_with_secrets_is_one_finding_that_says_the_cure(settings: Any) -> None:
    for number in range(3):
        key(f"m{number}")
    use_ring(settings, "new", old="blocked")

    [found] = doctor.examine(now=NOW).findings

    assert (found.finding, found.subject) == ("kek-blocked", "old")
    assert "cybs_keyring unblock old" in found.detail


def test_a_blocked_key_without_secrets_is_none(settings: Any) -> None:
    key()
    use_ring(settings, "old", new="blocked")
    assert examine() == []


def test_another_key_under_the_same_id_is_one_finding(settings: Any) -> None:
    """A ring of another deployment: every secret fails, and one sentence explains them all."""
    for number in range(3):
        key(f"m{number}")
    ring = settings.CYBS_JWT["KEYRING"]
    other = {"old": {"key": material.shared_secret().secret, "status": "enabled"}}
    settings.CYBS_JWT = {**settings.CYBS_JWT, "KEYRING": {**ring, "keys": other}}

    assert examine() == [("kek-wrong", "old")]


def test_last_weeks_database_with_todays_ring_is_well(settings: Any) -> None:
    """The ring has kept its older keys: what was restored opens, and waits for a rewrap."""
    key()
    use_ring(settings, "spare", new="decrypt_only", old="decrypt_only")
    assert examine() == [("rewrap", "old")]


def test_todays_database_with_last_weeks_ring_names_the_key_to_put_back(settings: Any) -> None:
    key()
    use_ring(settings, "new", old="decrypt_only")
    rewrap.run(actor="a", now=NOW)
    key("since")
    use_ring(settings, "old")
    assert examine() == [("kek-missing", "new")]


def test_secrets_under_an_older_key_are_counted(settings: Any) -> None:
    key()
    use_ring(settings, "new", old="decrypt_only")
    key("since")

    diagnosis = doctor.examine(now=NOW)

    assert diagnosis.opened == {"old": 2, "new": 2}
    assert [item.finding for item in diagnosis.findings] == ["rewrap"]
    assert "2 secrets" in diagnosis.findings[0].detail


def test_every_key_of_the_ring_is_tried_even_where_nothing_is_sealed_under_it(
    settings: Any,
) -> None:
    use_ring(settings, "old", new="decrypt_only", spare="blocked")
    ring = conf.keyring()
    proof = sealed_proof.prove()
    assert list(doctor._ring(ring, proof)) == []
    assert doctor._opens_a_probe(ring, "old")
    assert doctor._opens_a_probe(ring, "new")
    assert not doctor._opens_a_probe(ring, "spare"), "a probe can fail"


def test_without_a_ring_nothing_can_be_examined(settings: Any) -> None:
    settings.CYBS_JWT = {}
    with pytest.raises(KeyRingError):
        doctor.examine(now=NOW)


def test_what_the_system_checks_say_is_found(settings: Any) -> None:
    settings.CYBS_JWT = {**settings.CYBS_JWT, "CA_BUNDLE": "/no/such/file.pem"}
    assert examine() == [("check", "cybs_jwt.W009")]


def test_a_host_without_a_certificate_is_found() -> None:
    key()
    gateway_certificates.listing().delete()
    assert examine() == [("check", "cybs_jwt.W012")]


# -- a sample --


def test_a_sample_opens_so_many_rows() -> None:
    for number in range(6):
        key(f"m{number}")
    assert doctor.examine(now=NOW, sample=2).opened == {"old": 4}
    assert doctor.examine(now=NOW, sample=100).opened == {"old": 12}


def test_a_sample_is_drawn_at_random() -> None:
    rows = [key(f"m{number}") for number in range(6)]
    enrolment.change(rows[0], sealed_secret=b"damaged")
    outcomes = {bool(examine(sample=1)) for _ in range(80)}
    assert outcomes == {True, False}


# -- slots, overlaps, the job, the audit trail --


def test_a_slot_whose_key_was_withdrawn_signs_nothing() -> None:
    row = key()
    withdrawal.suspend(row, actor="a", now=NOW, reason="r")
    assert examine() == [("stopped", of("acme"))]


@pytest.mark.parametrize(
    "withdraw",
    [
        pytest.param(withdrawal.retire, id="retired: the next level signs"),
        pytest.param(
            lambda row, **told: withdrawal.resume(withdrawal.suspend(row, **told), **told),
            id="resumed",
        ),
    ],
)
def test_a_slot_that_signs_or_lets_another_sign_is_no_finding(withdraw: Any) -> None:
    withdraw(key(), actor="a", now=NOW, reason="r")
    assert examine() == []


def test_a_staged_key_is_no_finding() -> None:
    key(activate=False)
    assert examine() == []


def test_a_disabled_merchant_may_have_a_stopped_slot() -> None:
    from django_cybs_jwt.services import organizations

    withdrawal.suspend(key(), actor="a", now=NOW, reason="r")
    organizations.disable("acme", actor="a")
    assert examine() == []


LATE = timedelta(hours=2)
OVERDUE: dict[str, dict[str, Any]] = {
    "overlap over": {"state": State.RETIRING, "overlap_until": NOW - LATE},
    "rolled back long ago": {
        "state": State.RETIRING,
        "retiring_at": NOW - timedelta(hours=24) - LATE,
    },
    "activation due": {"state": State.VERIFIED, "activate_at": NOW - LATE},
}


@pytest.mark.parametrize("name", OVERDUE)
def test_what_should_be_done_by_now_is_found(name: str) -> None:
    row = key(activate=False)
    Credential.objects.filter(pk=row.pk).update(**OVERDUE[name])
    assert examine() == [("unfinished", of("acme"))]
    assert examine(now=NOW - LATE) == [], "it was not due then"


def test_a_silent_job_is_found_after_26_hours() -> None:
    key()
    hours = timedelta(hours=1)
    assert examine(now=NOW + 25 * hours) == []
    assert examine(now=NOW + 27 * hours) == [("job", alerts.JOB)]


def test_a_job_that_never_ran_is_found_once_a_key_is_in_use() -> None:
    JobRun.objects.all().delete()
    row = key(activate=False)
    assert examine() == []
    enrolment.put(row, State.ACTIVE, activated_at=NOW)
    assert examine() == [("job", alerts.JOB)]


def test_an_alert_that_nobody_hears_of_is_found() -> None:
    row = key()
    begun, end = NOW - timedelta(days=300), NOW + timedelta(days=5)
    enrolment.put(row, State.ACTIVE, staged_at=begun, expires_at=end)
    alerts.raise_due(NOW)
    assert examine() == [("alerts", "recipients")]

    recipient = alert_recipients.add("mail", "ops@example.com", actor="tests")
    assert examine() == []

    alert = ExpiryAlert.objects.get()
    AlertDelivery.objects.create(alert=alert, recipient=recipient, attempts=2)
    assert examine() == [("alerts", "deliveries")]


def test_a_changed_audit_row_is_found() -> None:
    row = key()
    QuerySet(KeyEvent).filter(credential=row.pk, action="import").update(reason="")
    assert examine() == [("audit", "chain")]


def test_an_audit_trail_of_another_ring_is_found_and_not_told_row_by_row(settings: Any) -> None:
    for number in range(60):
        organization_event(number)
    ring = settings.CYBS_JWT["KEYRING"]
    other = {**ring, "audit_key": material.shared_secret().secret}
    settings.CYBS_JWT = {**settings.CYBS_JWT, "KEYRING": other}
    found = examine()
    assert {finding for finding, _ in found} == {"audit"}
    assert len(found) <= 101
    assert AuditHead.objects.get().seq > 60


def organization_event(number: int) -> None:
    from django_cybs_jwt.services import audit

    audit.record(audit.Entry(action="note", actor="a", organization=f"o{number}"), now=NOW)


@pytest.fixture
def no_constraint() -> Iterator[None]:
    """Let rows break what the database promises about active keys."""
    promise = "cybs_active_fills_its_slot"
    on, off = (
        ("PRAGMA ignore_check_constraints = ON", "PRAGMA ignore_check_constraints = OFF")
        if connection.vendor == "sqlite"
        else (f"ALTER TABLE cybs_jwt_credential DROP CONSTRAINT {promise}", "SELECT 1")
    )
    with connection.cursor() as cursor:
        cursor.execute(on)
        yield
        cursor.execute(off)


def test_two_active_keys_in_one_slot_are_found(no_constraint: None) -> None:
    """The database refuses them; a dump restored without its constraints may have them."""
    first = key()
    slot = KeySlot.objects.create(organization=first.organization, purpose="signing", name="b")
    second = key(activate=False)
    enrolment.change(second, slot=slot, state=State.ACTIVE, active_slot=slot, activated_at=NOW)
    enrolment.change(second, slot=first.slot)
    assert examine() == [("two-active", of("acme"))]
