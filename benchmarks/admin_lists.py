"""The admin's lists over 100,000 merchants and 300,000 keys: queries and milliseconds.

    DATABASE_URL=postgres://postgres@127.0.0.1/scratch python -m benchmarks.admin_lists --fill

The database must be empty with --fill; migrations are applied. A page is asked for once to warm
up, then five times; the median counts.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import django

MERCHANTS = 100_000
PORTFOLIOS = 50
DAY = timedelta(days=1)

PAGES = [
    ("front page", "/admin/cybs_jwt/"),
    ("organizations", "/admin/cybs_jwt/organization/"),
    ("organizations, page 500", "/admin/cybs_jwt/organization/?p=500"),
    ("organizations, search by MID", "/admin/cybs_jwt/organization/?q=mid099999"),
    ("organizations, not ready", "/admin/cybs_jwt/organization/?lacks=ready"),
    ("organizations, end in 30 days", "/admin/cybs_jwt/organization/?ends=30"),
    ("organizations, unused", "/admin/cybs_jwt/organization/?use=unused"),
    ("keys", "/admin/cybs_jwt/credential/"),
    ("keys, end in 30 days", "/admin/cybs_jwt/credential/?attention=30"),
    ("slots", "/admin/cybs_jwt/keyslot/"),
    ("certificates", "/admin/cybs_jwt/gatewaycertificate/"),
]


def fill() -> None:
    """Half the merchants with keys of their own, half under a portfolio's meta key."""
    from django.db import connection

    from django_cybs_jwt.models import Credential, KeySlot, Organization

    draw, now = random.Random(4), datetime.now(UTC)  # noqa: S311
    host = "api.cybersource.com"
    tops = [
        Organization(org_id=f"portfolio{n:02}", kind="portfolio", host=host, live=True)
        for n in range(PORTFOLIOS)
    ]
    mids = [
        Organization(
            org_id=f"mid{n:06}",
            name=f"Shop {n}",
            kind="merchant",
            host=host,
            live=True,
            parent=draw.choice(tops),
        )
        for n in range(MERCHANTS)
    ]
    Organization.objects.bulk_create([*tops, *mids], batch_size=2000)
    slots, keys = [], []
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
    KeySlot.objects.bulk_create(slots, batch_size=2000)
    Credential.objects.bulk_create(keys, batch_size=1000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    print(f"{len(tops) + len(mids)} organizations, {len(keys)} keys")


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


def measure() -> None:
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    user, _ = User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    print(f"{'page':40}{'status':>7}{'queries':>9}{'ms':>8}{'of them SQL ms':>16}")
    for name, address in PAGES:
        client.get(address)
        took = []
        for _ in range(5):
            start = time.perf_counter()
            answer = client.get(address)
            took.append((time.perf_counter() - start) * 1000)
        with CaptureQueriesContext(connection) as captured:
            client.get(address)
        spent = sum(float(query["time"]) for query in captured) * 1000
        line = f"{name:40}{answer.status_code:>7}{len(captured):>9}"
        print(f"{line}{statistics.median(took):>8.0f}{spent:>16.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fill", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from django.core.management import call_command
    from django.test.utils import setup_test_environment

    setup_test_environment()
    if options.fill:
        call_command("migrate", verbosity=0)
        fill()
    measure()


if __name__ == "__main__":
    main()
