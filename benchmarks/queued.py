"""How many queued requests a Celery worker sends, against a bare task that does one POST.

    python -m benchmarks.queued [--count 400] [--rounds 3]

On a PostgreSQL database and RabbitMQ queues of its own, with one simulator for each of two hosts:

- a bare POST of a plain body, which the simulator refuses at its first look
- a bare POST of a message that was sealed beforehand: for the simulator the same work as below
- the same by `httpx.post`, which makes a client for each call, as most tasks are written
- `cybs.send` in a task: signed, encrypted, and nothing stored
- the queue

The same with a gateway that takes 100 ms for an answer, as a quick one does; the simulator takes 1.
Then what `enqueue` costs in its caller's transaction, the time from commit to claim, one at a
time, and a slow host beside a fast one. The worker, both simulators, PostgreSQL and RabbitMQ share
the machine: beside each rate stands the processor time of one send, by who used it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import processor
from tests.faults import platform
from tests.faults.platform import Gateways, Workers
from tests.services import requires_rabbitmq, scratch_postgresql

THREADS = 8
HOST = platform.HOSTS[0]
PAYMENTS = "/pts/v2/payments"
QUEUED = "queued"
YARDSTICKS = {
    "bare": "bare POST, refused",
    "sealed": "bare POST, sealed",
    "usual": "httpx.post, sealed",
    "direct": "cybs.send",
}
THINKING = 0.1  # seconds that a quick gateway takes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queued", description=__doc__)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        bench = _Bench(stack)
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        bench.warm()
        rounds = [bench.rates(options.count) for _ in range(options.rounds)]
        _tell({name: _median([each[name] for each in rounds]) for name in rounds[0]})
        print(f"and with a gateway that takes {THINKING * 1000:.0f} ms:")
        _tell(bench.rates_of_a_gateway_that_thinks(options.count))
        bench.enqueue_cost(100)
        bench.latency(60)
        bench.slow_beside_fast(options.count)
        print(f"load {os.getloadavg()[0]:.1f}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Sends a second, and the milliseconds of processor time that one took, by who used them."""

    each_second: float
    used: Mapping[str, float]


def _median(rates: list[Rate]) -> Rate:
    return Rate(
        each_second=statistics.median(rate.each_second for rate in rates),
        used={name: statistics.median(rate.used[name] for rate in rates) for name in rates[0].used},
    )


def _tell(rates: Mapping[str, Rate]) -> None:
    for name, rate in rates.items():
        used = ", ".join(f"{who} {each:.1f}" for who, each in rate.used.items())
        print(f"{name:20} {rate.each_second:7.1f} a second; ms of processor: {used}")
    queued = rates[QUEUED].each_second
    for name in [name for name in rates if name != QUEUED]:
        print(f"{QUEUED} / {name:18} {queued / rates[name].each_second:5.2f}")


def _latency(seconds: float) -> dict[str, Any]:
    return {"kind": "latency", "probability": 1.0, "seconds": seconds}


class _Bench:
    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="queued-")))
        self.gateways = stack.enter_context(closing(Gateways({})))
        database = stack.enter_context(scratch_postgresql("cybs_queued"))
        self.database = database.rpartition("/")[2]
        self.queue = f"cybs-queued-{uuid.uuid4().hex[:12]}"
        self.made = 0
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
        from tests.faults import celeryapp

        self.app = celeryapp.app  # this process rings too
        self.merchants = platform.enrol(self.gateways, 20)
        self.fast = [org_id for org_id, host in self.merchants if host == HOST]
        line = platform.celery_worker("fast", self.queue, "threads", THREADS)
        slow = platform.celery_worker("slow", f"{self.queue}-slow", "threads", 4)
        stack.callback(self._drop)
        self.workers = Workers([line, slow], dict(os.environ), folder / "workers.log")
        stack.callback(self.workers.stop)

    def warm(self) -> None:
        """Both workers are up, and every process has its keys."""
        self._enqueue(1)
        self._queued(40)
        for name in YARDSTICKS:
            self._plain(name, 40)

    def rates(self, count: int) -> dict[str, Rate]:
        # So slow that the tokens of the last would have ended: fewer of them.
        counts = {name: count // 4 if name == "usual" else count for name in YARDSTICKS}
        found = {told: self._plain(name, counts[name]) for name, told in YARDSTICKS.items()}
        return {**found, QUEUED: self._queued(count)}

    def rates_of_a_gateway_that_thinks(self, count: int) -> dict[str, Rate]:
        self.gateways.tell(HOST, "faults", _latency(THINKING))
        names = ("sealed", "direct")
        found = {YARDSTICKS[name]: self._plain(name, count) for name in names}
        found[QUEUED] = self._queued(count)
        self.gateways.tell(HOST, "faults")
        return found

    def enqueue_cost(self, count: int) -> None:
        """Of the call alone, in a transaction that is open already; each ring is out before."""
        from django.db import connection, transaction
        from django.test.utils import CaptureQueriesContext

        from django_cybs_jwt import tasks

        taken, asked = [], []
        for _ in range(count):
            with transaction.atomic():
                connection.cursor().execute("SELECT 1")
                started = time.perf_counter()
                self._enqueue_within()
                taken.append((time.perf_counter() - started) * 1000)
            tasks.ring.flush(10)
            with transaction.atomic(), CaptureQueriesContext(connection) as queries:
                self._enqueue_within()
            asked.append(len(queries))
        taken.sort()
        p50, p99 = statistics.median(taken), taken[int(len(taken) * 0.99) - 1]
        queries_each = statistics.median(asked)
        print(f"enqueue, ms          median {p50:.2f}  p99 {p99:.2f}  of {count};", end=" ")
        print(f"queries {queries_each:.0f}, at most {max(asked)}")

    def latency(self, count: int) -> None:
        """From the row's creation to its claim, while nothing else waits."""
        from django_cybs_jwt.models import OutboundRequest

        taken = []
        for _ in range(count):
            started = time.monotonic()
            row = self._enqueue()
            while OutboundRequest.objects.filter(pk=row.pk, sent_at=None).exists():
                if time.monotonic() - started > 20:
                    raise TimeoutError
                time.sleep(0.002)
            row.refresh_from_db()
            taken.append((row.sent_at - row.created_at).total_seconds() * 1000)
        taken.sort()
        p50, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99) - 1]
        print(f"commit to claim, ms  p50 {p50:.1f}  p99 {p99:.1f}  of {count}")

    def slow_beside_fast(self, count: int) -> None:
        """The fast host alone, and while the other one takes a second for each answer."""
        before = self.workers.resident_kib()
        alone = self._queued(count).each_second
        self.gateways.tell(platform.HOSTS[1], "faults", _latency(1.0))
        for number in range(count // 2):
            self._enqueue(2 * number + 1)
        beside = self._queued(count).each_second
        print(f"fast host alone {alone:.1f}, beside a slow one {beside:.1f} a second")
        print(f"workers grew by {(self.workers.resident_kib() - before) / 1024:.1f} MiB meanwhile")

    def _plain(self, name: str, count: int) -> Rate:
        from tests.faults import celeryapp

        task, ledger = getattr(celeryapp, name), self._told("ledger")
        arguments = list(map(self._arguments(name), range(count)))  # sealed before the clock starts
        with self._held():
            for each in arguments:
                task.apply_async(each, queue=self.queue)
            before = self._handled()
        rate = self._timed(lambda: self._handled() - before, count)
        if name != "bare" and self._told("ledger") - ledger != count:
            raise RuntimeError("The simulator did not process what was sent.")
        return rate

    def _arguments(self, name: str) -> Callable[[int], tuple[Any, ...]]:
        from django_cybs_jwt import cybs

        def sealed(number: int) -> tuple[Any, ...]:
            body = json.dumps(platform.order(number)).encode()
            signed = cybs.sign(self.fast[number % len(self.fast)], "POST", PAYMENTS, body)
            return signed.url, signed.headers, signed.body.decode()

        url = self.gateways.base_urls[HOST] + PAYMENTS
        made: dict[str, Callable[[int], tuple[Any, ...]]] = {
            "bare": lambda number: (url, platform.order(number)),
            "sealed": sealed,
            "usual": sealed,
            "direct": lambda number: (
                self.fast[number % len(self.fast)],
                platform.order(number),
            ),
        }
        return made[name]

    def _queued(self, count: int) -> Rate:
        from django_cybs_jwt import tasks
        from django_cybs_jwt.models import OutboundRequest, RequestState

        rows = OutboundRequest.objects.filter(state=RequestState.ANSWERED, host=HOST)
        before = rows.count()
        with self._held():
            for _ in range(count):
                self._enqueue()
            tasks.ring.flush(30)
        return self._timed(lambda: rows.count() - before, count)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The worker takes nothing meanwhile: what is measured is the work, not the publishing."""
        deadline = time.monotonic() + 60
        while not self._control("cancel_consumer"):
            if time.monotonic() > deadline:
                raise TimeoutError("The worker does not answer.")
        yield
        self._control("add_consumer")

    def _control(self, act: str) -> list[Any]:
        whom = [f"fast@{os.uname().nodename}"]
        answer: list[Any] = getattr(self.app.control, act)(
            self.queue, destination=whom, reply=True, timeout=5, limit=1
        )
        return answer

    def _timed(self, done: Callable[[], int], count: int) -> Rate:
        who = {
            "worker": self.workers.live,
            "gateway": self.gateways.pids,
            "PostgreSQL": processor.running("postgres", for_whom=self.database),
            "RabbitMQ": processor.running("beam.smp"),
        }
        used = {name: processor.seconds(pids) for name, pids in who.items()}
        started = time.monotonic()
        while done() < count:
            if time.monotonic() - started > 120:
                raise TimeoutError(f"{done()} of {count} in 120 s")
            time.sleep(0.02)
        rate = count / (time.monotonic() - started)
        return Rate(
            each_second=rate,
            used={
                name: (processor.seconds(pids) - used[name]) / count * 1000
                for name, pids in who.items()
            },
        )

    def _handled(self) -> int:
        return int(self.gateways.get(HOST, "handled"))

    def _told(self, name: str) -> int:
        return len(json.loads(self.gateways.get(HOST, name)))

    def _enqueue(self, which: int | None = None) -> Any:
        from django.db import transaction

        with transaction.atomic():
            return self._enqueue_within(which)

    def _enqueue_within(self, which: int | None = None) -> Any:
        """For a merchant of the first host, whose worker is measured, or for *which* of all."""
        from django_cybs_jwt import cybs

        self.made += 1
        fast, merchants = self.fast, self.merchants
        org_id = (
            fast[self.made % len(fast)] if which is None else merchants[which % len(merchants)][0]
        )
        document, key = platform.order(self.made), platform.code(self.made)
        return cybs.enqueue(org_id, "POST", PAYMENTS, json=document, idempotency_key=key)

    def _drop(self) -> None:
        from kombu import Connection

        with Connection(requires_rabbitmq()) as connection:
            for name in ("", "-care", "-slow", "-slow-care"):
                connection.default_channel.queue_delete(f"{self.queue}{name}")


if __name__ == "__main__":
    main()
