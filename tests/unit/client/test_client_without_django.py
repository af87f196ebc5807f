"""The pure half sends a payment where Django and Celery cannot be imported."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from __future__ import annotations

import asyncio
import importlib.abc
import secrets
import sys


class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("django", "celery", "asgiref", "kombu"):
            raise ImportError(f"{name} is not installed here")
        return None


sys.meta_path.insert(0, Blocked())
try:
    import django
except ImportError:
    pass
else:
    sys.exit("the block does not work")

import django_cybs_jwt
from django_cybs_jwt import client, exceptions, protocol, sealing, simulator
from django_cybs_jwt.protocol import MerchantKeys, SigningKey
from django_cybs_jwt.simulator.transport import SimulatorTransport

secret = secrets.token_bytes(32)
registry = simulator.MemoryRegistry()
registry.add("acme", kid="1111", secret=secret)
gateway = simulator.Gateway(registry)
keys = MerchantKeys(
    merchant="acme",
    host="apitest.cybersource.com",
    signing=SigningKey(owner="acme", kid="1111", algorithm="HS256", material=secret),
    gateway_certificate=protocol.GatewayCertificate.from_x509(gateway.identity.certificate),
)
transport = SimulatorTransport(gateway)
payment = {
    "clientReferenceInformation": {"code": "order-1"},
    "orderInformation": {"amountDetails": {"totalAmount": "1.00", "currency": "USD"}},
}


async def provide():
    return keys


async def main():
    async with client.AsyncClient(provide, transport=transport) as http:
        return await http.post("/pts/v2/payments", json=payment)


with client.Client(lambda: keys, transport=transport) as http:
    responses = [http.post("/pts/v2/payments", json=payment), asyncio.run(main())]
for response in responses:
    print(response.status_code, response.json()["status"], response.extensions["cybs"].kid)
    assert response.extensions["cybs"].request_encrypted
assert len(gateway.ledger.entries()) == 2
print([name for name in sys.modules if name.partition(".")[0] in ("django", "celery")])
"""


def test_both_clients_work_without_django_and_celery() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["201 AUTHORIZED 1111", "201 AUTHORIZED 1111", "[]"]
