"""How many queued requests a Celery worker sends, against a bare task that does one POST.

    python -m benchmarks.queued [--count 300] [--rounds 3]

On a PostgreSQL database and RabbitMQ queues of its own, with one simulator for each of two hosts:
a bare POST that the simulator refuses at its first look, a signed and encrypted `cybs.send`, and
the queue. Then the time from commit to claim, one at a time, and a slow host beside a fast one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tests.faults import platform
from tests.faults.platform import Gateways, Workers
from tests.services import requires_rabbitmq, scratch_postgresql

THREADS = 8


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queued", description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        bench = _Bench(stack)
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        bench.warm()
        rounds = [bench.rates(options.count) for _ in range(options.rounds)]
        for name in rounds[0]:
            print(f"{name:28} {statistics.median(each[name] for each in rounds):8.1f}")
        bench.latency(60)
        bench.slow_beside_fast(options.count)
        print(f"load {os.getloadavg()[0]:.1f}")


class _Bench:
    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="queued-")))
        self.gateways = stack.enter_context(closing(Gateways({})))
        database = stack.enter_context(scratch_postgresql("cybs_queued"))
        self.queue = f"cybs-queued-{uuid.uuid4().hex[:12]}"
        os.environ.update(
            DJANGO_SETTINGS_MODULE="tests.faults.settings",
            DATABASE_URL=database,
            FAULTS_BASE_URLS=json.dumps(self.gateways.base_urls),
            FAULTS_BROKER=requires_rabbitmq(),
            FAULTS_QUEUE=self.queue,
            FAULTS_BY_HOST="1",
        )
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        from tests.faults import celeryapp  # noqa: F401  # this process rings too

        self.merchants = platform.enrol(self.gateways, 20)
        line = platform.celery_worker("fast", self.queue, "threads", THREADS)
        slow = platform.celery_worker("slow", f"{self.queue}-slow", "threads", 4)
        stack.callback(self._drop)
        self.workers = Workers(
            [line, slow], dict(os.environ), folder / "workers.log", failpoints=False
        )
        stack.callback(self.workers.stop)

    def warm(self) -> None:
        """Both workers are up, and every process has its keys."""
        self._queued(20, lambda number: number)
        self._plain("direct", 10)
        self._plain("bare", 10)

    def rates(self, count: int) -> dict[str, float]:
        before = self.workers.resident_kib()
        found = {
            "bare POST, a second": self._plain("bare", count),
            "cybs.send, a second": self._plain("direct", count),
            # Merchants with an even number are of the first host, whose worker is measured.
            "queued, a second": self._queued(count, lambda number: 2 * number),
        }
        found["queued / bare"] = found["queued, a second"] / found["bare POST, a second"]
        found["queued / cybs.send"] = found["queued, a second"] / found["cybs.send, a second"]
        found["workers grew by MiB"] = (self.workers.resident_kib() - before) / 1024
        return found

    def latency(self, count: int) -> None:
        """From the row's creation to its claim, while nothing else waits."""
        from django_cybs_jwt.models import OutboundRequest

        taken = []
        for number in range(count):
            started = time.monotonic()
            row = self._enqueue(2 * number)
            while OutboundRequest.objects.filter(pk=row.pk, sent_at=None).exists():
                if time.monotonic() - started > 20:
                    raise TimeoutError
                time.sleep(0.002)
            row.refresh_from_db()
            taken.append((row.sent_at - row.created_at).total_seconds() * 1000)
        taken.sort()
        p50, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99) - 1]
        print(f"commit to claim, ms          p50 {p50:.1f}  p99 {p99:.1f}  of {count}")

    def slow_beside_fast(self, count: int) -> None:
        """The fast host alone, and while the other one takes a second for each answer."""
        alone = self._queued(count, lambda number: 2 * number)
        fault = {"kind": "latency", "probability": 1.0, "seconds": 1.0}
        self.gateways.tell(platform.HOSTS[1], "faults", fault)
        for number in range(count // 2):
            self._enqueue(2 * number + 1)
        beside = self._queued(count, lambda number: 2 * number, host=platform.HOSTS[0])
        print(f"fast host alone {alone:.1f}, beside a slow one {beside:.1f} a second")

    def _plain(self, name: str, count: int) -> float:
        from tests.faults import celeryapp

        task = getattr(celeryapp, name)
        host = platform.HOSTS[0]
        url = f"{self.gateways.base_urls[host]}/pts/v2/payments"
        whom = [url] * 20 if name == "bare" else [m for m, at in self.merchants if at == host]
        told = "refusals" if name == "bare" else "ledger"
        before = len(json.loads(self.gateways.get(host, told)))
        for number in range(count):
            arguments = (whom[number % len(whom)], platform.order(number))
            task.apply_async(arguments, queue=self.queue)
        # Published before it is timed would be unfair: the worker begins at the first.
        return self._timed(lambda: len(json.loads(self.gateways.get(host, told))) - before, count)

    def _queued(self, count: int, which: Callable[[int], int], host: str | None = None) -> float:
        from django_cybs_jwt.models import OutboundRequest, RequestState

        rows = OutboundRequest.objects.filter(state=RequestState.ANSWERED)
        rows = rows.filter(host=host) if host else rows
        before = rows.count()
        for number in range(count):
            self._enqueue(which(number))
        return self._timed(lambda: rows.count() - before, count)

    def _timed(self, done: Callable[[], int], count: int) -> float:
        """Sends a second over the second half, when the worker is the only one at work."""
        deadline, first = time.monotonic() + 120, done()
        started = time.monotonic()
        while (now := done()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{now} of {count} in 120 s")
            time.sleep(0.2)
        return (count - first) / (time.monotonic() - started)

    def _enqueue(self, number: int) -> Any:
        from django.db import transaction

        from django_cybs_jwt import cybs

        self._made = getattr(self, "_made", 0) + 1
        org_id, _ = self.merchants[number % len(self.merchants)]
        document = platform.order(self._made)
        key = platform.code(self._made)
        with transaction.atomic():
            return cybs.enqueue(
                org_id, "POST", "/pts/v2/payments", json=document, idempotency_key=key
            )

    def _drop(self) -> None:
        from kombu import Connection

        with Connection(requires_rabbitmq()) as connection:
            for name in ("", "-care", "-slow", "-slow-care"):
                connection.default_channel.queue_delete(f"{self.queue}{name}")


if __name__ == "__main__":
    main()
