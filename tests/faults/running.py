"""One run from the first order to the last count."""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import breaking, brokers, canaries, counting, platform
from tests.faults.breaking import Every
from tests.faults.counting import Counts
from tests.faults.platform import Gateways, Workers
from tests.services import requires_rabbitmq, scratch_postgresql

PLAN: dict[str, Any] = {
    "index_lag": 1.0,
    "late": 0.004,
    "faults": [
        {"kind": "reset_before", "probability": 0.01},
        {"kind": "reset_after", "probability": 0.01},
        {"kind": "truncate", "probability": 0.006},
        {"kind": "broken_jwe", "probability": 0.02},
        {"kind": "unknown_kid", "probability": 0.02},
        {"kind": "latency", "probability": 0.003, "seconds": 4.0},
        {"kind": "latency", "probability": 0.05, "seconds": 0.3},
        {"kind": "status", "probability": 0.006, "status": 502, "processed": True},
        {"kind": "status", "probability": 0.004, "status": 500},
        {"kind": "status", "probability": 0.004, "status": 503},
        {"kind": "status", "probability": 0.004, "status": 201, "processed": True},
        {"kind": "status", "probability": 0.01, "status": 429, "retry_after": 1},
    ],
}
# Refused for its time, a request comes back after a minute: in the long runs only.
SKEWED = [
    {"kind": "clock_skew", "probability": 0.001, "seconds": 300.0},
    {"kind": "clock_skew", "probability": 0.001, "seconds": -300.0},
]


@dataclass(kw_only=True)
class Run:
    """What runs on what; *control* is empty, `naive` or `no-fence`."""

    database: str = "postgresql"
    broker: str = "rabbitmq"
    orders: int = 10_000
    merchants: int = 50
    workers: int = 3
    pool: str = "threads"
    concurrency: int = 6
    kill_every: float = 12.0
    restart_every: float = 60.0
    every_point: bool = True  # order on until each has killed somebody
    skew: bool = True
    control: str = ""
    seconds: float = 900.0
    plan: dict[str, Any] = field(default_factory=lambda: dict(PLAN))

    def __call__(self) -> Counts:
        with ExitStack() as stack:
            return _Course(self, stack).counted()


class _Course:
    def __init__(self, run: Run, stack: ExitStack) -> None:
        self.run = run
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        plan = {**run.plan, "faults": run.plan["faults"] + (SKEWED if run.skew else [])}
        self.gateways = stack.enter_context(closing(Gateways(plan)))
        self.database = stack.enter_context(_database(run.database, self.folder))
        self.broker = stack.enter_context(brokers.broker(run.broker, self.folder))
        self.queue = f"cybs-faults-{uuid.uuid4().hex[:12]}"
        self.ordered = 0
        self._environment()
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        self.merchants = platform.enrol(self.gateways, run.merchants)
        env = dict(os.environ)
        self.log = Path(os.environ.get("FAULTS_LOG") or self.folder / "workers.log")
        self.workers = Workers(self._lines(), env, self.log, failpoints=not run.control)
        stack.callback(self._drop_queue)
        stack.callback(self.workers.stop)
        self.stack = stack
        self.doing: Counter[str] = Counter()
        self.started = time.monotonic()
        self.told_at = 0.0

    def counted(self) -> Counts:
        """Run it."""
        from django.db import connection

        chaos = self._chaos()
        self._order(self.run.orders)
        while not self._has_struck(chaos):
            if _insist(self._waiting) < 50:
                self._order(10)
            self.workers.tend()
            time.sleep(1)
        self._drain(until_calm=False)
        for each in chaos.values():
            each.close()
        connection.close()  # it may be one of those that were ended
        self.doing.update({name: each.count for name, each in chaos.items()})
        self.workers.calm()
        if self.run.control != "naive":
            while self._order_again():
                self._drain(until_calm=True)
        live = self.workers.live
        self.workers.stop()  # nothing moves while it is counted, whatever is left
        time.sleep(5)  # what the gateway processes late
        injected = self.gateways.told("injected")
        counts = counting.count(
            codes=[platform.code(number) for number in range(self.ordered)],
            ledger=self.gateways.told("ledger"),
            injected=injected,
            answered=dict(self.gateways.told("answered")),
            refusals=self.gateways.told("refusals"),
            live=live,
        )
        self.doing["workers killed"] = self.workers.killed
        self.doing["workers died"] = self.workers.died
        self.doing["seconds"] = int(time.monotonic() - self.started)
        self.doing.update(f"gateway: {each['kind']}" for each in injected)
        counts.doing = self.doing
        counts.died_at = self.workers.died_at()
        if self.run.every_point and not self.run.control:
            counts.points_that_killed_nobody = len(self.workers.spared())
        counts.broker = self.broker.told if self.broker else "none"
        self._search(counts)
        return counts

    def _search(self, counts: Counts) -> None:
        looked = {"logs": canaries.in_file(self.log)}
        if self.broker is not None:
            looked["broker, results, task events"] = self.broker.proxy.search
        counts.searched = {where: search.bytes for where, search in looked.items()}
        counts.canaries = sum(search.found.total() for search in looked.values())

    def _chaos(self) -> dict[str, Every]:
        acts: dict[str, Every] = {}
        if self.run.kill_every:
            acts["kills"] = Every(self.run.kill_every, self.workers.kill_one)
        if self.broker is not None:
            acts["broker cut off"] = Every(20.0, self.broker.cut_off)
            if self.broker.node is not None:
                acts["broker restarts"] = Every(self.run.restart_every, self.broker.restart)
        if self.run.database == "postgresql" and not self.run.control:
            cut = self.database
            acts["database connections ended"] = Every(5.0, lambda: breaking.cut_database(cut, 0.4))
        if not self.run.control:
            acts["rotations"] = Every(3.0, self._rotate)
            if self.broker is not None:
                acts["doubled rings"] = Every(0.2, self._double)
        for each in acts.values():
            self.stack.callback(each.close)  # whatever happens, before what it strikes is gone
        return acts

    def _has_struck(self, chaos: dict[str, Every]) -> bool:
        """Every kind of harm was done and every point has killed; or there was time enough."""
        if self.run.control or time.monotonic() - self.started > self.run.seconds / 2:
            return True
        spared = self.run.every_point and self.workers.spared()
        return all(each.count for each in chaos.values()) and not spared

    def _order(self, count: int) -> None:
        from django.db import transaction

        from django_cybs_jwt import cybs

        for number in range(self.ordered, self.ordered + count):
            org_id, _ = self.merchants[number % len(self.merchants)]
            if self.run.control == "naive":
                from tests.faults.celeryapp import naive

                naive.apply_async((org_id, platform.order(number)), queue=self.queue)
                continue
            _insist(
                lambda org_id=org_id, number=number: _in_transaction(
                    transaction,
                    lambda: cybs.enqueue(
                        org_id,
                        "POST",
                        "/pts/v2/payments",
                        json=platform.order(number),
                        idempotency_key=platform.code(number),
                    ),
                )
            )
            if number % 50 == 0:
                self.workers.tend()
        self.ordered += count

    def _order_again(self) -> int:
        """What the shop does: a charge that is proved absent or undone is made again."""
        from django_cybs_jwt import cybs
        from django_cybs_jwt.models import OutboundRequest

        again = 0
        for row in OutboundRequest.objects.filter(state__in=("ABSENT", "VOIDED")):
            number = int(row.idempotency_key.split("-")[1])
            key = f"{row.idempotency_key}-again"
            if OutboundRequest.objects.filter(
                organization=row.organization_id, idempotency_key=key
            ).exists():
                continue
            org_id, _ = self.merchants[number % len(self.merchants)]
            document = platform.order(number)
            cybs.enqueue(org_id, "POST", "/pts/v2/payments", json=document, idempotency_key=key)
            again += 1
        self.doing["ordered again"] += again
        return again

    def _drain(self, *, until_calm: bool) -> None:
        from django.db import DatabaseError, connection

        deadline = self.started + self.run.seconds
        heal_at = time.monotonic() + (0 if until_calm else self.run.seconds / 2)
        while time.monotonic() < deadline:
            self.workers.tend()
            if time.monotonic() > heal_at:
                self.gateways.heal()
                heal_at = deadline
            try:
                if not self._waiting():
                    return
                self._tell()
            except DatabaseError:
                connection.close()
            time.sleep(0.5)

    def _tell(self) -> None:
        from django.db.models import Count

        from django_cybs_jwt.models import OutboundRequest

        elapsed = time.monotonic() - self.started
        if self.run.control != "naive" and elapsed - self.told_at >= 10:
            self.told_at = elapsed
            rows = OutboundRequest.objects.order_by().values_list("state", "reason")
            found = rows.annotate(Count("pk"))
            print(f"{elapsed:.0f} s: {self.workers.resident_kib() // 1024} MiB", *found, flush=True)

    def _waiting(self) -> int:
        from django_cybs_jwt.models import ACTED_ON, OutboundRequest

        if self.run.control == "naive":
            before = len(self.gateways.told("ledger"))
            time.sleep(8)
            return len(self.gateways.told("ledger")) - before
        return OutboundRequest.objects.filter(state__in=ACTED_ON).count()

    def _rotate(self) -> int:
        import random

        from django.db import DatabaseError, connection

        org_id = f"m{random.choice([n for n in range(self.run.merchants) if n % 10 >= 2])}"
        try:
            platform.rotate(self.gateways, org_id)
        except DatabaseError:
            return 0
        finally:
            connection.close()
        return 1

    def _double(self) -> int:
        from django.db import DatabaseError, connection

        from django_cybs_jwt import tasks
        from django_cybs_jwt.models import OutboundRequest

        try:
            rows = OutboundRequest.objects.order_by("?").values_list("pk", "host")[:3]
            for pk, host in rows:
                tasks.ring(pk, host)
                tasks.ring(pk, host)
        except DatabaseError:
            return 0
        finally:
            connection.close()
        return 6

    def _environment(self) -> None:
        url = self.broker.proxy.url if self.broker else ""
        os.environ.update(
            DJANGO_SETTINGS_MODULE="tests.faults.settings",
            DATABASE_URL=self.database,
            FAULTS_BASE_URLS=json.dumps(self.gateways.base_urls),
            FAULTS_BROKER=url,
            FAULTS_RESULTS={"redis": url, "rabbitmq": "rpc://"}.get(self.run.broker, ""),
            FAULTS_QUEUE=self.queue,
            FAULTS_CONTROL=self.run.control,
        )

    def _lines(self) -> list[list[str]]:
        if self.broker is None:
            return [platform.plain_worker(self.run.concurrency)] * self.run.workers
        from tests.faults import celeryapp  # noqa: F401  # this process rings too

        names = [f"w{number}-{uuid.uuid4().hex[:6]}" for number in range(self.run.workers)]
        pool, concurrency = self.run.pool, self.run.concurrency
        workers = [
            [*platform.celery_worker(name, self.queue, pool, concurrency), "--task-events"]
            for name in names
        ]
        return [*workers, platform.celery_beat(self.folder)]

    def _drop_queue(self) -> None:
        if self.broker is not None and self.broker.node is None:
            from kombu import Connection

            with Connection(requires_rabbitmq()) as connection:
                for name in (self.queue, f"{self.queue}-care"):
                    connection.default_channel.queue_delete(name)


def _in_transaction(transaction: Any, act: Any) -> None:
    with transaction.atomic():
        act()


def _insist(act: Any) -> None:
    """The shop's own database connection is cut as well; its key makes the repetition safe."""
    from django.db import InterfaceError, OperationalError, connection

    for _ in range(20):
        try:
            return act()
        except (OperationalError, InterfaceError):
            connection.close()
            time.sleep(0.1)
    return act()


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'db.sqlite3'}"
        return
    with scratch_postgresql("cybs_faults") as url:
        yield url
