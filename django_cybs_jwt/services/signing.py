"""Keys for a message, and for the reply to one: at most four queries cold, none warm."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from typing import get_args
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error
from django.utils import timezone

from django_cybs_jwt import conf
from django_cybs_jwt.client import KeyFacts
from django_cybs_jwt.exceptions import (
    ConfigurationError,
    KeyMismatch,
    LiveRefused,
    SealingError,
)
from django_cybs_jwt.models import Coverage, Credential, Organization, Purpose
from django_cybs_jwt.models import GatewayCertificate as GatewayCertificateRow
from django_cybs_jwt.protocol import (
    GatewayCertificate,
    MerchantKeys,
    ReplyKeys,
    ResponseKey,
    SigningKey,
)
from django_cybs_jwt.protocol.hosts import is_live
from django_cybs_jwt.protocol.keys import ResponseMLE
from django_cybs_jwt.services import (
    gateway_certificates,
    key_cache,
    merchant_rows,
    opened_keys,
    organizations,
    resolution,
)
from django_cybs_jwt.services.key_cache import KEEP, Entry, KeyCache
from django_cybs_jwt.tracebacks import aforgetful, forgetful

logger = logging.getLogger(__name__)

_cache = KeyCache()


@forgetful
def keys_for(org_id: str, *, now: datetime | None = None) -> MerchantKeys:
    """The keys for a message of `ORG_ID` or `ORG_ID@HOST`, now or as they would be at *now*.

    Raises OrganizationError, KeyResolutionError, SealingError, or LiveRefused.
    """
    moment = now or timezone.now()
    _cache.look()
    if now is not None:  # of another moment, perhaps: for whoever asked, and no send
        return _checked(_assemble(org_id, moment))
    entry = key_cache.valid(_cache.shelf.signing, org_id, moment)
    if entry is None:
        entry = _assemble(org_id, moment)
        key_cache.put(_cache.shelf_of(entry.epoch).signing, org_id, entry)
    return _checked(entry)


@aforgetful
async def akeys_for(org_id: str) -> MerchantKeys:
    """Like `keys_for`; leaves the event loop only when the database must be asked."""
    if _cache.is_fresh():
        known = key_cache.valid(_cache.shelf.signing, org_id, timezone.now())
        if known is not None:
            return _checked(known)
    return await sync_to_async(keys_for)(org_id)


@forgetful
def reply_keys(org_id: str, *, now: datetime | None = None) -> tuple[ReplyKeys, ...]:
    """What may open replies to an organization: one entry for each owner whose key could sign.

    No key must be able to sign for it now, and it need not be active: a reply to what was
    processed before is still to be read.
    """
    moment = now or timezone.now()
    _cache.look()
    if now is not None:
        return _assemble_replies(org_id, moment).value
    entry = key_cache.valid(_cache.shelf.replies, org_id, moment)
    if entry is None:
        entry = _assemble_replies(org_id, moment)
        key_cache.put(_cache.shelf_of(entry.epoch).replies, org_id, entry)
    return entry.value


@aforgetful
async def areply_keys(org_id: str) -> tuple[ReplyKeys, ...]:
    """Like `reply_keys`; leaves the event loop only when the database must be asked."""
    if _cache.is_fresh():
        known = key_cache.valid(_cache.shelf.replies, org_id, timezone.now())
        if known is not None:
            return known.value
    return await sync_to_async(reply_keys)(org_id)


def key_now(reference: str) -> KeyFacts | None:
    """What a signing key's row says now: one query, none where the database cannot be asked."""
    rows = Credential.objects.select_related("organization").only(
        "key_id", "state", "expires_at", "organization__org_id"
    )
    try:
        row = rows.filter(pk=reference).first() if reference else None
    except (Error, SynchronousOnlyOperation):
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
    """LiveRefused for a live organization or host unless the deployment is live.

    ConfigurationError where it would be sent in clear.
    """
    # The host too: a row that was written past `organizations.add` may say what it likes.
    if not live and not is_live(host):
        return
    settings = conf.current()
    if not settings.LIVE:
        raise LiveRefused(
            "{host} is live, and CYBS_JWT['LIVE'] is not True. Nothing was sent.", host=host
        )
    # That a free host name is live is known from the organization alone.
    if urlsplit(settings.BASE_URLS.get(host, "")).scheme == "http":
        raise ConfigurationError(
            "{host} is live, and CYBS_JWT['BASE_URLS'] sends it over http://. Give it an origin "
            "with https://. Nothing was sent.",
            host=host,
        )


def _checked(entry: Entry[MerchantKeys]) -> MerchantKeys:
    check_side(entry.live, entry.value.host)
    return entry.value


def _assemble(org_id: str, now: datetime) -> Entry[MerchantKeys]:
    merchant, seen = merchant_rows.merchant(org_id)
    check_side(merchant.live, merchant.host)
    organizations.check_active(merchant)
    rows = merchant_rows.keys(merchant)
    signing = resolution.signing_key(merchant, rows, now=now)
    owner = signing.organization
    organizations.check_active(owner)
    _check_beside(merchant, owner)
    policy = _response_mle(merchant) or conf.current().RESPONSE_MLE
    announced = (
        None if policy == "never" else resolution.response_key(merchant, owner, rows, now=now)
    )
    chosen = gateway_certificates.choose(merchant_rows.certificates(owner, signing), now=now)
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
    ]
    return Entry(keys, merchant.live, _until(now, rows, *ends), seen)


def _check_beside(merchant: Organization, owner: Organization) -> None:
    """Whoever signs for another is of the same host and side, whatever was written since."""
    if (merchant.host, merchant.live) != (owner.host, owner.live):
        raise KeyMismatch(
            "{owner} would sign for {merchant}, which is on another host or side. Put the "
            "merchant back, or give it a key of its own.",
            owner=owner,
            merchant=merchant,
        )


def _assemble_replies(org_id: str, now: datetime) -> Entry[tuple[ReplyKeys, ...]]:
    merchant, seen = merchant_rows.merchant(org_id)
    rows = merchant_rows.keys(merchant)
    owners = {merchant.pk: merchant}
    # One above whose keys serve itself alone never signs for the merchant.
    serving = (row for row in rows if row.slot.coverage != Coverage.OWN)
    owners |= {row.organization_id: row.organization for row in serving}
    policy = _response_mle(merchant)
    found = tuple(
        ReplyKeys(response_keys=_response_keys(owner, rows, None, now), response_mle=policy)
        for owner in owners.values()
    )
    return Entry(found, merchant.live, _until(now, rows), seen)


def _until(now: datetime, rows: Sequence[Credential], *ends: datetime | None) -> datetime:
    """The first moment at which something else may hold."""
    moments = (*ends, *(row.activate_at for row in rows))
    return min([now + KEEP, *(each for each in moments if each is not None and each > now)])


def _response_mle(merchant: Organization) -> ResponseMLE | None:
    for policy in get_args(ResponseMLE):
        if policy == merchant.response_mle:
            return policy  # type: ignore[no-any-return]  # get_args() is untyped
    return None


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
        except (SealingError, KeyMismatch):
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
