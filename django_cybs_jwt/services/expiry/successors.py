"""What stands ready to take over, before an artefact ends."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from django.db.models import Q

from django_cybs_jwt.models import Credential, GatewayCertificate, State
from django_cybs_jwt.services import force, proven
from django_cybs_jwt.services.expiry.endings import CHUNK, Successor
from django_cybs_jwt.services.expiry.moments import Moment


class Ready(NamedTuple):
    """Something the gateway accepted; where it is scheduled it takes over by itself."""

    begins: datetime | None
    ends: datetime | None
    activate_at: datetime | None = None

    def follows(self, ends: datetime) -> bool:
        """True if it can take over from what ends then, in time and for longer."""
        latest = self.activate_at or self.begins
        return (latest is None or latest <= ends) and (self.ends is None or self.ends > ends)


def in_slots(now: datetime) -> Mapping[uuid.UUID, list[Ready]]:
    """By slot, the keys that can take over."""
    rows = Credential.objects.filter(_is_ready(now)).order_by()
    columns = ("slot", Moment("not_before"), Moment("expires_at"), Moment("activate_at"))
    ready: dict[uuid.UUID, list[Ready]] = defaultdict(list)
    for slot, *times in rows.values_list(*columns).iterator(chunk_size=CHUNK):
        ready[slot].append(Ready(*times))
    return ready


def of_certificates(now: datetime) -> Mapping[uuid.UUID, list[Ready]]:
    """By owner, the request-MLE certificates that come into use with a key that is ready."""
    keys = Credential.objects.filter(_is_ready(now))
    rows = GatewayCertificate.stored.filter(credential__in=keys).order_by()
    columns = (
        "organization",
        Moment("not_before"),
        Moment("not_after"),
        Moment("credential__activate_at"),
    )
    ready: dict[uuid.UUID, list[Ready]] = defaultdict(list)
    for owner, *times in rows.values_list(*columns).iterator(chunk_size=CHUNK):
        ready[owner].append(Ready(*times))
    return ready


def best(ready: Iterable[Ready], ends: datetime) -> Successor:
    """The most that can be said of those that follow."""
    following = [item for item in ready if item.follows(ends)]
    if any(item.activate_at is not None for item in following):
        return Successor.SCHEDULED
    return Successor.VERIFIED if following else Successor.NONE


def _is_ready(now: datetime) -> Q:
    scheduled = Q(state__in=force.WAITING, activate_at__gt=now)
    return (Q(state=State.VERIFIED) | scheduled) & proven.ACCEPTED
