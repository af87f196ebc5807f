"""What a host project may listen to. Receivers run after commit and may be called twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.dispatch import Signal

break_glass_used = Signal()
"""An approval was granted by one person alone: approval, actor, reason."""

key_ends_soon = Signal()
"""An expiry alert is due: alert, recipients. Sent by the channel of the same purpose."""

request_ended = Signal()
"""A queued request has come to its end, whichever: event, a RequestEvent."""

request_in_doubt = Signal()
"""A request may have been processed, and nobody knows yet; it is being cleared up: event."""

request_parked = Signal()
"""A request waits for a person: event."""

request_answered_late = Signal()
"""The gateway's answer came when its request was over, or sent again, without it: event.

`outcome`, `gateway_id`, `http_status` and `attempt` are the answer's, `state` is the row's.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvent:
    """What became of a queued request at a moment; nothing of what was sent or came back.

    A process that is killed right after its commit tells nobody: the row is the record.
    """

    request_id: UUID
    organization: str
    host: str
    operation: str
    idempotency_key: str
    transaction_id: str
    state: str
    reason: str
    outcome: str
    http_status: int | None
    gateway_id: str
    correlation_id: str
    caller_id: str
    attempt: int
    at: datetime
