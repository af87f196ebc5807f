"""One payment without Django: run by nox in an environment that does not have it."""

from __future__ import annotations

import importlib.util

from cryptography import x509

from django_cybs_jwt.client import Client
from django_cybs_jwt.protocol import GatewayCertificate, MerchantKeys, ResponseKey, SigningKey
from django_cybs_jwt.simulator import Gateway, MemoryRegistry
from django_cybs_jwt.simulator.transport import SimulatorTransport
from django_cybs_jwt.testing import material

assert importlib.util.find_spec("django") is None, "This proves nothing where Django is installed."


def main() -> None:
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
    print("1 passed, 0 failed")


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
