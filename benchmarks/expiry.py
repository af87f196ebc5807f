"""How long the list of ends takes over many keys on PostgreSQL, and how much memory.

    DATABASE_URL=postgres://postgres@127.0.0.1/bench python -m benchmarks.expiry

makes a database of its own beside the named one, and drops it. Each figure comes from a new
process, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import django

NOW: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY: Final = timedelta(days=1)
PORTFOLIOS: Final = 20
UNDER_META_KEYS: Final = 20_000
BATCH: Final = 3_000
SEALED: Final = os.urandom(1_300)  # the size of a sealed 2048-bit key
PEM: Final = "MIID" * 375


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expiry", description=__doc__)
    parser.add_argument("--keys", type=int, default=300_000, help="default 300,000")
    parser.add_argument("--measure", choices=sorted(QUESTIONS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    if options.measure:
        django.setup()
        print(json.dumps(measured(QUESTIONS[options.measure])))
        return
    if not os.environ.get("DATABASE_URL", "").startswith("postgres"):
        parser.error("set DATABASE_URL to a PostgreSQL server")
    django.setup()
    report(options.keys)


def report(keys: int) -> None:
    from django.db import connection

    before = connection.settings_dict["NAME"]
    name = connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        fill(keys)
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        connection.close()
        for question in QUESTIONS:
            found = asked_in_a_new_process(question, name)
            print(f"{question:16}", "  ".join(f"{what} {n}" for what, n in found.items()))
    finally:
        connection.close()
        connection.creation.destroy_test_db(before, verbosity=0)


def asked_in_a_new_process(question: str, database: str) -> dict[str, float]:
    url = os.environ["DATABASE_URL"].rpartition("/")[0] + "/" + database
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.expiry", "--measure", question],
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(question: Callable[[], int]) -> dict[str, float]:
    """Found, seconds, those in this process, and by how many megabytes the process grew at most."""
    from django.db import connection

    from django_cybs_jwt.services import ticking  # noqa: F401  # all that is imported

    connection.ensure_connection()
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far, the parent's included
    start, busy = time.perf_counter(), time.process_time()
    found = question()
    seconds, cpu = time.perf_counter() - start, time.process_time() - busy
    grown = memory("VmHWM") - before
    return {
        "found": found,
        "seconds": round(seconds, 2),
        "CPU": round(cpu, 2),
        "grown MB": round(grown / 1024, 1),
    }


def memory(name: str) -> int:
    """Kilobytes that this process holds (VmRSS), or held at most (VmHWM). Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def everything() -> int:
    from django_cybs_jwt.services import expiry

    return sum(1 for _ in expiry.scan(NOW))


def keys_alone() -> int:
    """Without the gateway's certificates, which are as many again as there are merchants."""
    from django_cybs_jwt.services.expiry import blast_radius, key_endings

    return sum(1 for _ in key_endings.stream(blast_radius.BlastRadius(NOW)))


def within_90_days() -> int:
    from django_cybs_jwt.services import expiry

    return sum(1 for _ in expiry.scan(NOW, until=NOW + 90 * DAY))


def raise_alerts() -> int:
    from django_cybs_jwt.services import alerts

    return alerts.raise_due(NOW)


QUESTIONS: Final[dict[str, Callable[[], int]]] = {
    "everything": everything,
    "keys alone": keys_alone,
    "within 90 days": within_90_days,
    "first tick": raise_alerts,
    "second tick": raise_alerts,
}


def fill(keys: int) -> None:
    """Of each merchant a signing key, a response key and an older one, and the certificates.

    Beside them portfolios whose meta keys serve merchants without a key of their own.
    """
    draw = random.Random(300_000)  # noqa: S311  # the same estate each time
    for start in range(0, keys // 3, BATCH):
        _merchants(draw, range(start, min(start + BATCH, keys // 3)))
    for n in range(PORTFOLIOS):
        _portfolio(draw, n)


def _merchants(draw: random.Random, numbers: range) -> None:
    from django_cybs_jwt.models import Credential, GatewayCertificate, KeySlot, Organization

    owners = [_organization(f"mid{n:06}", "merchant") for n in numbers]
    slots, keys, certificates = [], [], []
    for owner in owners:
        signing, response = _slot(owner, "signing"), _slot(owner, "response-mle")
        active = [_key(draw, slot, "ACTIVE") for slot in (signing, response)]
        slots += [signing, response]
        keys += [*active, _key(draw, signing, draw.choice(["RETIRED", "RETIRED", "VERIFIED"]))]
        certificates.append(_certificate(draw, active[0]))
    Organization.objects.bulk_create(owners)
    KeySlot.objects.bulk_create(slots)
    Credential.objects.bulk_create(keys, batch_size=1_000)
    GatewayCertificate.objects.bulk_create(certificates)


def _portfolio(draw: random.Random, number: int) -> None:
    from django_cybs_jwt.models import Organization

    top = _organization(f"portfolio{number}", "portfolio")
    top.save()
    for purpose in ("signing", "response-mle"):
        slot = _slot(top, purpose, coverage="all")
        slot.save()
        _key(draw, slot, "ACTIVE").save()
    Organization.objects.bulk_create(_under(top, number), batch_size=BATCH)


def _under(top: Any, number: int) -> Iterator[Any]:
    for n in range(UNDER_META_KEYS // PORTFOLIOS):
        yield _organization(f"served{number}x{n}", "merchant", parent=top)


def _organization(org_id: str, kind: str, **columns: Any) -> Any:
    from django_cybs_jwt.models import Organization

    return Organization(org_id=org_id, kind=kind, host="api.cybersource.com", live=True, **columns)


def _slot(owner: Any, purpose: str, **columns: Any) -> Any:
    from django_cybs_jwt.models import KeySlot

    return KeySlot(organization=owner, purpose=purpose, **columns)


def _key(draw: random.Random, slot: Any, state: str) -> Any:
    from django_cybs_jwt.models import Credential

    key_id, active = f"{draw.getrandbits(72):022}", state == "ACTIVE"
    ends = NOW + draw.uniform(-10, 1095) * DAY
    return Credential(
        slot=slot,
        active_slot=slot if active else None,
        organization=slot.organization,
        kind="p12",
        key_id=key_id,
        live_key_id=key_id,
        algorithm="RS256",
        state=state,
        sealed_secret=SEALED,
        fingerprint=f"{draw.getrandbits(256):064x}",
        certificate=PEM,
        not_before=ends - 1095 * DAY,
        not_after=ends,
        expires_at=ends,
        activated_at=NOW - 100 * DAY if active else None,
        verify_outcome="accepted",
    )


def _certificate(draw: random.Random, key: Any) -> Any:
    from django_cybs_jwt.models import GatewayCertificate

    ends = NOW + draw.uniform(-10, 730) * DAY
    return GatewayCertificate(
        organization=key.organization,
        credential=key,
        host=key.organization.host,
        key_id=key.key_id,
        certificate=PEM,
        common_name="CyberSource_SJC_US",
        fingerprint=key.fingerprint,
        not_before=ends - 730 * DAY,
        not_after=ends,
        source="benchmark",
    )


if __name__ == "__main__":
    main()
