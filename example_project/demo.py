"""From an empty database to signed, encrypted payments. Run it with `make demo`.

Every step is a command that an operator would type, printed as it runs.
The gateway is the simulator, in a process of its own, on a real socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
HOST = "apitest.cybersource.com"
MERCHANTS = ("shoes", "books", "garden")
# What example/settings.py reads: a shell that has one of these points it somewhere else.
READ_BY_SETTINGS = (
    "CELERY_BROKER_URL",
    "CYBS_BASE_URLS",
    "CYBS_CA_BUNDLE",
    "CYBS_DOORBELL",
    "CYBS_KEYRING_FILE",
    "DATABASE_URL",
    "DEBUG",
)
# In a container everybody is root, and this worker lives for seconds.
AS_ROOT = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges"}


def main() -> None:
    started = time.monotonic()
    keep_to_own_folder()
    shutil.rmtree(DATA, ignore_errors=True)
    port = free_port()
    os.environ["CYBS_DOORBELL"] = "django_cybs_jwt.tasks.ring"
    os.environ["CYBS_BASE_URLS"] = json.dumps({HOST: f"http://127.0.0.1:{port}"})
    setup_django()
    command("cybs_keyring generate")
    command("migrate --verbosity 0")
    with simulator(port), tempfile.TemporaryDirectory() as folder:
        import_keys(Path(folder), port)
        with celery_worker() as worker:
            rows = send_payments()
            queue_orders(4)
            wait_for_orders()
        queue_orders(7)
        command("cybs_queue")
        process("cybs_worker --drain --threads 2")
        rows += queued_rows(worker)
        rotate_under_traffic(Path(folder))
        make_orders()
    print_table(rows)
    print_where_to_look(time.monotonic() - started)


def keep_to_own_folder() -> None:
    """Whatever the shell has exported: no other database, ring, broker or gateway is touched."""
    for name in READ_BY_SETTINGS:
        os.environ.pop(name, None)
    os.environ["DJANGO_SETTINGS_MODULE"] = "example.settings"


def setup_django() -> None:
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import django

    django.setup()


def command(line: str) -> None:
    """Run one of our commands and show it."""
    import shlex

    from django.core.management import call_command

    print(f"\n$ manage.py {line}")
    call_command(*shlex.split(line))


def process(line: str) -> None:
    """Run one of our commands as a process of its own, and show it."""
    print(f"\n$ manage.py {line}", flush=True)
    subprocess.run([sys.executable, str(HERE / "manage.py"), *line.split()], check=True)


@contextmanager
def celery_worker() -> Iterator[int]:
    """A worker that is rung over files in a folder: no broker to install. Gives its process id."""
    options = "--pool solo --without-gossip --without-mingle --loglevel ERROR"
    line = f"--quiet --app example worker {options}"
    print(f"\n$ celery {line} &", flush=True)
    command = [sys.executable, "-m", "celery", *line.split()]
    worker = subprocess.Popen(command, cwd=HERE, env=os.environ | AS_ROOT)
    try:
        yield worker.pid
    finally:
        worker.terminate()
        worker.wait()


@contextmanager
def simulator(port: int) -> Iterator[None]:
    line = f"cybs_simulator --port {port} --identity {DATA / 'simulator.pem'}"
    print("\n$ manage.py cybs_simulator --port", port, "&")
    process = subprocess.Popen([sys.executable, str(HERE / "manage.py"), *line.split()])
    try:
        wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait()


def import_keys(folder: Path, port: int) -> None:
    """Three kinds of key: a merchant's P12, a shared secret, a portfolio's meta key."""
    certificate = folder / "gateway.pem"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/__simulator/certificate") as answer:
        certificate.write_bytes(answer.read())
    command(f"cybs_gateway_cert add {certificate} --host {HOST} --prefer")

    command(f"cybs_org add shoes --kind merchant --host {HOST}")
    import_p12(folder, "shoes", "signing")
    import_p12(folder, "shoes", "response-mle")

    command(f"cybs_org add books --kind merchant --host {HOST}")
    import_shared_secret("books")
    import_p12(folder, "books", "response-mle")

    command(f"cybs_org add mall --kind portfolio --host {HOST}")
    command(f"cybs_org add garden --kind merchant --host {HOST} --parent mall")
    import_p12(folder, "mall", "signing", "--covers all --algorithm PS256")
    import_p12(folder, "mall", "response-mle")

    command("cybs_keys list")


def import_p12(
    folder: Path, org_id: str, purpose: str, extra: str = "", *, activate: bool = True
) -> None:
    from django_cybs_jwt.testing import material

    file = material.p12(org_id)
    path = folder / f"{org_id}-{purpose}.p12"
    path.write_bytes(file.data)
    os.environ["P12_PASSWORD"] = file.password
    line = f"cybs_import {org_id} {path} --purpose {purpose} --password-env P12_PASSWORD"
    command(f"{line} {'--activate' if activate else ''} {extra}".rstrip())


def import_shared_secret(org_id: str) -> None:
    from django_cybs_jwt.testing import material

    file = material.shared_secret()
    os.environ["SECRET"] = file.secret
    command(
        f"cybs_import {org_id} --shared-secret --key-id {file.key_id} --secret-env SECRET "
        "--expires 2029-01-31 --activate"
    )


def send_payments() -> list[dict[str, Any]]:
    """One call each way for every merchant: cybs.send, then cybs.asend."""
    from django_cybs_jwt import cybs

    rows = []
    for merchant in MERCHANTS:
        cybs.send(merchant, "GET", "/tss/v2/transactions/1")  # opens connection and keys
        reply = cybs.send(merchant, "POST", "/pts/v2/payments", json=payment(merchant, "send"))
        rows.append(row(merchant, "send", reply))
    for merchant, reply in zip(MERCHANTS, asyncio.run(send_together()), strict=True):
        rows.append(row(merchant, "asend", reply))
    return rows


async def send_together() -> list[Any]:
    from django_cybs_jwt import cybs

    calls = [
        cybs.asend(merchant, "POST", "/pts/v2/payments", json=payment(merchant, "asend"))
        for merchant in MERCHANTS
    ]
    return await asyncio.gather(*calls)


def queue_orders(first: int) -> None:
    """One for each merchant, its payment stored in the same transaction as the order."""
    from orders.models import Order
    from orders.payments import TEST_CARD, queue

    for number, merchant in enumerate(MERCHANTS, first):
        queue(Order(merchant=merchant, code=f"ORDER-{number}", amount=10 * number), TEST_CARD)


def wait_for_orders() -> None:
    """What Celery has not sent by then, cybs_worker will: the row is the record."""
    from orders.models import Order

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and Order.objects.filter(status="QUEUED").exists():
        time.sleep(0.1)


def queued_rows(celery: int) -> list[dict[str, Any]]:
    """What the queue wrote down, and who sent it."""
    from django_cybs_jwt import cybs
    from django_cybs_jwt.models import Attempt

    rows = []
    for attempt in Attempt.objects.select_related("request__organization").order_by("pk"):
        merchant = attempt.request.organization.org_id
        by_celery = f":{celery}:" in attempt.owner
        status = f"{attempt.http_status} {attempt.request.outcome}"
        rows.append(
            {
                "merchant": merchant,
                "call": f"enqueue, {'Celery' if by_celery else 'cybs_worker'}",
                **signed_by(cybs.keys_for(merchant).signing, merchant),
                "kid": attempt.key_id,
                "request": "encrypted" if attempt.request_encrypted else "in clear",
                "reply": "encrypted" if attempt.reply_encrypted else "in clear",
                "status": status,
                "ms": f"{attempt.elapsed_ms:.1f}",
            }
        )
    return rows


def payment(merchant: str, call: str) -> dict[str, Any]:
    return {
        "clientReferenceInformation": {"code": f"{merchant}-{call}"},
        "paymentInformation": {
            "card": {
                "number": "4111111111111111",
                "expirationMonth": "12",
                "expirationYear": "2031",
            }
        },
        "orderInformation": {"amountDetails": {"totalAmount": "102.21", "currency": "USD"}},
    }


def row(merchant: str, call: str, reply: Any) -> dict[str, Any]:
    return {
        "merchant": merchant,
        "call": call,
        **signed_by(reply.exchange.keys.signing, merchant),
        "kid": reply.key_id,
        "request": "encrypted" if reply.request_encrypted else "in clear",
        "reply": "encrypted" if reply.encrypted else "in clear",
        "status": f"{reply.status_code} {reply.json()['status']}",
        "ms": f"{reply.elapsed.total_seconds() * 1000:.1f}",
    }


def signed_by(signing: Any, merchant: str) -> dict[str, str]:
    kind = "shared secret" if isinstance(signing.material, bytes) else "P12"
    meta = "" if signing.owner == merchant else f", meta key of {signing.owner}"
    return {"key": kind + meta, "alg": signing.algorithm}


def rotate_under_traffic(folder: Path) -> None:
    """A merchant pays without pause while its key is replaced and rolled back."""
    from django_cybs_jwt import cybs
    from django_cybs_jwt.exceptions import CybsError
    from django_cybs_jwt.services import key_cache

    sent: Counter[str] = Counter()
    failed: list[str] = []
    stop = threading.Event()

    def pay() -> None:
        while not stop.is_set():
            code = f"traffic-{sent.total()}"
            try:
                reply = cybs.send("shoes", "POST", "/pts/v2/payments", json=payment("shoes", code))
                sent[reply.raise_for_status().key_id] += 1
            except CybsError as error:
                failed.append(str(error))

    worker = threading.Thread(target=pay)
    worker.start()
    import_p12(folder, "shoes", "signing", activate=False)
    command("cybs_verify shoes --purpose signing")
    for line in ("--overlap 1h", "--rollback"):
        command(f"cybs_rotate shoes --purpose signing {line}")
        time.sleep(key_cache.LOOK_EVERY + 0.5)
    stop.set()
    worker.join()
    print(f"\nMeanwhile {sent.total()} payments were sent, {len(failed)} failed. Signed by:")
    for kid, count in sent.items():
        print(f"  {kid}: {count}")


def make_orders() -> None:
    """Orders for the page, and a user for the admin."""
    from django.contrib.auth import get_user_model
    from orders.models import Order

    for number, merchant in enumerate(MERCHANTS, 1):
        Order.objects.create(merchant=merchant, code=f"ORDER-{number}", amount=10 * number)
    password = secrets.token_urlsafe(9)
    get_user_model().objects.create_superuser("admin", "", password)
    (DATA / "admin-password").write_text(password)


def print_table(rows: list[dict[str, Any]]) -> None:
    lines = [list(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print()
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())


def print_where_to_look(seconds: float) -> None:
    password = (DATA / "admin-password").read_text()
    print(
        f"\nDone in {seconds:.0f} s. `make serve` shows the admin at http://127.0.0.1:8000/admin/ "
        f"(user admin, password {password})\nand the orders at http://127.0.0.1:8000/."
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("The simulator did not start; its message stands above.")


if __name__ == "__main__":
    main()
