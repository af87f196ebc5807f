"""A merchant's keys by hand, and both clients behind one way of calling them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import httpx

from django_cybs_jwt.client import AsyncClient, Client, Config, GatewayAuth, pools
from django_cybs_jwt.protocol import GatewayCertificate, MerchantKeys, ResponseKey, SigningKey
from django_cybs_jwt.simulator import Gateway, Identity, MemoryRegistry
from django_cybs_jwt.testing import material

HOST = "apitest.cybersource.com"
CARD_NUMBER = "4111111111111111"
PAYMENT: dict[str, Any] = {
    "clientReferenceInformation": {"code": "order-1"},
    "paymentInformation": {"card": {"number": CARD_NUMBER, "securityCode": "123"}},
    "orderInformation": {"amountDetails": {"totalAmount": "102.21", "currency": "USD"}},
}
SECRET = secrets.token_bytes(32)
IDENTITY = Identity.generate()


class Call(NamedTuple):
    """One call of a client."""

    method: str = "POST"
    path: str = "/pts/v2/payments"
    options: Mapping[str, Any] = {}


def merchant_keys(merchant: str = "acme", *, p12: bool = False, **changes: Any) -> MerchantKeys:
    """Keys of *merchant* with everything MLE needs; the fast kind unless *p12*."""
    own = material.rsa_key(name="client tests: signing")
    response = ResponseKey(
        owner=merchant, kid="2222", private_key=material.rsa_key(name="client tests: response")
    )
    signing = SigningKey(
        owner=merchant,
        kid="1111",
        algorithm="RS256" if p12 else "HS256",
        material=own if p12 else SECRET,
        common_name=merchant if p12 else "",
        state="ACTIVE",
    )
    values: dict[str, Any] = {
        "merchant": merchant,
        "host": HOST,
        "signing": signing,
        "response_keys": {response.kid: response},
        "response_kid": response.kid,
        "gateway_certificate": GatewayCertificate.from_x509(IDENTITY.certificate),
    }
    return MerchantKeys(**{**values, **changes})


def gateway(*known: MerchantKeys, **options: Any) -> Gateway:
    """A gateway that knows the merchants as they are."""
    registry = MemoryRegistry()
    for keys in known:
        register(registry, keys)
    return Gateway(registry, identity=IDENTITY, **options)


def register(registry: MemoryRegistry, keys: MerchantKeys) -> None:
    signing = keys.signing
    options: dict[str, Any] = {}
    if isinstance(signing.material, bytes):
        options["secret"] = signing.material
    else:
        options["certificate"] = material.certificate(
            signing.material, common_name=signing.owner, kid=signing.kid
        )
    for key in keys.response_keys.values():
        options["response_kid"] = key.kid
        options["response_certificate"] = material.certificate(
            key.private_key, common_name=key.owner, kid=key.kid
        )
    registry.add(signing.owner, kid=signing.kid, host=keys.host, covers=[keys.merchant], **options)


def config(base_url: str | None = None, **options: Any) -> Config:
    return Config(base_urls={HOST: base_url} if base_url else {}, **options)


def close_pools() -> None:
    """Close this process's connections; asynchronous ones have ended with their loop."""
    while pools._sync:
        pools._sync.popitem()[1].close()


Outcome = httpx.Response | BaseException


class Sender(Protocol):
    """Calls one of the two clients; both do the same or the suite fails."""

    def send(
        self, keys: MerchantKeys, settings: Config, calls: Sequence[Call], **options: Any
    ) -> list[httpx.Response]:
        """Send *calls* one after the other through one client."""

    def together(
        self,
        keys: MerchantKeys,
        settings: Config,
        calls: Sequence[Call],
        *,
        ended: Callable[[], object] = bool,
    ) -> list[Outcome]:
        """Send *calls* at the same time; what is raised takes the reply's place.

        *ended* is called whenever one has ended.
        """

    def stream(self, keys: MerchantKeys, settings: Config, call: Call) -> tuple[int, list[bytes]]:
        """The status and the parts of a streamed reply."""

    def with_auth(
        self, keys: MerchantKeys, settings: Config, calls: Sequence[Call], **options: Any
    ) -> list[httpx.Response]:
        """Send *calls* to the gateway's own URL through a plain httpx client with our Auth."""


class Sync:
    """Client."""

    def send(
        self, keys: MerchantKeys, settings: Config, calls: Sequence[Call], **options: Any
    ) -> list[httpx.Response]:
        with Client(lambda: keys, settings, **options) as client:
            return [client.request(call.method, call.path, **call.options) for call in calls]

    def together(
        self,
        keys: MerchantKeys,
        settings: Config,
        calls: Sequence[Call],
        *,
        ended: Callable[[], object] = bool,
    ) -> list[Outcome]:
        with Client(lambda: keys, settings) as client, ThreadPoolExecutor(len(calls)) as pool:
            futures = [
                pool.submit(client.request, call.method, call.path, **call.options)
                for call in calls
            ]
            for future in futures:
                future.add_done_callback(lambda _future: ended())
            return [future.exception() or future.result() for future in futures]

    def stream(self, keys: MerchantKeys, settings: Config, call: Call) -> tuple[int, list[bytes]]:
        with (
            Client(lambda: keys, settings) as client,
            client.stream(call.method, call.path, **call.options) as response,
        ):
            return response.status_code, list(response.iter_bytes())

    def with_auth(
        self, keys: MerchantKeys, settings: Config, calls: Sequence[Call], **options: Any
    ) -> list[httpx.Response]:
        auth = GatewayAuth(lambda: keys, _provider(keys), settings)
        with httpx.Client(auth=auth, **options) as client:
            return [
                client.request(call.method, f"https://{HOST}{call.path}", **call.options)
                for call in calls
            ]


class Async:
    """AsyncClient."""

    def send(
        self, keys: MerchantKeys, settings: Config, calls: Sequence[Call], **options: Any
    ) -> list[httpx.Response]:
        async def run() -> list[httpx.Response]:
            async with AsyncClient(_provider(keys), settings, **options) as client:
                return [
                    await client.request(call.method, call.path, **call.options) for call in calls
                ]

        return asyncio.run(run())

    def together(
        self,
        keys: MerchantKeys,
        settings: Config,
        calls: Sequence[Call],
        *,
        ended: Callable[[], object] = bool,
    ) -> list[Outcome]:
        async def run() -> list[Outcome]:
            async with AsyncClient(_provider(keys), settings) as client:
                requests = [
                    asyncio.ensure_future(client.request(call.method, call.path, **call.options))
                    for call in calls
                ]
                for request in requests:
                    request.add_done_callback(lambda _request: ended())
                return await asyncio.gather(*requests, return_exceptions=True)

        return asyncio.run(run())

    def stream(self, keys: MerchantKeys, settings: Config, call: Call) -> tuple[int, list[bytes]]:
        async def run() -> tuple[int, list[bytes]]:
            async with (
                AsyncClient(_provider(keys), settings) as client,
                client.stream(call.method, call.path, **call.options) as response,
            ):
                return response.status_code, [part async for part in response.aiter_bytes()]

        return asyncio.run(run())

    def with_auth(
        self, keys: MerchantKeys, settings: Config, calls: Sequence[Call], **options: Any
    ) -> list[httpx.Response]:
        auth = GatewayAuth(lambda: keys, _provider(keys), settings)

        async def run() -> list[httpx.Response]:
            async with httpx.AsyncClient(auth=auth, **options) as client:
                return [
                    await client.request(call.method, f"https://{HOST}{call.path}", **call.options)
                    for call in calls
                ]

        return asyncio.run(run())


def _provider(keys: MerchantKeys) -> Any:
    async def provide() -> MerchantKeys:
        return keys

    return provide
