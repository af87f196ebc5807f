"""What ends, when, and who stops then: the value that lists, alerts and metrics share."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

CHUNK: Final = 5_000
"""Rows held in memory at a time while a scan streams."""
FAR: Final = datetime(9999, 1, 1, tzinfo=UTC)


class Artefact(StrEnum):
    """What can end. An overlap and an approval are listed only: nothing stops with them."""

    SIGNING_CERTIFICATE = "signing-certificate"
    SHARED_SECRET = "shared-secret"  # noqa: S105  # a name
    RESPONSE_MLE_CERTIFICATE = "response-mle-certificate"
    REQUEST_MLE_CERTIFICATE = "request-mle-certificate"
    KEK = "kek"
    OVERLAP = "overlap"
    APPROVAL = "approval"


class Successor(StrEnum):
    """What stands ready in the same slot, with a later end."""

    NONE = "none"
    VERIFIED = "verified"
    SCHEDULED = "scheduled"


class Ending(NamedTuple):
    """One artefact's end; a scan makes hundreds of thousands, each only by keywords.

    *stops* are the merchants that stop then, as `MID@HOST`, sorted; *in_use* tells a key that
    somebody's requests depend on from one that waits or was replaced. *begins* is the start of a
    certificate's validity; of a shared secret, whose end is typed by hand, nobody knows it.
    """

    artefact: Artefact
    subject: uuid.UUID
    key_id: str
    ends: datetime
    begins: datetime | None = None
    organization_id: uuid.UUID | None = None
    organization: str = ""
    host: str = ""
    live: bool = False
    state: str = ""
    in_use: bool = False
    successor: Successor = Successor.NONE
    stops: Sequence[str] = ()

    def days_left(self, now: datetime) -> int:
        """Whole days until the end, rounded down; below zero once it has ended."""
        return (self.ends - now.astimezone(UTC)).days


def merchant_name(org_id: str, host: str) -> str:
    """The name of a merchant in `Ending.stops`, as `Organization.__str__` gives it."""
    return f"{org_id}@{host}"
