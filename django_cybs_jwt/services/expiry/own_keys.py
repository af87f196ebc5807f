"""Which of its keys an owner uses itself: asked of `resolution` where more than one could be."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
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
    State,
)
from django_cybs_jwt.services import force, resolution
from django_cybs_jwt.services.batches import in_batches

SECRET: Final = ("sealed_secret", "sealed_p12", "certificate")


class OwnKeys:
    """What owners sign and decrypt with at *now*; only the unusual ones are held in memory."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def uses(self, owner: uuid.UUID, key: uuid.UUID) -> bool:
        """True if *owner* itself relies on this key of its own, which is in force."""
        deciding = self._contested.get(owner)
        return self.signs(owner) if deciding is None else key in deciding

    def signs(self, owner: uuid.UUID) -> bool:
        """True if *owner*, which has a response key or a certificate, signs with its own key."""
        return owner not in self._silent

    @cached_property
    def _contested(self) -> dict[uuid.UUID, frozenset[uuid.UUID]]:
        """By owner the keys that decide, where a slot with a name or a due key lets two compete."""
        named = KeySlot.objects.exclude(name="").order_by()
        due = Credential.objects.filter(force.is_due(self.now)).order_by()
        owners = {*named.values_list("organization", flat=True)}
        owners |= {*due.values_list("organization", flat=True)}
        rows = (
            Credential.objects.select_related("slot", "organization")
            .defer(*SECRET)
            .exclude(state=State.DESTROYED)
            .order_by("organization")
        )
        return {
            owner: _deciding(owner, keys, self.now)
            for some in in_batches(sorted(owners))
            for owner, keys in groupby(rows.filter(organization__in=some), key=_owner)
        }

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


def _deciding(owner: uuid.UUID, keys: Iterable[Credential], now: datetime) -> frozenset[uuid.UUID]:
    # Without its parents and the slots that select it: only its own level is looked at.
    alone, rows = Organization(pk=owner), list(keys)
    for row in rows:
        row.selects = False  # type: ignore[attr-defined]
    signing = resolution.deciding_signing_key(alone, rows, now=now)
    if signing is None or not resolution.in_force(signing, now):
        return frozenset()
    response = resolution.deciding_response_key(alone, alone, rows, now=now)
    deciding = (row for row in (signing, response) if row and resolution.in_force(row, now))
    return frozenset(row.pk for row in deciding)
