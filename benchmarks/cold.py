"""What a merchant's first request costs beyond the HTTP call, and how many queries it takes.

    python -m benchmarks.cold [--merchants 100] [--processes 10]

On a PostgreSQL database of its own and a simulator on loopback. Each merchant has a P12 signing
key, a Response MLE key and the host's certificate, so both directions are encrypted. The HTTP call
is what `Reply.elapsed` covers; all the rest of `cybs.send` counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from tests.faults import platform
from tests.faults.platform import HOSTS, Gateways
from tests.services import scratch_postgresql

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = 5.0  # ms


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__)
    parser.add_argument("--merchants", type=int, default=100)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--first", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first:
        _set_up()
        print(json.dumps(_sent(options.first)))
        return
    print(", ".join(f"{name} {value}" for name, value in report.machine().items()))
    with scratch_postgresql("cybs_cold") as url, closing(Gateways({})) as gateways:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="tests.faults.settings",
            DATABASE_URL=url,
            FAULTS_BASE_URLS=json.dumps(gateways.base_urls),
        )
        _set_up()
        for line in _measured(gateways, options.merchants, options.processes):
            print(line)
        _write_uses()


def _measured(gateways: Gateways, merchants: int, processes: int) -> Iterator[str]:
    names = list(_enrolled(gateways, merchants + 1))
    firsts = [_first_of_a_process(names[0]) for _ in range(processes)]
    _sent(names[0])  # this process has its connections, its key ring and the table of operations
    cold = [_sent(name) for name in names[1:]]
    warm = [_sent(name) for name in names[1:]]
    yield _line("first request of a process", firsts)
    yield _line("first request of a merchant", cold)
    yield _line("its second", warm)
    yield f"target: the first of a merchant under {TARGET:.0f} ms and at most 4 queries"


def _enrolled(gateways: Gateways, count: int) -> Iterator[str]:
    from django.core.management import call_command
    from django.utils import timezone

    from django_cybs_jwt.services import gateway_certificates, organizations

    call_command("migrate", verbosity=0)
    host, now = HOSTS[0], timezone.now()
    pem = gateways.get(host, "certificate")
    gateway_certificates.add(pem, host=host, actor="benchmark", now=now, preferred=True)
    for number in range(count):
        owner = organizations.add(f"cold{number}", actor="benchmark", kind="merchant", host=host)
        platform.new_p12s(gateways, owner)
        yield owner.org_id


def _first_of_a_process(name: str) -> tuple[float, int]:
    line = [sys.executable, "-m", "benchmarks.cold", "--first", name]
    done = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True)
    milliseconds, queries = json.loads(done.stdout)
    return milliseconds, queries


def _sent(name: str) -> tuple[float, int]:
    """Milliseconds beyond the HTTP call, and queries."""
    from django.db import connection

    from django_cybs_jwt import cybs

    def counted(execute: Any, *call: Any) -> Any:
        queries.append(1)
        return execute(*call)

    queries: list[int] = []
    payment = platform.order(1)
    # Django's own list of queries would write each out, which takes as long as building it.
    with connection.execute_wrapper(counted):
        began = time.perf_counter()
        reply = cybs.send(name, "POST", "/pts/v2/payments", json=payment)
        seconds = time.perf_counter() - began
    assert (reply.status_code, reply.request_encrypted, reply.encrypted) == (201, True, True)
    return (seconds - reply.elapsed.total_seconds()) * 1000, len(queries)


def _line(what: str, found: list[tuple[float, int]]) -> str:
    times = sorted(milliseconds for milliseconds, _ in found)
    most = max(queries for _, queries in found)
    return (
        f"{what:28} p50 {statistics.median(times):5.2f} ms, p90 {times[len(times) * 9 // 10]:5.2f}"
        f" ms, at most {most} queries, of {len(times)}"
    )


def _write_uses() -> None:
    """As long as there is a database: at its exit the process would find none."""
    from django.db import connections

    from django_cybs_jwt.services import usage

    usage.flush()
    connections.close_all()


def _set_up() -> None:
    import django

    django.setup()


if __name__ == "__main__":
    main()
