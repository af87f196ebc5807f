"""What ends when, and whom it stops: over every organization, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db.models import Q, QuerySet

from django_cybs_jwt.models import Coverage, Credential, Organization
from django_cybs_jwt.services import force, organizations
from django_cybs_jwt.services.expiry import certificate_endings, key_endings, other_endings
from django_cybs_jwt.services.expiry.blast_radius import BlastRadius
from django_cybs_jwt.services.expiry.endings import FAR, Ending

LONGEST: Final = 36_500
"""Days; who asks for more asks for everything."""


def scan(now: datetime, *, until: datetime = FAR, outlasted: bool = False) -> Iterator[Ending]:
    """Everything that ends by *until* or has ended, the earliest end first.

    With *outlasted* also certificates that nothing depends on, because another one lasts longer.
    Keys count while they are in force, staged, verified or retiring. Streams from the database:
    memory holds what meta keys serve and one chunk of rows, not the estate.
    """
    radius = BlastRadius(now)
    return heapq.merge(
        key_endings.stream(radius, until=until),
        certificate_endings.stream(radius, until=until, outlasted=outlasted),
        certificate_endings.shared_ones(radius, until=until, outlasted=outlasted),
        other_endings.listing(now, until=until),
        key=lambda ending: ending.ends,
    )


def listing(
    now: datetime,
    *,
    days: int | None = None,
    host: str | None = None,
    organization: str | None = None,
) -> Iterator[Ending]:
    """`scan` for people: within *days*, on *host*, about *organization* and what is under it.

    About an organization is what it owns and what stops one of its merchants.
    Raises OrganizationNotFound or OrganizationAmbiguous.
    """
    far = days is None or days > LONGEST
    until = FAR if far else now.astimezone(UTC) + timedelta(days=days or 0)
    found = scan(now, until=until, outlasted=True)
    if host is not None:
        found = (ending for ending in found if ending.host == host.lower())
    if organization is not None:
        found = _about(found, organizations.find(organization))
    return found


def effective_ends(endings: Iterable[Ending]) -> dict[str, Ending]:
    """For each merchant, as `MID@HOST`, the first of *endings* that stops it.

    *endings* come in order, as `scan` gives them.
    """
    first: dict[str, Ending] = {}
    for ending in endings:
        for merchant in ending.stops:
            first.setdefault(merchant, ending)
    return first


def count_without_end(
    now: datetime, *, host: str | None = None, organization: str | None = None
) -> int:
    """Keys in force whose end nobody typed: they cannot be watched. Chosen as by `listing`."""
    keys = Credential.objects.filter(organization__active=True, expires_at=None)
    if host is not None:
        keys = keys.filter(organization__host=host.lower())
    if organization is not None:
        top = organizations.find(organization)
        above = [each for each in (top.parent, top.parent and top.parent.parent) if each]
        serves = Q(slot__coverage=Coverage.ALL, organization__in=above)
        own = Q(organization__in=_family(top)) | Q(slot__merchants__in=_family(top))
        keys = keys.filter(own | serves).distinct()
    return keys.filter(force.is_in_force(now)).count()


def _family(top: Organization) -> QuerySet[Organization]:
    return Organization.objects.filter(Q(pk=top.pk) | Q(parent=top) | Q(parent__parent=top))


def _about(endings: Iterable[Ending], top: Organization) -> Iterator[Ending]:
    names = {row.pk: str(row) for row in _family(top).only("org_id", "host")}
    merchants = set(names.values())
    for ending in endings:
        if ending.organization_id in names or not merchants.isdisjoint(ending.stops):
            yield ending
