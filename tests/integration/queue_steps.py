"""One step of the queue in a process of its own, which a failpoint may end anywhere."""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import django

django.setup()

from django.db.models import F  # noqa: E402  # Django is set up by now

from django_cybs_jwt import cybs  # noqa: E402
from django_cybs_jwt.models import OutboundRequest  # noqa: E402
from django_cybs_jwt.services.queue import database_clock, sweeping, working  # noqa: E402

PAYMENT = {
    "paymentInformation": {"card": {"number": "4111111111111111", "securityCode": "123"}},
    "orderInformation": {"amountDetails": {"totalAmount": "10.00", "currency": "USD"}},
}


def enqueue(*keys: str) -> None:
    for key in keys:
        cybs.enqueue("acme", "POST", "/pts/v2/payments", json=PAYMENT, idempotency_key=key)


def work(key: str) -> None:
    working.work(row(key).pk)


def sweep(_key: str) -> None:
    sweeping.sweep(database_clock.now())


def wait(key: str, seconds: str) -> None:
    """Let that time pass for one row: everything is decided by its times against now."""
    earlier = timedelta(seconds=float(seconds))
    OutboundRequest.objects.filter(pk=row(key).pk).update(
        due_at=F("due_at") - earlier, fence_at=F("fence_at") - earlier
    )


def recover(key: str) -> None:
    for _ in range(20):
        if row(key).finished_at is not None:
            break
        work(key)
        wait(key, "100")


def row(key: str) -> OutboundRequest:
    return OutboundRequest.objects.get(idempotency_key=key)


def show(key: str) -> None:
    found = row(key)
    attempts = list(found.attempts.values_list("kind", flat=True))
    facts = {"transaction_id": found.transaction_id, "attempt": found.attempt}
    print(json.dumps({"state": found.state, "attempts": attempts, **facts}))


VERBS = {each.__name__: each for each in (enqueue, work, sweep, wait, recover, show)}

if __name__ == "__main__":
    for step in " ".join(sys.argv[1:]).split(","):
        verb, *arguments = step.split()
        VERBS[verb](*arguments)
