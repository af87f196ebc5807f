"""Gateways, merchants and one Celery worker, told what to do line by line. A process of the tests.

python celery_stage.py BROKER DATABASE FOLDER POOL
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.faults import platform
from tests.faults.platform import Gateways, Workers


def main(broker: str, database: str, folder: str, pool: str) -> None:
    queue = f"cybs-stage-{os.getpid()}"
    with closing(Gateways({})) as gateways:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="tests.faults.settings",
            DATABASE_URL=database,
            FAULTS_BASE_URLS=json.dumps(gateways.base_urls),
            FAULTS_BROKER=broker,
            FAULTS_RESULTS=broker if broker.startswith("redis") else "rpc://",
            FAULTS_QUEUE=queue,
        )
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        merchants = platform.enrol(gateways, 2)
        from tests.faults.celeryapp import app

        events = Events(app)
        line = [*platform.celery_worker("stage", queue, pool, 2), "--task-events"]
        log = Path(folder) / "workers.log"
        workers = Workers([line], dict(os.environ), log, failpoints=False)
        try:
            for question in sys.stdin:
                answer = _answer(json.loads(question), gateways, merchants, workers, events)
                print(json.dumps(answer), flush=True)
        finally:
            workers.stop()
            with app.connection_for_write() as connection:
                for name in (queue, f"{queue}-care"):
                    connection.default_channel.queue_delete(name)


def _answer(
    question: dict[str, Any],
    gateways: Gateways,
    merchants: list[tuple[str, str]],
    workers: Workers,
    events: Events,
) -> Any:
    match question.pop("act"):
        case "order":
            _order(question["count"], merchants)
            return None
        case "states":
            return _states()
        case "slow":
            for host in platform.HOSTS:
                fault = {"kind": "latency", "probability": 1.0, "seconds": question["seconds"]}
                gateways.tell(host, "faults", fault)
            return None
        case "signal":
            for pid in workers.live:
                os.kill(pid, question["number"])
            return None
        case "alive":
            return bool(workers.live)
        case "leftovers":
            return {"events": len(events.seen), "text": events.text() + _stored(events.app)}
    raise ValueError(question)


class Events:
    """What a monitor is told: every task event, whole."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.seen: list[dict[str, Any]] = []
        threading.Thread(target=self._capture, daemon=True).start()

    def text(self) -> str:
        return json.dumps(self.seen, default=str)

    def _capture(self) -> None:
        with self.app.connection_for_read() as connection:
            receiver = self.app.events.Receiver(connection, handlers={"*": self.seen.append})
            receiver.capture(limit=None, timeout=None, wakeup=False)


def _stored(app: Any) -> str:
    """Everything that a Redis broker and result backend hold."""
    if not app.conf.broker_url.startswith("redis"):
        return ""
    import redis

    found = []
    with redis.Redis.from_url(app.conf.broker_url) as store:
        for key in store.scan_iter():
            found += [key, store.dump(key) or b""]
    return b" ".join(found).decode("latin-1")


def _order(count: int, merchants: list[tuple[str, str]]) -> None:
    from django.db import transaction

    from django_cybs_jwt import cybs, tasks

    for number in range(count):
        with transaction.atomic():
            cybs.enqueue(
                merchants[number % len(merchants)][0],
                "POST",
                "/pts/v2/payments",
                json=platform.order(number),
                idempotency_key=platform.code(number),
            )
    tasks.ring.flush(10)


def _states() -> dict[str, int]:
    from django_cybs_jwt.models import OutboundRequest

    return dict(Counter(OutboundRequest.objects.values_list("state", flat=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
