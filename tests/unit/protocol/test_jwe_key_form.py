"""What joserfc is given of our keys."""

from __future__ import annotations

from datetime import UTC, datetime

from django_cybs_jwt.protocol import jwe
from django_cybs_jwt.protocol.keys import GatewayCertificate, ResponseKey
from django_cybs_jwt.testing import material


def test_using_a_private_key_leaves_no_copy_of_it_as_text() -> None:
    """joserfc writes a key out as a JWK, private numbers too, to look up its `use`."""
    rsa = material.rsa_key(name="key form")
    made = material.gateway_certificate(private_key=rsa)
    key = ResponseKey(owner="acme", kid=made.kid, private_key=rsa)
    certificate = GatewayCertificate.from_x509(made.certificate)
    token = jwe.encrypt(b"{}", certificate, now=datetime.now(UTC))

    assert jwe.decrypt(token, {key.kid: key}) == (b"{}", key.kid)

    prepared = jwe._private[key]
    assert prepared._dict_value == {}
    assert not prepared.as_dict(private=True)
