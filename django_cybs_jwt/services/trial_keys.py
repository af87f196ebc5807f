"""The keys that try a key: always its owner's, speaking for a merchant that lives on them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain

from django.db.models import QuerySet

from django_cybs_jwt.exceptions import NoKey
from django_cybs_jwt.models import Coverage, Credential, KeySlot, Organization, Purpose
from django_cybs_jwt.protocol import MerchantKeys
from django_cybs_jwt.services import coverage, force, organizations, resolution, signing
from django_cybs_jwt.services.readiness import candidates
from django_cybs_jwt.services.readiness.candidates import Candidates


def of(credential: Credential, acting_as: str | None, *, now: datetime) -> MerchantKeys:
    """What signs the trial: the key itself, or for a Response MLE key its owner's signing key.

    Raises KeyResolutionError where that owner has none for the merchant.
    """
    owner = credential.organization
    signing.check_side(owner.live, owner.host)
    merchant = (
        organizations.find(f"{acting_as}@{owner.host}")
        if acting_as
        else speaks_for(credential, now=now)
    )
    if credential.slot.purpose == Purpose.SIGNING:
        key = signing.signing_key(credential, owner)
        return MerchantKeys(
            merchant=merchant.org_id, host=owner.host, signing=key, response_mle="never"
        )
    return MerchantKeys(
        merchant=merchant.org_id,
        host=owner.host,
        signing=signing.signing_key(_signer(merchant, owner, now), owner),
        response_keys={credential.key_id: signing.response_key(credential, owner)},
        response_kid=credential.key_id,
        response_mle="ask",
    )


def check_speaks_for(credential: Credential, acting_as: str) -> None:
    """NoKey for a merchant that the key may not speak for, OrganizationInactive."""
    owner = credential.organization
    merchant = _merchant(credential, acting_as)
    if merchant is None or not _is_covered(merchant, credential):
        raise NoKey(
            "{owner}'s key does not cover {acting_as}.", owner=owner.org_id, acting_as=acting_as
        )
    organizations.check_active(merchant)


def covers(credential: Credential, acting_as: str) -> bool:
    """True where the gateway lets the key speak for that merchant, as far as its slot says."""
    merchant = _merchant(credential, acting_as)
    return merchant is not None and _is_covered(merchant, credential)


def speaks_for(credential: Credential, *, now: datetime) -> Organization:
    """The owner, or for a portfolio or account a merchant that `resolution` gives its keys.

    Where there is none, as before the owner's first key is active, one that could be served.
    """
    owner = credential.organization
    if owner.kind == Organization.Kind.MERCHANT:
        return owner
    covered = [_merchants(slot) for slot in _covering(credential)]
    lone = [_without_own_key(merchants, now) for merchants in covered]
    served = (merchant for merchants in lone for merchant in _living_on(owner, merchants, now))
    could_be = (merchant for merchants in (*lone, *covered) for merchant in merchants[:1])
    return next(chain(served, could_be), owner)


def _merchant(credential: Credential, acting_as: str) -> Organization | None:
    host = credential.organization.host
    return Organization.objects.filter(org_id=acting_as, host=host).first()


def _is_covered(merchant: Organization, credential: Credential) -> bool:
    """Another slot of the owner says nothing: the gateway refuses this key, and it is healthy."""
    return merchant == credential.organization or any(
        coverage.covered_rows(slot).filter(pk=merchant.pk).exists()
        for slot in _covering(credential)
    )


def _signer(merchant: Organization, owner: Organization, now: datetime) -> Credential:
    """The owner's key that would sign for *merchant* if nobody else's could."""
    rows = [row for row in resolution.candidates(merchant) if row.organization_id == owner.pk]
    return resolution.signing_key(merchant, rows, now=now)


def _covering(credential: Credential) -> Iterator[KeySlot]:
    """The key's own slot, or its owner's meta keys where a Response MLE key stands beside them."""
    if credential.slot.coverage != Coverage.OWN:
        yield credential.slot
    elif credential.slot.purpose == Purpose.RESPONSE_MLE:
        signing_slots = credential.organization.slots.filter(purpose=Purpose.SIGNING)
        yield from signing_slots.exclude(coverage=Coverage.OWN).order_by("name")


def _merchants(slot: KeySlot) -> QuerySet[Organization]:
    return coverage.covered_rows(slot).filter(kind=Organization.Kind.MERCHANT, active=True)


def _without_own_key(merchants: QuerySet[Organization], now: datetime) -> QuerySet[Organization]:
    return merchants.filter(
        ~force.has_active("pk"), ~force.has_due("pk", now), ~force.has_stopping("pk", now)
    )


def _living_on(
    owner: Organization, merchants: QuerySet[Organization], now: datetime
) -> Iterator[Organization]:
    for some in candidates.portions(merchants):
        rows = Candidates.of(some)
        for merchant in some:
            deciding = resolution.deciding_signing_key(merchant, rows.keys(merchant), now=now)
            if deciding is not None and deciding.organization_id == owner.pk:
                yield merchant
