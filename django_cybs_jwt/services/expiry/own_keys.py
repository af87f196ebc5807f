"""Which of its keys an owner uses itself: asked of `resolution` where more than one could be."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import Final

from django_cybs_jwt.models import (
    Credential,
    GatewayCertificate,
    KeySlot,
    Organization,
    Purpose,
)
from django_cybs_jwt.services import force, resolution
from django_cybs_jwt.services.batches import in_batches
from django_cybs_jwt.services.expiry import spans
from django_cybs_jwt.services.expiry.spans import Span

SECRET: Final = ("sealed_secret", "sealed_p12", "certificate")


class OwnKeys:
    """What owners sign and decrypt with, from *now* on; only the unusual are held in memory."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    @cached_property
    def unusual(self) -> frozenset[uuid.UUID]:
        """Owners that do not simply use each key of theirs that is in force."""
        return self._silent.union(self._contested)

    def uses(self, owner: uuid.UUID, key: uuid.UUID, *, at: datetime) -> bool:
        """True if *owner* itself relies on this key of its own, which is in force then."""
        deciding = self._contenders(owner, at)
        return self.signs(owner, at=at) if deciding is None else key in deciding

    def signs(self, owner: uuid.UUID, *, at: datetime) -> bool:
        """True if *owner*, which has a response key or a certificate, signs with its own key."""
        deciding = self._contenders(owner, at)
        return owner not in self._silent if deciding is None else bool(deciding)

    def _contenders(self, owner: uuid.UUID, at: datetime) -> frozenset[uuid.UUID] | None:
        spans = self._contested.get(owner)
        if spans is None:
            return None
        return next((span.value for span in spans if span.holds(at)), frozenset())

    @cached_property
    def _contested(self) -> dict[uuid.UUID, list[Span[frozenset[uuid.UUID]]]]:
        """By owner the keys that decide, where a slot with a name or a plan lets two compete."""
        named = KeySlot.objects.exclude(name="").order_by()
        planned = Credential.objects.filter(force.is_planned()).order_by()
        owners = {*named.values_list("organization", flat=True)}
        owners |= {*planned.values_list("organization", flat=True)}
        rows = (
            Credential.objects.select_related("slot", "organization")
            .defer(*SECRET)
            .filter(resolution.COUNTS)
            .order_by("organization")
        )
        return {
            owner: self._spans(owner, list(keys))
            for some in in_batches(sorted(owners))
            for owner, keys in groupby(rows.filter(organization__in=some), key=_owner)
        }

    def _spans(
        self, owner: uuid.UUID, keys: Sequence[Credential]
    ) -> list[Span[frozenset[uuid.UUID]]]:
        # Without its parents and the slots that select it: only its own level is looked at.
        alone = Organization(pk=owner)
        for row in keys:
            row.selects = False  # type: ignore[attr-defined]
        return list(spans.decided(keys, self.now, lambda at: _deciding(alone, keys, at)))

    @cached_property
    def _silent(self) -> frozenset[uuid.UUID]:
        """Owners of a Response MLE slot or a certificate that sign with somebody else's key."""
        slots = KeySlot.objects.filter(purpose=Purpose.RESPONSE_MLE).order_by()
        certificates = GatewayCertificate.objects.filter(organization__isnull=False).order_by()
        silent = (~force.has_active("organization"), ~force.has_due("organization", self.now))
        return frozenset(
            owner
            for rows in (slots.filter(*silent), certificates.filter(*silent))
            for owner in rows.values_list("organization", flat=True)
        )


def _owner(row: Credential) -> uuid.UUID:
    return row.organization_id


def _deciding(
    owner: Organization, keys: Sequence[Credential], at: datetime
) -> frozenset[uuid.UUID]:
    """The keys of its own that *owner* signs and decrypts with at a moment."""
    signing = resolution.deciding_signing_key(owner, keys, now=at)
    if signing is None or not resolution.in_force(signing, at):
        return frozenset()
    response = resolution.deciding_response_key(owner, owner, keys, now=at)
    deciding = (row for row in (signing, response) if row and resolution.in_force(row, at))
    return frozenset(row.pk for row in deciding)
