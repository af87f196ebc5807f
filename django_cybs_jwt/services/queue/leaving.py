"""What of the queue is open when an organization leaves: to be cancelled, or in doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django_cybs_jwt.exceptions import QueueError
from django_cybs_jwt.models import OPEN, Organization, OutboundRequest, RequestState
from django_cybs_jwt.services.batches import in_batches
from django_cybs_jwt.services.queue import operating
from django_cybs_jwt.services.queue.operating_many import MOST

_NOT_UNDER_WAY: Final = (RequestState.QUEUED, RequestState.PARKED)


@dataclass(frozen=True, slots=True)
class Standing:
    """*unsent* is of the organization itself; *in_doubt* also of those that lose its key.

    Of what is in doubt nobody knows whether it was processed: to find that out takes a key.
    """

    unsent: Sequence[OutboundRequest]
    in_doubt: Sequence[OutboundRequest]


def standing(leaving: Organization, losing: Sequence[Organization]) -> Standing:
    """The open requests of *leaving*, and what is in doubt of the merchants *losing* its key."""
    own = list(_open([leaving]))
    unsent = [row for row in own if _is_unsent(row)]
    others = [row for row in _open(losing) if not _is_unsent(row)]
    in_doubt = [row for row in own if not _is_unsent(row)]
    return Standing(unsent=unsent, in_doubt=[*in_doubt, *others])


def cancel(unsent: Sequence[OutboundRequest], *, actor: str, now: datetime, reason: str) -> None:
    """End them, each with its audit row. QueueError for more than a thousand."""
    if len(unsent) > MOST:
        raise QueueError(
            "{count} requests are waiting, too many for one step. Let them be sent, or "
            "cancel them {most} at a time in the admin, then repeat this.",
            count=len(unsent),
            most=MOST,
        )
    for row in unsent:
        operating.cancel(row, actor=actor, now=now, reason=reason)


def _open(owners: Sequence[Organization]) -> Iterator[OutboundRequest]:
    rows = operating.listing().filter(state__in=OPEN).order_by("created_at", "pk")
    for some in in_batches([owner.pk for owner in owners]):
        yield from rows.filter(organization__in=some)


def _is_unsent(row: OutboundRequest) -> bool:
    return row.state in _NOT_UNDER_WAY and not operating.may_have_worked(row)
