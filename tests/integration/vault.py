"""Fill a database with sealed keys, import, re-wrap or sign beside others. A process of the tests.

`fill N` makes N organizations with a P12 each: an RSA key, and 3 KB as its original file.
`import` stores shared secrets until SIGTERM and names each when it is committed.
`rewrap KEK_ID POINT BATCH` proves every secret, makes a new key the primary and moves all to it,
until it dies as by a power cut: `begun`, or in that batch when its rows are `read`, `written` or
`committed`, or `moved`, when all are and the end is not told. `die POINT BATCH` only goes on so.
`open` opens every secret anew for each line that it reads, and prints how many opened and failed.
`prove` prints how many secrets open under each key, and what is wrong with the others.
`sign SECONDS` signs 200 times a second, until SIGTERM if that is earlier, and prints how many
and how many milliseconds half, 99 and 99.9 in a hundred took at most.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import django

HOST = "apitest.cybersource.com"
DIFFERENT_KEYS = 8
ORIGINAL = 3000
SIGNATURES_A_SECOND = 200
WARM_UP = 50
QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


def fill(count: int) -> None:
    from django.db import transaction

    from django_cybs_jwt.models import Credential, KeySlot, Organization

    keys = [_key() for _ in range(DIFFERENT_KEYS)]
    for start in range(0, count, 1000):
        rows = [_row(f"m{n}", *keys[n % len(keys)]) for n in range(start, min(count, start + 1000))]
        with transaction.atomic():
            Organization.objects.bulk_create(row.organization for row in rows)
            KeySlot.objects.bulk_create(row.slot for row in rows)
            Credential.objects.bulk_create(rows)
            for row in rows:
                _record(row)
    # Older than the chain, so that the doctor misses no rows of their own.
    Organization.objects.update(created_at=datetime(2026, 1, 1, tzinfo=UTC))


def _key() -> tuple[bytes, str]:
    from django_cybs_jwt.protocol.keys import spki_fingerprint
    from django_cybs_jwt.testing import material
    from tests.unit.services.enrolment import pkcs8

    key = material.rsa_key()
    return pkcs8(key), spki_fingerprint(key.public_key())


def _row(org_id: str, pkcs8: bytes, fingerprint: str) -> Any:
    from django.utils import timezone

    from django_cybs_jwt import conf
    from django_cybs_jwt.models import Credential, KeySlot, Organization
    from django_cybs_jwt.sealing import seal
    from django_cybs_jwt.services.keys import sealing_context

    owner = Organization(org_id=org_id, kind="merchant", host=HOST)
    slot = KeySlot(organization=owner, purpose="signing")
    row = Credential(
        id=uuid.uuid4(), slot=slot, active_slot=slot, organization=owner, kind="p12",
        key_id=org_id, live_key_id=org_id, algorithm="RS256", state="ACTIVE",
        fingerprint=fingerprint, staged_at=timezone.now(), activated_at=timezone.now(),
    )  # fmt: skip
    for field, secret in (("sealed_secret", pkcs8), ("sealed_p12", os.urandom(ORIGINAL))):
        blob = seal(secret, context=sealing_context(row, field), ring=conf.keyring())
        setattr(row, field, blob)
    return row


def _record(row: Any) -> None:
    from django_cybs_jwt.services import audit, keys

    entry = audit.Entry(
        action="import",
        actor="tests",
        organization=str(row.organization),
        credential=row,
        to_state="STAGED",
        reason=keys.sealed_digests(row),
    )
    audit.record(entry)


def import_without_pause() -> None:
    from tests.unit.services import enrolment

    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    while not stopping:
        owner = enrolment.organization(f"i{secrets.token_hex(8)}")
        print(enrolment.shared_secret(owner).pk, flush=True)
        time.sleep(0.01)


def rewrap(kek_id: str, point: str, batch: int) -> None:
    from django.core.management import call_command

    from django_cybs_jwt.services.sealed import proof

    print(json.dumps([str(finding) for finding in proof.prove().findings()]), flush=True)
    call_command("cybs_keyring", "add", kek_id, stdout=sys.stderr)
    call_command("cybs_keyring", "promote", kek_id, stdout=sys.stderr)
    die(point, batch)


def open_when_asked() -> None:
    from django_cybs_jwt.exceptions import SealingError
    from django_cybs_jwt.models import Credential
    from django_cybs_jwt.services import opened_keys

    print("ready", flush=True)
    for _ in sys.stdin:
        told: Counter[str] = Counter()
        for row in Credential.objects.select_related("organization"):
            try:
                opened_keys.open_anew(row)
                told["opened"] += 1
            except SealingError as error:
                told[type(error).__name__] += 1
        print(json.dumps(told), flush=True)


def prove() -> None:
    from django_cybs_jwt.services.sealed import proof

    found = proof.prove()
    findings = [str(finding) for finding in found.findings()]
    print(json.dumps({"opened": found.opened, "findings": findings}))


def die(point: str, batch: int) -> None:
    from django.db import connection
    from django.utils import timezone

    from django_cybs_jwt.services.sealed import rewrap as service

    death = Death(point, batch)
    with connection.execute_wrapper(death.watch):
        service.run(
            actor="tests",
            now=timezone.now(),
            size=50,
            after_batch=lambda _report: death.reached("committed"),
        )


class Death:
    """A power cut at one point of a re-wrap, seen from the statements that it runs."""

    def __init__(self, point: str, batch: int) -> None:
        self.point, self.batch = point, batch
        self.passed: Counter[str] = Counter()
        self.moves = False

    def reached(self, name: str) -> None:
        self.passed[name] += 1
        if name == self.point and self.passed[name] == self.batch:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        told = str(params)
        reads = self.moves and sql.startswith("SELECT") and "sealed_" in sql
        if reads:
            self.reached("begun")
        elif "rewrap-end" in told:
            self.reached("moved")
        result = execute(sql, params, many, context)
        if reads:
            self.reached("read")
        elif many and sql.startswith("UPDATE"):
            self.reached("written")
        self.moves |= "rewrap-begin" in told
        return result


def sign(seconds: float) -> None:
    from django_cybs_jwt import cybs

    def once() -> float:
        began = time.perf_counter()
        cybs.sign("m0", "POST", "/pts/v2/payments", b'{"a":1}', mle=False)
        return time.perf_counter() - began

    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    for _ in range(WARM_UP):
        once()
    print("signing", flush=True)
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stopping:
        took.append(once())
        time.sleep(1 / SIGNATURES_A_SECOND)
    took.sort()
    quantiles = {name: took[int(len(took) * q)] * 1000 for name, q in QUANTILES.items()}
    print(json.dumps({"signatures": len(took), **quantiles}))


if __name__ == "__main__":
    django.setup()
    match sys.argv[1:]:
        case ["fill", count]:
            fill(int(count))
        case ["import"]:
            import_without_pause()
        case ["rewrap", kek_id, point, batch]:
            rewrap(kek_id, point, int(batch))
        case ["die", point, batch]:
            die(point, int(batch))
        case ["open"]:
            open_when_asked()
        case ["prove"]:
            prove()
        case ["sign", seconds]:
            sign(float(seconds))
