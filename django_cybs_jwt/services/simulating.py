"""Tell the simulator about the organizations of this database, asked at each request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from django.db import close_old_connections
from django.db.models import Q

from django_cybs_jwt.models import Coverage, Credential, Organization, Purpose, State
from django_cybs_jwt.services import opened_keys
from django_cybs_jwt.simulator import RegisteredKey, SimAnswer, SimRequest


async def run(handle: Callable[[SimRequest], SimAnswer], request: SimRequest) -> SimAnswer:
    """Handle one request in a thread, as Django handles one: on connections that are alive.

    Without it a thread would keep the connection that the database has closed, and fail for ever.
    """
    return await asyncio.to_thread(_handled, handle, request)


def _handled(handle: Callable[[SimRequest], SimAnswer], request: SimRequest) -> SimAnswer:
    close_old_connections()
    try:
        return handle(request)
    finally:
        close_old_connections()


class DatabaseRegistry:
    """What the gateway would know: every key that was created there and not deleted.

    The gateway does not see our states, so a staged or suspended key verifies here as it would
    there; only a destroyed one is gone.
    """

    def signing_key(self, issuer: str, kid: str, host: str) -> RegisteredKey | None:
        """The signing key that *issuer* has as *kid* on this host."""
        row = _find(issuer, kid, host, Purpose.SIGNING)
        if row is None:
            return None
        material = opened_keys.material(row)
        if isinstance(material, bytes):
            return RegisteredKey(
                owner=issuer,
                kid=kid,
                algorithm_family="HMAC",
                secret=material,
                not_after=row.expires_at,
            )
        return RegisteredKey(
            owner=issuer,
            kid=kid,
            algorithm_family="RSA",
            public_key=material.public_key(),
            not_after=row.expires_at,
        )

    def response_key(self, owner: str, kid: str, host: str) -> RSAPublicKey | None:
        """The public half of *owner*'s Response MLE key *kid* on this host."""
        row = _find(owner, kid, host, Purpose.RESPONSE_MLE)
        material = opened_keys.material(row) if row else None
        return None if material is None or isinstance(material, bytes) else material.public_key()

    def covers(self, issuer: str, kid: str, merchant: str, host: str) -> bool:
        """True for the owner itself, a selected merchant, or any descendant of a covering slot."""
        if issuer == merchant:
            return True
        row = _find(issuer, kid, host, Purpose.SIGNING)
        if row is None or row.slot.coverage == Coverage.OWN:
            return False
        if row.slot.coverage == Coverage.SELECTED:
            return row.slot.merchants.filter(_on(host), org_id=merchant).exists()
        named = Organization.objects.select_related("parent__parent").filter(
            _on(host), org_id=merchant
        )
        return any(row.organization in found.chain()[1:] for found in named)

    def hosts(self, merchant: str) -> frozenset[str]:
        """The hosts on which *merchant* is stored."""
        return frozenset(
            Organization.objects.filter(org_id=merchant).values_list("host", flat=True)
        )


def _on(host: str, path: str = "host") -> Q:
    """Organizations of this host; of any where none is named."""
    return Q(**{path: host}) if host else Q()


def _find(owner: str, kid: str, host: str, purpose: Purpose) -> Credential | None:
    return (
        Credential.objects.select_related("slot", "organization")
        .defer("sealed_p12", "certificate")
        .filter(
            _on(host, "organization__host"),
            organization__org_id=owner,
            key_id=kid,
            slot__purpose=purpose,
        )
        .exclude(state=State.DESTROYED)
        .first()
    )
