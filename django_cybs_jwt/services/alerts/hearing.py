"""Whether anybody hears of what stands: alerts that nobody could be told of are no alerts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Q

from django_cybs_jwt.services import alerts
from django_cybs_jwt.services.alerts import delivery, recipients
from django_cybs_jwt.services.alerts.schedule import Severity
from django_cybs_jwt.texts import Text

_TRIED: Final = Text("That is tried again; the log says what failed.")
_ADD: Final = Text("Add somebody with `cybs_alerts add-recipient`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """*overdue* recipients were tried in vain, and nobody is told of *unheard* open alerts."""

    overdue: int
    unheard: int

    def faults(self) -> Iterator[tuple[str, str]]:
        """What is wrong and its cure, by the name of what it is wrong with."""
        if self.overdue:
            whom = Text.counted("{count} recipient", "{count} recipients", self.overdue)
            yield (
                "deliveries",
                Text("Alerts could not be handed over to {whom}. {cure}", whom=whom, cure=_TRIED),
            )
        if self.unheard:
            what = Text.counted("{count} open alert", "{count} open alerts", self.unheard)
            yield "recipients", Text("Nobody is told of {what}. {cure}", what=what, cure=_ADD)


def of(now: datetime) -> Hearing:
    """As it is at *now*; changes nothing."""
    within_reach = recipients.within_reach()
    tried = delivery.pending(now).filter(recipient__in=within_reach, attempts__gt=0)
    heard = Q(pk__in=[])
    for recipient in within_reach:
        heard |= recipients.scope(recipient) or Q(pk__isnull=False)
    known = Q(acknowledged_at__isnull=False) & ~Q(severity=Severity.CRITICAL)
    unheard = alerts.listing().exclude(heard).exclude(known).exclude(snoozed_until__gt=now)
    return Hearing(
        overdue=tried.values("recipient").distinct().count(),
        unheard=unheard.count(),
    )
