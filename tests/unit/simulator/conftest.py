from __future__ import annotations

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from django_cybs_jwt.simulator import Gateway, Identity, MemoryRegistry
from tests.unit.simulator.callers import Caller, Clock, register


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def signing_key() -> rsa.RSAPrivateKey:
    return _rsa()


@pytest.fixture(scope="session")
def response_key() -> rsa.RSAPrivateKey:
    return _rsa()


@pytest.fixture(scope="session")
def identity() -> Identity:
    return Identity.generate()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


@pytest.fixture
def gateway(registry: MemoryRegistry, identity: Identity, clock: Clock) -> Gateway:
    return Gateway(registry, identity=identity, clock=clock)


@pytest.fixture
def shop(registry: MemoryRegistry, signing_key: rsa.RSAPrivateKey, clock: Clock) -> Caller:
    """A merchant with a P12 and no response key."""
    caller = Caller("shop", "1111111111111111111111", signing_key, clock=clock)
    register(registry, caller)
    return caller


@pytest.fixture
def kiosk(registry: MemoryRegistry, clock: Clock) -> Caller:
    """A merchant with a shared secret."""
    caller = Caller(
        "kiosk",
        "5c9b0a52-3a59-4f54-8c25-4b1e3a3c7a10",
        secrets.token_bytes(64),
        algorithm="HS256",
        clock=clock,
    )
    register(registry, caller)
    return caller


@pytest.fixture
def portfolio(
    registry: MemoryRegistry,
    signing_key: rsa.RSAPrivateKey,
    response_key: rsa.RSAPrivateKey,
    clock: Clock,
) -> Caller:
    """A portfolio whose meta key and response key serve the merchant `branch`."""
    caller = Caller(
        "portfolio",
        "2222222222222222222222",
        signing_key,
        merchant="branch",
        response_kid="3333333333333333333333",
        response_key=response_key,
        clock=clock,
    )
    register(registry, caller, covers=["branch"])
    return caller
