"""The gateway's official Python SDK talks to the simulator over a socket and is understood.

The SDK lives in an environment of its own: `make sdk`, or CYBS_SDK_PYTHON.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from django_cybs_jwt.simulator import Gateway, Identity, MemoryRegistry
from django_cybs_jwt.simulator.server import Address, running
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.material import GatewayMaterial, P12File
from tests.integration.official_sdk import requires_sdk

pytestmark = pytest.mark.sdk

HOST = "apitest.cybersource.com"
CLIENT = Path(__file__).with_name("sdk_client.py")
# The SDK's models write names with underscores, and the SDK turns them into the gateway's.
PAYMENT: dict[str, Any] = {
    "client_reference_information": {"code": "TC50171_3", "transaction_id": "tx-1"},
    "payment_information": {
        "card": {
            "number": "4111111111111111",
            "expiration_month": "12",
            "expiration_year": "2031",
        }
    },
    "order_information": {"amount_details": {"total_amount": "102.21", "currency": "USD"}},
}


@dataclass
class SDK:
    """The SDK as one organization's client, and the gateway that it calls."""

    python: Path
    directory: Path
    address: Address
    gateway: Gateway
    registry: MemoryRegistry
    job: dict[str, Any] = field(default_factory=dict)

    def file(self, name: str, data: bytes) -> str:
        path = self.directory / name
        path.write_bytes(data)
        return str(path)

    def p12(self, org_id: str, name: str) -> tuple[P12File, dict[str, str]]:
        """A P12 that carries the simulator's certificate, and how a job names it."""
        identity = self.gateway.identity
        gateway = GatewayMaterial(
            certificate=identity.certificate,
            private_key=identity.private_key,
            kid=identity.kid,
            pem=identity.pem,
        )
        made = material.p12(org_id, gateway=gateway, private_key=material.rsa_key(name=name))
        return made, {"file": self.file(f"{name}.p12", made.data), "password": made.password}

    def signs_with_p12(self, org_id: str, *, covers: str = "") -> tuple[str, str]:
        """Two P12 files, one that signs and one that opens replies; return their kids."""
        signing, key = self.p12(org_id, "signing")
        response, response_key = self.p12(org_id, "response")
        self.job |= {"key": {"type": "P12", **key}, "response_key": response_key}
        return self.registry.add(
            org_id,
            host=HOST,
            certificate=signing.certificate,
            response_certificate=response.certificate,
            covers=[covers] if covers else [],
        )

    def signs_with_secret(self, org_id: str, *, secret: str | None = None) -> tuple[str, str]:
        """A shared secret, and an encrypted PEM key under a kid of its own for replies."""
        shared = material.shared_secret()
        key = material.rsa_key(name="response")
        kid = material.new_kid()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(material.PASSWORD.encode()),
        )
        self.job |= {
            "key": {
                "type": "SHARED_SECRET",
                "key_id": shared.key_id,
                "secret": secret or shared.secret,
            },
            "response_key": {
                "file": self.file("response.pem", pem),
                "password": material.PASSWORD,
                "kid": kid,
            },
            "gateway_certificate": self.file("gateway.pem", self.gateway.identity.pem.encode()),
        }
        return self.registry.add(
            org_id,
            host=HOST,
            kid=shared.key_id,
            secret=shared.secret,
            response_kid=kid,
            response_certificate=material.certificate(key, common_name=org_id),
        )

    def call(self, org_id: str, *, mle: bool, **job: Any) -> dict[str, Any]:
        """Run one call in the SDK's interpreter; what it hands to its caller."""
        whole = {
            "org_id": org_id,
            "host": HOST,
            "base_url": self.address.base_url,
            "request_mle": mle,
            "response_mle": mle,
            **self.job,
            **job,
        }
        done = subprocess.run(
            [self.python, "-I", CLIENT],
            input=json.dumps(whole),
            capture_output=True,
            text=True,
            cwd=self.directory,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity.generate()


@pytest.fixture
def sdk(request: pytest.FixtureRequest, identity: Identity, tmp_path: Path) -> Iterator[SDK]:
    python, registry = requires_sdk(), MemoryRegistry()
    gateway = Gateway(registry, identity=identity)
    with running(gateway, tls=getattr(request, "param", "http") == "https") as address:
        sdk = SDK(python, tmp_path, address, gateway, registry)
        if address.ca_bundle is not None:
            sdk.job["ca_bundle"] = str(address.ca_bundle)
        yield sdk


@pytest.mark.parametrize("sdk", ["http", "https"], indirect=True)
def test_a_p12_payment_is_understood_encrypted_both_ways(sdk: SDK) -> None:
    kid, response_kid = sdk.signs_with_p12("acme")

    outcome = sdk.call("acme", mle=True, payment=PAYMENT)

    [entry] = sdk.gateway.ledger.entries()
    assert (entry.request_encrypted, entry.response_encrypted) == (True, True)
    assert (entry.org_id, entry.signed_by, entry.kid) == ("acme", "acme", kid)
    assert response_kid != kid
    assert (entry.code, entry.transaction_id, entry.amount) == ("TC50171_3", "tx-1", "102.21")
    assert (outcome["status"], outcome["body"]["id"]) == (201, entry.id)
    assert (outcome["body"]["status"], outcome["decrypted"]) == ("AUTHORIZED", True)


def test_a_shared_secret_payment_is_understood_encrypted_both_ways(sdk: SDK) -> None:
    kid, _ = sdk.signs_with_secret("kiosk")

    outcome = sdk.call("kiosk", mle=True, payment=PAYMENT)

    [entry] = sdk.gateway.ledger.entries()
    assert (entry.request_encrypted, entry.response_encrypted) == (True, True)
    assert (entry.org_id, entry.signed_by, entry.kid) == ("kiosk", "kiosk", kid)
    assert (outcome["status"], outcome["body"]["id"]) == (201, entry.id)
    assert outcome["decrypted"]


def test_a_meta_key_pays_for_a_merchant_and_opens_its_reply(sdk: SDK) -> None:
    kid, _ = sdk.signs_with_p12("mall", covers="shoes")

    outcome = sdk.call("shoes", mle=True, portfolio="mall", payment=PAYMENT)

    [entry] = sdk.gateway.ledger.entries()
    assert (entry.org_id, entry.signed_by, entry.kid) == ("shoes", "mall", kid)
    assert (entry.request_encrypted, entry.response_encrypted) == (True, True)
    assert (outcome["status"], outcome["body"]["id"]) == (201, entry.id)
    assert outcome["decrypted"]


def test_a_plain_payment_and_a_get_of_it_are_understood(sdk: SDK) -> None:
    kid, _ = sdk.signs_with_p12("acme")

    paid = sdk.call("acme", mle=False, payment=PAYMENT)
    found = sdk.call("acme", mle=False, transaction=paid["body"]["id"])

    [entry] = sdk.gateway.ledger.entries()
    assert (entry.request_encrypted, entry.response_encrypted) == (False, False)
    assert (entry.signed_by, entry.kid) == ("acme", kid)
    assert (found["status"], found["body"]["id"]) == (200, entry.id)
    assert found["body"]["clientReferenceInformation"]["code"] == "TC50171_3"
    assert (paid["decrypted"], found["decrypted"]) == (False, False)


def test_an_encrypted_refusal_reaches_the_sdks_caller_decrypted(sdk: SDK) -> None:
    sdk.signs_with_p12("acme")

    outcome = sdk.call("acme", mle=True, payment={**PAYMENT, "order_information": {}})

    assert (outcome["status"], outcome["body"]["reason"]) == (400, "MISSING_FIELD")
    assert outcome["decrypted"]
    assert sdk.gateway.ledger.entries() == []


def test_the_sdk_is_refused_when_it_signs_with_another_secret(sdk: SDK) -> None:
    sdk.signs_with_secret("kiosk", secret=material.shared_secret().secret)

    outcome = sdk.call("kiosk", mle=True, payment=PAYMENT)

    assert outcome["status"] == 401
    assert outcome["body"] == {"response": {"rmsg": "Authentication Failed"}}
    assert not outcome["decrypted"]
    assert sdk.gateway.ledger.entries() == []
