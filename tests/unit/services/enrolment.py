"""Organizations and keys for tests of the Django half, in one line each.

Keys that are not read from a file are built here as an Inspection: reading one starts a child
process, which only the tests of the import need.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.db.models import QuerySet
from django.utils import timezone

from django_cybs_jwt.models import Credential, Organization, State
from django_cybs_jwt.protocol.keys import spki_fingerprint
from django_cybs_jwt.services import importing, inspection, organizations, signing
from django_cybs_jwt.services.inspection import Inspection, Wanted
from django_cybs_jwt.testing import material
from django_cybs_jwt.testing.p12_encoding import gateway_p12

HOST = "apitest.cybersource.com"
OTHER_HOST = "apitest.visaacceptance.com"
LIVE_HOST = "api.cybersource.com"


def organization(
    org_id: str = "acme", *, kind: str = "merchant", host: str = HOST, parent: str | None = None
) -> Organization:
    return organizations.add(org_id, actor="alice", kind=kind, host=host, parent=parent)


def family() -> tuple[Organization, Organization, Organization]:
    """A portfolio, an account under it, and the merchant acme under both."""
    return (
        organization("portfolio", kind="portfolio"),
        organization("account", kind="account", parent="portfolio"),
        organization("acme", parent="account"),
    )


def store(
    owner: Organization, inspected: Inspection, *, now: datetime | None = None, **options: Any
) -> Credential:
    """Import *inspected*, activated unless told otherwise."""
    return importing.import_key(
        owner,
        inspected,
        actor="tests",
        now=now or timezone.now(),
        **{"activate": True, **options},
    )


def shared_secret(
    owner: Organization,
    *,
    secret: str | None = None,
    key_id: str | None = None,
    algorithm: str = "",
    expires_at: datetime | None = None,
    now: datetime | None = None,
    **options: Any,
) -> Credential:
    """A signing key that costs nothing to make."""
    file = material.shared_secret()
    wanted = Wanted(
        purpose="signing",
        key_id=key_id or file.key_id,
        algorithm=algorithm,
        expires_at=expires_at,
    )
    moment = now or timezone.now()
    inspected = inspection.inspect_shared_secret(secret or file.secret, wanted, now=moment)
    return store(owner, inspected, now=moment, **options)


def rsa_key(
    owner: Organization,
    *,
    purpose: str = "response-mle",
    key: RSAPrivateKey | None = None,
    expires_at: datetime | None = None,
    gateway: x509.Certificate | None = None,
    now: datetime | None = None,
    **options: Any,
) -> Credential:
    """An RSA key; with *gateway* the request-MLE certificate that came with it."""
    inspected = rsa_inspection(
        owner.org_id, purpose=purpose, key=key, ends=expires_at, gateway=gateway, now=now
    )
    return store(owner, inspected, now=now, **options)


def rsa_inspection(
    org_id: str,
    *,
    purpose: str = "response-mle",
    key: RSAPrivateKey | None = None,
    ends: datetime | None = None,
    gateway: x509.Certificate | None = None,
    now: datetime | None = None,
) -> Inspection:
    key = key or material.rsa_key(name=f"{org_id} {purpose}")
    kid = material.new_kid()
    begins = (now or timezone.now()) - timedelta(days=1)
    certificate = material.certificate(key, common_name=org_id, kid=kid, not_before=begins)
    return Inspection(
        kind="private_key",
        purpose=purpose,
        key_id=kid,
        algorithm="RSA-OAEP-256" if purpose == "response-mle" else "RS256",
        secret=pkcs8(key),
        fingerprint=spki_fingerprint(key.public_key()),
        certificate=certificate,
        common_name=org_id,
        issued_by_gateway=True,
        expires_at=ends or certificate.not_valid_after_utc,
        gateway_certificates=(gateway,) if gateway else (),
    )


def twice_named_p12() -> bytes:
    """One key with acme's certificate and a newer one for another organization."""
    key, now = material.rsa_key(name="twice named"), timezone.now()
    certificates = [
        material.certificate(
            key,
            common_name=name,
            kid=kid,
            not_before=now - timedelta(days=days),
            not_after=now + timedelta(days=90),
        )
        for name, kid, days in (("acme", "1" * 22, 9), ("rival", "2" * 22, 1))
    ]
    return gateway_p12(key, certificates, material.PASSWORD)


def p12_inspection(file: material.P12File, *, purpose: str = "signing") -> Inspection:
    return inspection.inspect_file(
        file.data, file.password.encode(), Wanted(purpose=purpose), now=timezone.now()
    )


def pkcs8(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def put(credential: Credential, state: State, **columns: Any) -> None:
    """Write a state as a later lifecycle will: directly, and seen at once."""
    active_slot = credential.slot if state == State.ACTIVE else None
    Credential.objects.filter(pk=credential.pk).update(
        state=state, active_slot=active_slot, **columns
    )
    signing.forget()


def change(credential: Credential, **columns: Any) -> None:
    """Write columns as somebody with a database client would."""
    Credential.objects.filter(pk=credential.pk).update(**columns)
    signing.forget()


def move(owner: Organization, **columns: Any) -> None:
    """Write columns of an organization as somebody with a database client would."""
    QuerySet(Organization).filter(pk=owner.pk).update(**columns)
    signing.forget()


def decoded(secret: str) -> bytes:
    return base64.b64decode(secret)
