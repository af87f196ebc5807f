"""Secrets to look for, and failures that come close to them.

No frame here keeps one in a variable: what a page shows of a caller is the caller's.
"""

from __future__ import annotations

import asyncio
import base64
import html
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from django_cybs_jwt import conf, cybs
from django_cybs_jwt.client import AsyncClient, Client, pools
from django_cybs_jwt.models import AuditHead, KeyEvent, Organization
from django_cybs_jwt.services import gateway_certificates
from django_cybs_jwt.services.inspection import Inspection, Wanted
from django_cybs_jwt.services.inspection import inspect_file as inspect
from django_cybs_jwt.services.inspection import inspect_shared_secret as inspect_text
from django_cybs_jwt.services.queue import submitting, working
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.ring import testing_ring as published_ring
from tests.unit.services import enrolment

PAN = "4111111111111111"
PASSWORD = "Tr0ub4dor-and-3"
SECRET = material.shared_secret().secret
PAYMENTS = ("acme", "POST", "/pts/v2/payments")


def payment(**more: Any) -> dict[str, Any]:
    return {
        "clientReferenceInformation": {"code": "order-1"},
        "orderInformation": {"amountDetails": {"totalAmount": "10.00", "currency": "EUR"}},
        "paymentInformation": {
            "card": {"number": PAN, "expirationMonth": "12", "expirationYear": "2031"}
        },
        **more,
    }


def body() -> bytes:
    return json.dumps(payment()).encode()


@cache
def p12(org_id: str) -> material.P12File:
    key = material.rsa_key(name="planted")
    return material.p12(org_id, password=PASSWORD, private_key=key)


@cache
def pem() -> bytes:
    from tests.unit.services.test_importing import pem as encoded

    return encoded(material.rsa_key(name="planted pem"))


@cache
def needles() -> dict[str, list[str]]:
    """Short pieces of each secret in every spelling: pages break long ones over lines."""
    texts = {"card number": [PAN], "password": [PASSWORD], "shared secret": pieces(SECRET, 16)}
    texts["pem"] = [line for line in pem().decode().splitlines()[1:-1] if len(line) == 64]
    ring = published_ring()
    keks = [ring["index_key"], ring["audit_key"], ring["keys"]["testing"]["key"]]
    raw = {
        "shared secret": base64.b64decode(SECRET),
        "p12": p12("acme").data[-400:-100],
        "key": enrolment.pkcs8(material.rsa_key(name="planted"))[40:],
        "pem key": enrolment.pkcs8(material.rsa_key(name="planted pem"))[40:],
    }
    texts["ring"] = [piece for kek in keks for piece in pieces(kek, 16)]
    for name, data in raw.items():
        parts = [data[i : i + 12] for i in range(0, min(len(data), 240) - 11, 6)]
        texts[f"{name} bytes"] = [repr(part)[2:-1] for part in parts]
        texts[f"{name} hex"] = [part.hex() for part in parts]
        texts[f"{name} base64"] = pieces(base64.b64encode(data).decode(), 24)
    return texts


def pieces(text: str, length: int) -> list[str]:
    return [text[i : i + length] for i in range(0, len(text) - length + 1, 4)]


def leaks(text: str) -> set[str]:
    plain = html.unescape(text)
    return {name for name, parts in needles().items() if any(part in plain for part in parts)}


def crash(*_arguments: Any, **_options: Any) -> None:
    raise RuntimeError("boom")


class Broken:
    """A transport that fails in a way nobody foresaw."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise RuntimeError("boom")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise RuntimeError("boom")


def signing_key(**more: Any) -> Any:
    """What every inspection is told besides the secret."""
    return {"wanted": Wanted(purpose="signing", **more), "now": timezone.now()}


def store(inspected: Inspection) -> None:
    enrolment.store(Organization.objects.get(org_id="acme"), inspected, slot="other")


def block_the_audit() -> None:
    KeyEvent.objects.create(
        seq=AuditHead.objects.get().seq + 1,
        at=timezone.now(),
        actor="x",
        action="x",
        outcome="done",
        organization="x",
    )


def send_over(transport: pools.Replacement) -> None:
    with pools.replaced(transport):
        cybs.send(*PAYMENTS, json=payment())


def asend_over(transport: pools.Replacement) -> None:
    async def pay() -> None:
        await cybs.asend(*PAYMENTS, json=payment())

    with pools.replaced(transport):
        async_to_sync(pay)()


def post_over(transport: pools.Replacement) -> None:
    with pools.replaced(transport), cybs.client("acme") as client:
        client.post(PAYMENTS[2], json=payment())


def apost_over(transport: pools.Replacement) -> None:
    async def pay() -> None:
        async with cybs.aclient("acme") as client:
            await client.post(PAYMENTS[2], json=payment())

    with pools.replaced(transport):
        async_to_sync(pay)()


def stream_over(transport: pools.Replacement) -> None:
    with (
        pools.replaced(transport),
        cybs.client("acme") as client,
        client.stream("POST", PAYMENTS[2], json=payment()),
    ):
        pytest.fail("nothing came back")


def astream_over(transport: pools.Replacement) -> None:
    async def pay() -> None:
        async with (
            cybs.aclient("acme") as client,
            client.stream("POST", PAYMENTS[2], json=payment()),
        ):
            pytest.fail("nothing came back")

    with pools.replaced(transport):
        async_to_sync(pay)()


def step(act: Callable[[Client], object]) -> None:
    with cybs.client("acme") as client:
        act(client)


def astep(act: Callable[[AsyncClient], object]) -> None:
    async def make() -> None:
        async with cybs.aclient("acme") as client:
            act(client)

    async_to_sync(make)()


def built_badly(client: Client | AsyncClient) -> None:
    client.build_request("POST", PAYMENTS[2], json=payment(x=object()))


def built_twice(client: Client | AsyncClient) -> None:
    client.build_request("POST", PAYMENTS[2], json=payment(), content=body())


def sealed_by_hand(client: Client) -> None:
    client.seal(client.build_request("POST", PAYMENTS[2], json=payment()))


def dispatched_by_hand(client: Client) -> None:
    request = client.build_request(
        "POST", PAYMENTS[2], json=payment(), extensions={"cybs_mle": False}
    )
    with pools.replaced(Broken()):
        client.dispatch(client.seal(request))


def queue_over(transport: pools.Replacement) -> None:
    row = cybs.enqueue(*PAYMENTS, json=payment(), idempotency_key="order-1")
    with pools.replaced(transport):
        working.work(row.pk)


def submit_over(transport: pools.Replacement) -> None:
    with pools.replaced(transport):
        cybs.submit(*PAYMENTS, json=payment(), idempotency_key="order-2")


def asubmit_over(transport: pools.Replacement) -> None:
    with pools.replaced(transport):
        asubmit("order-3")


def asubmit(key: str) -> None:
    async def pay() -> None:
        await cybs.asubmit(*PAYMENTS, json=payment(), idempotency_key=key)

    async_to_sync(pay)()


def asubmit_left_alone(key: str) -> None:
    """The caller is cancelled, and what goes on without it fails."""

    async def leave() -> None:
        paying = cybs.asubmit(*PAYMENTS, json=payment(), idempotency_key=key)
        view = asyncio.ensure_future(paying)
        await asyncio.sleep(0)
        (task,) = submitting._running
        view.cancel()
        await asyncio.wait([view, task])
        await asyncio.gather(*submitting._closing)
        failed = task.exception()
        assert failed is not None
        # As a loop reports what nobody has awaited.
        raise failed

    async_to_sync(leave)()


def asubmit_left_alone_over(transport: pools.Replacement) -> None:
    with pools.replaced(transport):
        asubmit_left_alone("order-8")


Patch = pytest.MonkeyPatch
CRASHES: dict[str, Callable[[Patch], object]] = {
    "sign": lambda patch: (
        patch.setattr("jwt.algorithms.HMACAlgorithm.sign", crash),
        cybs.sign(*PAYMENTS, body(), mle=False),
    ),
    "sign encrypted": lambda patch: (
        patch.setattr("jwt.algorithms.HMACAlgorithm.sign", crash),
        cybs.send(*PAYMENTS, json=payment()),
    ),
    "encrypt": lambda patch: (
        patch.setattr("joserfc._rfc7518.jwe_encs.Cipher", crash),
        cybs.send(*PAYMENTS, content=body()),
    ),
    "transport": lambda _: send_over(Broken()),
    "transport async": lambda _: asend_over(Broken()),
    "client": lambda _: post_over(Broken()),
    "client async": lambda _: apost_over(Broken()),
    "stream": lambda _: stream_over(Broken()),
    "stream async": lambda _: astream_over(Broken()),
    "build": lambda _: step(built_badly),
    "build async": lambda _: astep(built_badly),
    "build twice": lambda _: step(built_twice),
    "build twice async": lambda _: astep(built_twice),
    "seal a request": lambda patch: (
        patch.setattr("jwt.algorithms.HMACAlgorithm.sign", crash),
        step(sealed_by_hand),
    ),
    "dispatch a parcel": lambda _: step(dispatched_by_hand),
    "queue": lambda _: queue_over(Broken()),
    "queue submit": lambda _: submit_over(Broken()),
    "queue asubmit": lambda _: asubmit_over(Broken()),
    "queue asubmit begins": lambda patch: (
        patch.setattr("django_cybs_jwt.services.queue.queueing.build", crash),
        asubmit("order-3"),
    ),
    "queue asubmit left alone": lambda _: asubmit_left_alone_over(Broken()),
    "queue asubmit left alone as it begins": lambda patch: (
        patch.setattr("django_cybs_jwt.services.queue.queueing.build", crash),
        asubmit_left_alone("order-8"),
    ),
    "queue sign": lambda patch: (
        patch.setattr("jwt.algorithms.HMACAlgorithm.sign", crash),
        cybs.submit(*PAYMENTS, json=payment(), idempotency_key="order-4"),
    ),
    "queue seal": lambda patch: (
        patch.setattr("django_cybs_jwt.sealing.envelope.HKDF", crash),
        cybs.enqueue(*PAYMENTS, json=payment(), idempotency_key="order-5"),
    ),
    "queue insert": lambda patch: (
        patch.setattr("django_cybs_jwt.services.queue.statements._mark", crash),
        cybs.enqueue(*PAYMENTS, json=payment(), idempotency_key="order-6"),
    ),
    "queue no object": lambda _: cybs.enqueue(
        *PAYMENTS, content=b"[" + body() + b"]", idempotency_key="order-7"
    ),
    "not a number": lambda _: cybs.send(*PAYMENTS, json=payment(x=float("nan"))),
    "no json": lambda _: cybs.send(*PAYMENTS, json=payment(x=object())),
    "lone surrogate": lambda _: cybs.send(*PAYMENTS, json=payment(x="\ud800")),
    "a cycle": lambda _: cybs.send(*PAYMENTS, json=round_and_round()),
    "wrong type": lambda _: cybs.sign(*PAYMENTS, bytearray(body())),  # type: ignore[arg-type]
    "bad path": lambda _: cybs.send("acme", "POST", "//evil", json=payment()),
    "bad header": lambda _: cybs.send(*PAYMENTS, json=payment(), headers={"x": "a\r\nb"}),
    "unknown merchant": lambda _: cybs.send("nobody", "POST", "/x", json=payment()),
    "decrypt": lambda _: cybs.decrypt("acme", b'{"encryptedResponse":"' + body() + b'"}'),
    "open": lambda patch: (
        patch.setattr("hmac.new", crash),
        cybs.send(*PAYMENTS, json=payment()),
    ),
    "open cipher": lambda patch: (
        patch.setattr("django_cybs_jwt.sealing.envelope.HKDF", crash),
        cybs.send(*PAYMENTS, json=payment()),
    ),
    "ring": lambda patch: (
        patch.setattr("django_cybs_jwt.sealing.keyring.from_base64", crash),
        conf.forget_keyring(),
        cybs.send(*PAYMENTS, json=payment()),
    ),
    "wrong password": lambda _: inspect(
        p12("acme").data, PASSWORD.encode() + b"x", **signing_key()
    ),
    "cut file": lambda _: inspect(p12("acme").data[:-9], PASSWORD.encode(), **signing_key()),
    "long file": lambda _: inspect(p12("acme").data * 20, PASSWORD.encode(), **signing_key()),
    "no key id": lambda _: inspect(pem(), None, **signing_key()),
    "other algorithm": lambda _: inspect(pem(), None, **signing_key(key_id="1", algorithm="HS256")),
    "no child": lambda patch: (
        patch.setattr("subprocess.run", crash),
        inspect(p12("acme").data, PASSWORD.encode(), **signing_key()),
    ),
    "child pipe": lambda patch: (
        patch.setattr("subprocess.Popen.communicate", crash),
        inspect(p12("acme").data, PASSWORD.encode(), **signing_key()),
    ),
    "other organization": lambda _: store(
        inspect(p12("rival").data, PASSWORD.encode(), **signing_key())
    ),
    "secret": lambda patch: (
        patch.setattr("hmac.new", crash),
        inspect_text(SECRET, **signing_key(key_id="k")),
    ),
    "secret twice": lambda _: store(inspect_text(SECRET, **signing_key(key_id="k"))),
    "short secret": lambda _: inspect_text(SECRET[:-4], **signing_key(key_id="k")),
    "pem as secret": lambda _: inspect_text(pem().decode(), **signing_key(key_id="k")),
    "key as certificate": lambda _: gateway_certificates.add(
        pem(), host=enrolment.HOST, actor="tests", now=timezone.now()
    ),
    "seal": lambda patch: (
        patch.setattr("django_cybs_jwt.sealing.envelope.HKDF", crash),
        store(inspect(p12("acme").data, PASSWORD.encode(), **signing_key())),
    ),
    "save": lambda patch: (
        patch.setattr("django.db.models.Model.save", crash),
        store(inspect(p12("acme").data, PASSWORD.encode(), **signing_key())),
    ),
    "audit": lambda _: (
        block_the_audit(),
        store(inspect(p12("acme").data, PASSWORD.encode(), **signing_key())),
    ),
}


def round_and_round() -> dict[str, Any]:
    made = payment()
    made["again"] = made
    return made
