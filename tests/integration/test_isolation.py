"""Many merchants at once in one process: every request is signed with its own merchant's key."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.db import connection
from django.utils import timezone

from django_cybs_jwt import cybs
from django_cybs_jwt.models import Credential
from django_cybs_jwt.protocol.keys import common_name
from django_cybs_jwt.services import coverage, gateway_certificates, signing
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.simulation import Simulation
from tests.unit.services import enrolment

pytestmark = [
    pytest.mark.alone,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("cybs_ring"),
]

logger = logging.getLogger(__name__)

MERCHANTS = 200
THREADS = 16
EACH = 100
COVERED = 10


@pytest.fixture(scope="session")
def rsa_keys() -> list[RSAPrivateKey]:
    """200 keys of their own; two at a time, as making one does not hold the global lock."""
    with ThreadPoolExecutor(max_workers=2) as executor:
        return list(executor.map(lambda _: material.rsa_key(), range(MERCHANTS)))


@pytest.fixture
def merchants(cybs_simulator: Simulation, rsa_keys: list[RSAPrivateKey]) -> list[str]:
    """100 sign with RSA; 100 with a shared secret, and read replies with a key of their own.

    Ten more have no key: a portfolio's meta key signs for them.
    """
    add_certificate(cybs_simulator.certificate)
    for number, key in enumerate(rsa_keys):
        owner = enrolment.organization(f"m{number:03}")
        if number % 2:
            enrolment.rsa_key(owner, purpose="signing", key=key)
        else:
            enrolment.shared_secret(owner)
            enrolment.rsa_key(owner, key=key)
    portfolio = enrolment.organization("portfolio", kind="portfolio")
    enrolment.shared_secret(portfolio, covers="selected")
    covered = [enrolment.organization(f"c{number:03}").org_id for number in range(COVERED)]
    coverage.add("portfolio", covered, actor="tests")
    signing.forget()
    return [*(f"m{number:03}" for number in range(MERCHANTS)), *covered]


def add_certificate(gateway: material.GatewayMaterial, *, preferred: bool = False) -> None:
    gateway_certificates.add(
        gateway.pem.encode(),
        host=enrolment.HOST,
        actor="tests",
        now=timezone.now(),
        preferred=preferred,
    )


def payment(code: str) -> dict[str, Any]:
    return {
        "clientReferenceInformation": {"code": code},
        "orderInformation": {"amountDetails": {"totalAmount": "10.00", "currency": "EUR"}},
        "paymentInformation": {
            "card": {
                "number": "4111111111111111",
                "expirationMonth": "12",
                "expirationYear": "2031",
            }
        },
    }


def signing_keys() -> dict[str, tuple[str, str]]:
    """Merchant -> owner and kid that must have signed, from the rows alone."""
    rows = Credential.objects.filter(slot__purpose="signing").select_related("organization")
    own = {row.organization.org_id: (row.organization.org_id, row.key_id) for row in rows}
    return own | {f"c{number:03}": own["portfolio"] for number in range(COVERED)}


def check(simulation: Simulation, sent: Counter[str]) -> None:
    """Every request arrived, was verified, and carried its own merchant's signature."""
    expected = signing_keys()
    wrong = [
        entry
        for entry in simulation.ledger
        if (entry.signed_by, entry.kid) != expected[entry.org_id]
        or not entry.code.startswith(f"{entry.org_id}-")
    ]
    assert wrong == []
    assert simulation.gateway.refusals.as_json() == []
    assert Counter(entry.org_id for entry in simulation.ledger) == sent


def check_reply(reply: cybs.Reply, merchant: str, code: str) -> None:
    assert reply.status_code == 201
    assert reply.request_encrypted
    assert reply.json()["clientReferenceInformation"]["code"] == code
    assert reply.encrypted is (merchant.startswith("m") and int(merchant[1:]) % 2 == 0)


def test_200_merchants_in_16_threads(cybs_simulator: Simulation, merchants: list[str]) -> None:
    def work(worker: int) -> Counter[str]:
        chosen = random.Random(worker).sample(merchants * 2, EACH)
        try:
            for number, merchant in enumerate(chosen):
                code = f"{merchant}-{worker}-{number}"
                reply = cybs.send(merchant, "POST", "/pts/v2/payments", json=payment(code))
                check_reply(reply, merchant, code)
        finally:
            connection.close()
        return Counter(chosen)

    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=THREADS) as executor:
        sent: Counter[str] = sum(executor.map(work, range(THREADS)), Counter())
    seconds = time.monotonic() - started
    logger.info("%d requests of %d merchants in %.1f s", sent.total(), len(sent), seconds)
    assert sent.total() == THREADS * EACH
    assert len(sent) > MERCHANTS * 0.95
    check(cybs_simulator, sent)


def test_200_merchants_in_200_tasks(cybs_simulator: Simulation, merchants: list[str]) -> None:
    async def one(merchant: str) -> None:
        for number in range(3):
            code = f"{merchant}-{number}"
            reply = await cybs.asend(merchant, "POST", "/pts/v2/payments", json=payment(code))
            check_reply(reply, merchant, code)

    async def everybody() -> None:
        async with asyncio.TaskGroup() as group:
            for merchant in merchants:
                group.create_task(one(merchant))

    async_to_sync(everybody)()
    check(cybs_simulator, Counter(dict.fromkeys(merchants, 3)))


def test_keys_read_by_16_threads_at_once_are_each_merchants_own(
    cybs_simulator: Simulation, merchants: list[str]
) -> None:
    """Cold: all threads want all keys at the same moment."""
    expected = signing_keys()

    def work(worker: int) -> int:
        shuffled = random.Random(worker).sample(merchants, len(merchants))
        try:
            found = {name: signing.keys_for(name) for name in shuffled}
        finally:
            connection.close()
        return sum(
            (keys.signing.owner, keys.signing.kid) != expected[name] or keys.merchant != name
            for name, keys in found.items()
        )

    with ThreadPoolExecutor(max_workers=THREADS) as executor:
        assert sum(executor.map(work, range(THREADS))) == 0


# A forged gateway certificate in one merchant's upload


def encrypted_for(merchant: str) -> str:
    """The kid that a request of *merchant* is encrypted for, read from the wire."""
    signing.forget()
    body = json.dumps(payment(f"{merchant}-x")).encode()
    signed = cybs.sign(merchant, "POST", "/pts/v2/payments", body)
    header = json.loads(signed.body)["encryptedRequest"].partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=="))["kid"])


def test_a_forged_certificate_in_one_upload_changes_nothing_for_any_other_merchant(
    cybs_simulator: Simulation,
) -> None:
    real = cybs_simulator.certificate
    forged = material.gateway_certificate(
        private_key=material.rsa_key(name="forger"),
        not_before=timezone.now().replace(microsecond=0) - timedelta(minutes=1),
    )
    assert common_name(forged.certificate) == common_name(real.certificate) == "CyberSource_SJC_US"
    own = enrolment.organization("own")
    enrolment.rsa_key(own, purpose="signing", gateway=real.certificate)
    enrolment.shared_secret(enrolment.organization("hosts"))
    add_certificate(real)
    portfolio = enrolment.organization("portfolio", kind="portfolio")
    enrolment.rsa_key(portfolio, purpose="signing", covers="all", gateway=real.certificate)
    victim = enrolment.organization("victim", parent="portfolio")

    file = material.p12("attacked", gateway=forged, private_key=material.rsa_key(name="attacked"))
    attacked = enrolment.organization("attacked")
    enrolment.store(attacked, enrolment.p12_inspection(file))
    # Even one that a covered merchant brings along: the key's owner decides.
    gateway_certificates.keep(victim, [forged.certificate], attacked.credentials.get())

    assert encrypted_for("attacked") == forged.kid
    assert {encrypted_for(name) for name in ("own", "hosts", "victim")} == {real.kid}
    for merchant in ("own", "hosts", "victim"):
        reply = cybs.send(merchant, "POST", "/pts/v2/payments", json=payment(f"{merchant}-1"))
        assert (reply.status_code, reply.request_encrypted) == (201, True)
    refused = cybs.send("attacked", "POST", "/pts/v2/payments", json=payment("attacked-1"))
    assert refused.status_code >= 400
    assert {entry.org_id for entry in cybs_simulator.ledger} == {"own", "hosts", "victim"}

    add_certificate(real, preferred=True)
    assert encrypted_for("attacked") == real.kid
