"""Every list and dashboard of the admin over 100,000 merchants: queries and milliseconds.

    DATABASE_URL=postgres://postgres@127.0.0.1/scratch python -m benchmarks.admin_lists --fill

The database must be empty with --fill; migrations are applied. Pages come from the admin's own
addresses, so that none is left out, and the dearest filters are asked for beside them. A page is
asked for once to warm up, then five times; the median counts. Exit code 1: a page took more than
15 queries, or did not answer.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django

MERCHANTS = 100_000
PORTFOLIOS = 50
EVENTS = 300_000
REQUESTS = 200_000
APPROVALS = 5_000
RECIPIENTS = 500
DAY = timedelta(days=1)
HOST = "api.cybersource.com"
MOST_QUERIES = 15

LEFT_OUT = ("add", "password")
"""Django's page that refuses, and the one that every screen may ask for."""
FILTERS = {
    "organization": [
        "p=500",
        "q=mid099999",
        *(f"{test}={fact}" for test in ("has", "lacks") for fact in ("ready", "request_mle")),
        *("ends=30", "state=RETIRED", "state=none", "use=unused", "portfolio={portfolio}"),
        "signer={slot}",
    ],
    "credential": [
        "q=mid099998",
        *(f"attention={name}" for name in ("ended", "7", "30", "90", "overlap", "failed")),
    ],
    "gatewaycertificate": ["ends=ended", "ends=30"],
    "expiryalert": ["q=mid0999", "state=open", "severity=critical"],
    "expiryalert_dashboard": ["portfolio={org_id}", "host={host}"],
    "approval": ["waiting=me", "waiting=decision", "waiting=mine"],
    "keyevent": ["q=mid099998", "action=import", "organization={merchant}", "about={key_id}"],
    "outboundrequest": ["state=open", "state=PARKED", "age=3600", "organization={portfolio}"],
    "organization_readiness": ["show=open", "portfolio={org_id}"],
}


def fill() -> None:
    """Half the merchants with keys of their own, half under a portfolio's meta key."""
    from django.db import connection

    from django_cybs_jwt.models import Organization

    draw, now = random.Random(4), datetime.now(UTC)  # noqa: S311
    tops = [
        Organization(org_id=f"portfolio{n:02}", kind="portfolio", host=HOST, live=True)
        for n in range(PORTFOLIOS)
    ]
    mids = [
        Organization(
            org_id=f"mid{n:06}",
            name=f"Shop {n}",
            kind="merchant",
            host=HOST,
            live=True,
            parent=draw.choice(tops),
        )
        for n in range(MERCHANTS)
    ]
    Organization.objects.bulk_create([*tops, *mids], batch_size=2000)
    _keys(draw, tops, mids, now)
    _duties(draw, tops, now)
    _events(mids, now)
    _requests(draw, mids, now)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _keys(draw: random.Random, tops: list[Any], mids: list[Any], now: datetime) -> None:
    """Of each owner two slots with three keys, and the certificate that its file carried."""
    from django_cybs_jwt.models import Credential, GatewayCertificate, KeySlot

    slots, keys, certificates = [], [], []
    for number, owner in enumerate([*tops, *mids]):
        if number >= PORTFOLIOS and number % 2:
            continue
        covers = "all" if number < PORTFOLIOS else "own"
        for purpose in ("signing", "response-mle"):
            slot = KeySlot(organization=owner, purpose=purpose, coverage=covers)
            slots.append(slot)
            keys += [
                _key(slot, state, now + draw.randrange(1, 1000) * DAY, now)
                for state in ("ACTIVE", "RETIRED", "DESTROYED")
            ]
            if purpose == "signing":
                ends = now + draw.randrange(1, 1000) * DAY
                certificates.append(_certificate(owner, keys[-3], ends))
    certificates.append(_certificate(None, None, now + 20 * DAY))
    KeySlot.objects.bulk_create(slots, batch_size=2000)
    Credential.objects.bulk_create(keys, batch_size=1000)
    GatewayCertificate.objects.bulk_create(certificates, batch_size=2000)
    print(
        f"{len(tops) + len(mids)} organizations, {len(keys)} keys, {len(certificates)} certificates"
    )


def _key(slot: Any, state: str, ends: datetime, now: datetime) -> Any:
    from django_cybs_jwt.models import Credential

    key_id = uuid.uuid4().hex[:22]
    return Credential(
        slot=slot,
        organization=slot.organization,
        active_slot=slot if state == "ACTIVE" else None,
        kind="p12",
        key_id=key_id,
        live_key_id=None if state == "DESTROYED" else key_id,
        algorithm="RS256",
        state=state,
        fingerprint=uuid.uuid4().hex * 2,
        sealed_secret=None if state == "DESTROYED" else os.urandom(1800),
        expires_at=ends,
        not_after=ends,
        staged_at=ends - 1095 * DAY,
        activated_at=now - 100 * DAY,
        verify_outcome="accepted" if int(key_id[0], 16) < 12 else "",
        last_used_at=now - 40 * DAY if int(key_id[1], 16) < 4 else now,
    )


def _certificate(owner: Any, credential: Any, ends: datetime) -> Any:
    from django_cybs_jwt.models import GatewayCertificate

    return GatewayCertificate(
        organization=owner,
        credential=credential,
        host=HOST,
        key_id=uuid.uuid4().hex[:22],
        common_name="CyberSource_SJC_US",
        fingerprint=uuid.uuid4().hex * 2,
        not_before=ends - 1095 * DAY,
        not_after=ends,
        source="benchmark",
    )


def _events(mids: list[Any], now: datetime) -> None:
    """An audit chain by its size alone: its digests are none."""
    from django.db.models import QuerySet

    from django_cybs_jwt.models import KeyEvent

    actions = ("import", "verify", "activate")
    first = KeyEvent.objects.count() + 1
    rows = (
        KeyEvent(
            seq=first + number,
            at=now - (EVENTS - number) * timedelta(minutes=5),
            actor=f"user{number % 40}",
            action=actions[number % len(actions)],
            outcome="denied" if number % 50 == 0 else "done",
            organization=str(mids[number % len(mids)]),
            key_id=uuid.uuid4().hex[:22],
            reason=f"ticket {number}",
            digest=uuid.uuid4().hex * 2,
        )
        for number in range(EVENTS)
    )
    QuerySet(KeyEvent).bulk_create(rows, batch_size=2000)  # the model's own manager refuses


def _requests(draw: random.Random, mids: list[Any], now: datetime) -> None:
    from django_cybs_jwt.models import OutboundRequest

    states = ["ANSWERED"] * 95 + ["QUEUED", "QUEUED", "IN_DOUBT", "PARKED", "EXPIRED"]
    rows = []
    for number in range(REQUESTS):
        state = states[number % len(states)]
        is_open = state in ("QUEUED", "IN_DOUBT", "PARKED")
        rows.append(
            OutboundRequest(
                organization=draw.choice(mids),
                host=HOST,
                operation="POST /pts/v2/payments",
                safety="GUARDED",
                idempotency_key=f"order-{number}",
                transaction_id=f"transaction-{number}",
                state=state,
                due_at=now - DAY if state in ("QUEUED", "IN_DOUBT") else None,
                created_at=now - (REQUESTS - number) * timedelta(seconds=30),
                sealed_payload=os.urandom(600) if is_open else None,
            )
        )
    OutboundRequest.objects.bulk_create(rows, batch_size=1000)


def _duties(draw: random.Random, tops: list[Any], now: datetime) -> None:
    """Alerts as the job raises them, who is told, who is limited, what waits for approval."""
    from django.contrib.auth.models import User

    from django_cybs_jwt.models import Approval, Credential
    from django_cybs_jwt.services import alerts, scope
    from django_cybs_jwt.services.alerts import recipients

    print(f"{alerts.raise_due(now)} alerts")
    keys = list(Credential.objects.filter(state="ACTIVE").only("pk", "fingerprint")[:APPROVALS])
    Approval.objects.bulk_create(
        Approval(
            credential=key,
            action="destroy",
            fingerprint=key.fingerprint,
            lock_version=0,
            requested_by=f"user{number % 40}",
            requested_at=now,
            expires_at=now + (1 if number % 4 else -1) * DAY,
        )
        for number, key in enumerate(keys)
    )
    for number in range(RECIPIENTS):
        recipients.add(
            "mail", f"r{number}@platform.example", actor="x", organization=draw.choice(tops)
        )
    for number in range(100):
        user = User.objects.create(username=f"limited{number}", is_staff=True)
        scope.limit(user, [draw.choice(tops)], actor="x")


def pages(scope: Any = None) -> Iterator[tuple[str, str]]:
    """The front page, then every page that is of no single row, and the same under filters.

    *scope* is what the visitor sees; everything by default.
    """
    from django.urls import reverse

    from tests.unit.admin.addresses import addresses

    known = _known(scope)
    yield "front page", reverse("admin:app_list", args=["cybs_jwt"])
    for address in addresses():
        if address.of_row or address.page in LEFT_OUT:
            continue
        name = address.name.removesuffix("_changelist")
        place = reverse(f"admin:cybs_jwt_{address.name}")
        yield name, place
        for query in FILTERS.get(name, ()):
            yield f"{name} ?{query}", f"{place}?{query.format(**known)}"


def _known(scope: Any) -> dict[str, Any]:
    """What filters are filled with."""
    from django_cybs_jwt.models import Credential, Organization
    from django_cybs_jwt.services.scope import EVERYTHING

    seen = (scope or EVERYTHING).visible(Organization.objects.order_by("org_id"))
    top, merchant = seen.exclude(kind="merchant")[0], seen.filter(kind="merchant")[0]
    key = Credential.objects.filter(organization=top)[0]
    return {
        "portfolio": top.pk,
        "org_id": top.org_id,
        "host": top.host,
        "merchant": str(merchant),
        "key_id": key.key_id,
        "slot": key.slot_id,
    }


def measure(rounds: int) -> int:
    """Print a line a page; how many broke the limit."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    user, _ = User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    broken = 0
    print(f"{'page':48}{'status':>7}{'queries':>9}{'ms':>8}{'of them SQL ms':>16}")
    for name, address in pages():
        _type_password(client)
        client.get(address)
        took = []
        for _ in range(rounds):
            start = time.perf_counter()
            answer = client.get(address)
            took.append((time.perf_counter() - start) * 1000)
        with CaptureQueriesContext(connection) as captured:
            client.get(address)
        spent = sum(float(query["time"]) for query in captured) * 1000
        is_fine = answer.status_code == 200 and len(captured) <= MOST_QUERIES
        broken += not is_fine
        line = f"{name:48}{answer.status_code:>7}{len(captured):>9}"
        mark = "" if is_fine else "  BROKEN"
        print(f"{line}{statistics.median(took):>8.0f}{spent:>16.0f}{mark}", flush=True)
    print(f"{broken} pages broke the limit of {MOST_QUERIES} queries. Load: {os.getloadavg()}")
    return broken


def _type_password(client: Any) -> None:
    """Some screens ask for it before they answer, and again after ten minutes."""
    from django_cybs_jwt.admin import sudo

    session = client.session
    session[sudo._STAMP] = time.time() - 1
    session.save()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admin_lists", description=__doc__)
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from django.core.management import call_command
    from django.test.utils import override_settings, setup_test_environment

    setup_test_environment()
    with tempfile.TemporaryDirectory() as directory:
        ring = Path(directory) / "ring.json"
        with override_settings(CYBS_JWT={"KEYRING_FILE": str(ring)}):
            call_command("cybs_keyring", "generate", stdout=io.StringIO())
            if options.fill:
                call_command("migrate", verbosity=0)
                fill()
            sys.exit(1 if measure(options.rounds) else 0)


if __name__ == "__main__":
    main()
