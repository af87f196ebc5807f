"""A payment, and a secret at rest, without Django: run by nox where it is not installed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from uuid import uuid4

from cryptography import x509

from django_cybs_jwt.client import Client
from django_cybs_jwt.exceptions import SecretIntegrityError
from django_cybs_jwt.protocol import GatewayCertificate, MerchantKeys, ResponseKey, SigningKey
from django_cybs_jwt.sealing import Context, KeyRing, open_blob, seal
from django_cybs_jwt.simulator import Gateway, MemoryRegistry
from django_cybs_jwt.simulator.transport import SimulatorTransport
from django_cybs_jwt.testing import material

assert importlib.util.find_spec("django") is None, "This proves nothing where Django is installed."


def main() -> None:
    secret_at_rest()
    payment_is_made()
    print("2 passed, 0 failed")


def secret_at_rest() -> None:
    ring = KeyRing.generate("2026-11")
    home = Context(live=False, kind="credential", owner=uuid4(), row=uuid4(), field="secret")
    blob = seal(b"a secret", context=home, ring=KeyRing.from_json(ring.to_json()))
    moved = replace(home, row=uuid4())

    assert open_blob(blob, context=home, ring=ring) == b"a secret"
    try:
        open_blob(blob, context=moved, ring=ring)
    except SecretIntegrityError:
        return
    raise AssertionError("A blob opened in another row.")


def payment_is_made() -> None:
    signing, response = material.p12("acme"), material.p12("acme")
    registry = MemoryRegistry()
    registry.add("acme", certificate=signing.certificate, response_certificate=response.certificate)
    gateway = Gateway(registry)
    keys = merchant_keys(signing, response, gateway.identity.certificate)

    with Client(lambda: keys, transport=SimulatorTransport(gateway)) as http:
        answer = http.post("/pts/v2/payments", json=payment())

    exchange = answer.extensions["cybs"]
    assert answer.json()["status"] == "AUTHORIZED"
    assert exchange.request_encrypted
    assert exchange.encrypted


def merchant_keys(
    signing: material.P12File, response: material.P12File, certificate: x509.Certificate
) -> MerchantKeys:
    return MerchantKeys(
        merchant="acme",
        host="apitest.cybersource.com",
        signing=SigningKey(
            owner="acme", kid=signing.kid, algorithm="RS256", material=signing.private_key
        ),
        response_keys={
            response.kid: ResponseKey(
                owner="acme", kid=response.kid, private_key=response.private_key
            )
        },
        response_kid=response.kid,
        gateway_certificate=GatewayCertificate.from_x509(certificate),
    )


def payment() -> dict[str, object]:
    return {
        "clientReferenceInformation": {"code": "1"},
        "orderInformation": {"amountDetails": {"totalAmount": "1.00", "currency": "USD"}},
    }


if __name__ == "__main__":
    main()
