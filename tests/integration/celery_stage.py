"""Gateways, merchants and one Celery worker, told what to do line by line. A process of the tests.

python celery_stage.py BROKER DATABASE FOLDER POOL
"""

from __future__ import annotations

import json
import os
import sys
import threading
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.faults import platform
from tests.faults.platform import Gateways, Workers


def main(broker: str, database: str, folder: str, pool: str) -> None:
    queue = f"cybs-stage-{uuid.uuid4().hex[:12]}"
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
        workers = Workers([line], dict(os.environ), log)
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
        case "slow":
            for host in platform.HOSTS:
                fault = {"kind": "latency", "probability": 1.0, "seconds": question["seconds"]}
                gateways.tell(host, "faults", fault)
        case "signal":
            for pid in workers.live:
                os.kill(pid, question["number"])
        case "states":
            return _states()
        case "alive":
            return bool(workers.live)
        case "waiting":
            return {"ids": _queued(), "text": _messages(events.app)}
        case "leftovers":
            return {"events": len(events.seen), "text": events.text() + _stored(events.app)}
    return None


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


def _messages(app: Any) -> str:
    """Every message that waits, whole and decoded; it stays where it is."""
    from django.conf import settings
    from kombu import Queue

    found = []
    with app.connection_for_read() as connection:
        channel = connection.channel()
        for name in settings.CYBS_JWT["TASK_QUEUES"].values():
            while message := Queue(name, channel=channel).get(no_ack=False):
                body = message.body.decode() if isinstance(message.body, bytes) else message.body
                found += [body, json.dumps([message.headers, message.properties], default=str)]
        channel.close()
    return " ".join(found)


def _stored(app: Any) -> str:
    """Every key and value of a Redis that is broker and result backend, as it is stored."""
    if not app.conf.broker_url.startswith("redis"):
        return ""
    import redis

    readers = {"string": "get {}", "list": "lrange {} 0 -1", "set": "smembers {}",
               "hash": "hgetall {}", "zset": "zrange {} 0 -1"}  # fmt: skip
    with redis.Redis.from_url(app.conf.broker_url, decode_responses=True) as store:
        found = [
            (key, store.execute_command(*readers[store.type(key)].format(key).split()))
            for key in store.scan_iter()
        ]
    return str(found)


def _order(count: int, merchants: list[tuple[str, str]]) -> None:
    from django.db import transaction

    from django_cybs_jwt import cybs, tasks
    from django_cybs_jwt.models import OutboundRequest

    begin = OutboundRequest.objects.count()
    for number in range(begin, begin + count):
        with transaction.atomic():
            cybs.enqueue(
                merchants[number % len(merchants)][0],
                "POST",
                "/pts/v2/payments",
                json=platform.order(number),
                idempotency_key=platform.code(number),
            )
    tasks.ring.flush(10)


def _queued() -> list[str]:
    from django_cybs_jwt.models import OutboundRequest

    waiting = OutboundRequest.objects.filter(state="QUEUED").values_list("pk", flat=True)
    return list(map(str, waiting))


def _states() -> dict[str, int]:
    from django_cybs_jwt.models import OutboundRequest

    return dict(Counter(OutboundRequest.objects.values_list("state", flat=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
