"""Keys for a merchant's message: at most four queries cold, none warm.

A switch made anywhere is seen within two seconds: the epoch row is read again before a send
when the last look is older.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, get_args

from asgiref.sync import sync_to_async
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.client import KeyFacts
from django_cybs_jwt.exceptions import (
    KeyMismatch,
    LiveRefused,
    OrganizationInactive,
    SealingError,
)
from django_cybs_jwt.models import Credential, Organization, Purpose
from django_cybs_jwt.models import GatewayCertificate as GatewayCertificateRow
from django_cybs_jwt.protocol import GatewayCertificate, MerchantKeys, ResponseKey, SigningKey
from django_cybs_jwt.protocol.keys import ResponseMLE
from django_cybs_jwt.services import (
    epoch,
    gateway_certificates,
    opened_keys,
    organizations,
    resolution,
)
from django_cybs_jwt.tracebacks import aforgetful, forgetful

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 2.0  # seconds; the promise is five
KEEP: Final = timedelta(seconds=300)
MOST: Final = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class _Assembled:
    keys: MerchantKeys
    live: bool
    until: datetime


class _Cache:
    """Assembled keys by organization name, all dropped when the epoch changes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.assembled: dict[str, _Assembled] = {}
        self.epoch: int | None = None
        self.looked_at = float("-inf")

    def is_fresh(self) -> bool:
        return time.monotonic() - self.looked_at < LOOK_EVERY

    def look(self) -> None:
        """Read the epoch when the last look is old; drop what an older epoch assembled."""
        if self.is_fresh():
            return
        with self.lock:
            if self.is_fresh():
                return
            started = time.monotonic()
            value = epoch.value()
            if value != self.epoch:
                self.assembled = {}
                opened_keys.forget()
            self.epoch, self.looked_at = value, started

    def get(self, name: str, now: datetime) -> MerchantKeys | None:
        entry = self.assembled.get(name)
        if entry is None or now >= entry.until:
            return None
        check_side(entry.live, entry.keys.host)
        return entry.keys


_cache = _Cache()


@forgetful
def keys_for(org_id: str, *, now: datetime | None = None) -> MerchantKeys:
    """The keys for a message of `ORG_ID` or `ORG_ID@HOST`.

    Raises OrganizationError, KeyResolutionError, SealingError, or LiveRefused.
    """
    moment = now or timezone.now()
    _cache.look()
    known = _cache.get(org_id, moment)
    if known is not None:
        return known
    assembled = _cache.assembled
    entry = _assemble(org_id, moment)
    if len(assembled) >= MOST:
        assembled.clear()
    # Into the dictionary of the epoch that was read first: a newer epoch has a newer one.
    assembled[org_id] = entry
    return entry.keys


@aforgetful
async def akeys_for(org_id: str) -> MerchantKeys:
    """Like `keys_for`; leaves the event loop only when the database must be asked."""
    if _cache.is_fresh():
        known = _cache.get(org_id, timezone.now())
        if known is not None:
            return known
    return await sync_to_async(keys_for)(org_id)


def key_now(reference: str) -> KeyFacts | None:
    """What a signing key's row says now: one query, none where the database cannot be asked."""
    rows = Credential.objects.select_related("organization").only(
        "key_id", "state", "expires_at", "organization__org_id"
    )
    try:
        row = rows.filter(pk=reference).first() if reference else None
    except (DatabaseError, SynchronousOnlyOperation):
        return None
    if row is None:
        return None
    return KeyFacts(
        owner=row.organization.org_id, kid=row.key_id, state=row.state, not_after=row.expires_at
    )


def forget() -> None:
    """Drop all keys in this process; the next send reads the database."""
    _cache.clear()
    opened_keys.forget()


def check_side(live: bool, host: str) -> None:
    """LiveRefused for a live organization unless the deployment is live."""
    if live and not conf.current().LIVE:
        raise LiveRefused(f"{host} is live, and CYBS_JWT['LIVE'] is not True. Nothing was sent.")


def _assemble(org_id: str, now: datetime) -> _Assembled:
    merchant = organizations.find(org_id)
    check_side(merchant.live, merchant.host)
    _check_active(merchant)
    rows = resolution.candidates(merchant)
    signing = resolution.signing_key(merchant, rows, now=now)
    owner = signing.organization
    _check_active(owner)
    policy = _response_mle(merchant) or conf.current().RESPONSE_MLE
    announced = (
        None if policy == "never" else resolution.response_key(merchant, owner, rows, now=now)
    )
    chosen = gateway_certificates.choose(gateway_certificates.candidates(owner), now=now)
    keys = MerchantKeys(
        merchant=merchant.org_id,
        host=merchant.host,
        signing=signing_key(signing, owner),
        response_keys=_response_keys(owner, rows, announced, now),
        response_kid=announced.key_id if announced else None,
        gateway_certificate=_certificate(chosen) if chosen else None,
        response_mle=_response_mle(merchant),
    )
    ends = [
        signing.expires_at,
        announced.expires_at if announced else None,
        chosen.not_after if chosen else None,
        *(row.activate_at for row in rows),
    ]
    until = min([now + KEEP, *(end for end in ends if end is not None and end > now)])
    return _Assembled(keys, merchant.live, until)


def _response_mle(merchant: Organization) -> ResponseMLE | None:
    for policy in get_args(ResponseMLE):
        if policy == merchant.response_mle:
            return policy  # type: ignore[no-any-return]  # get_args() is untyped
    return None


def _check_active(organization: Organization) -> None:
    if not organization.active:
        raise OrganizationInactive(f"{organization} is disabled.")


def signing_key(row: Credential, owner: Organization) -> SigningKey:
    """The opened key of a row in force; KeyMismatch when row and owner do not belong together."""
    if row.slot.organization_id != owner.pk:
        raise KeyMismatch(credential=str(row.pk))
    return SigningKey(
        owner=owner.org_id,
        kid=row.key_id,
        algorithm=row.algorithm,
        material=opened_keys.material(row),
        fingerprint=row.fingerprint,
        common_name=row.common_name,
        not_after=row.expires_at,
        state=row.state,
        reference=str(row.pk),
    )


def _response_keys(
    owner: Organization,
    rows: Sequence[Credential],
    announced: Credential | None,
    now: datetime,
) -> dict[str, ResponseKey]:
    keys = {}
    for row in rows:
        if not _opens_replies(row, owner, now):
            continue
        try:
            keys[row.key_id] = response_key(row, owner)
        except SealingError:
            # An old key that does not open must not stop the payments of the current one.
            if row == announced:
                raise
            logger.exception("Response key %s of %s does not open", row.key_id, owner)
    return keys


def _opens_replies(row: Credential, owner: Organization, now: datetime) -> bool:
    return (
        row.organization_id == owner.pk
        and row.slot.purpose == Purpose.RESPONSE_MLE
        and (row.state in resolution.OPENS_REPLIES or resolution.in_force(row, now))
    )


def response_key(row: Credential, owner: Organization) -> ResponseKey:
    """The opened private key of a Response MLE row."""
    material = opened_keys.material(row)
    if not isinstance(material, RSAPrivateKey):
        raise KeyMismatch(credential=str(row.pk))
    return ResponseKey(
        owner=owner.org_id,
        kid=row.key_id,
        private_key=material,
        fingerprint=row.fingerprint,
        not_after=row.expires_at,
        reference=str(row.pk),
    )


def _certificate(row: GatewayCertificateRow) -> GatewayCertificate:
    return GatewayCertificate.from_x509(x509.load_pem_x509_certificate(row.certificate.encode()))


def _after_fork() -> None:
    _cache.__init__()  # type: ignore[misc]  # a lock held at fork stays locked for ever


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
