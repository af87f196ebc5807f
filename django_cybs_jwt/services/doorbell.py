"""Ring after commit: tell whoever works on the queue that a row waits, or a key to be verified.

The one place that does it. A ring may be lost, doubled or late: the row is the record.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast
from uuid import UUID

from django.db import transaction

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.models import OutboundRequest, RequestState

logger = logging.getLogger(__name__)

_TELL_EVERY: Final = 5.0  # seconds
_silent_until = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """How whoever is rung is configured in this process; times in seconds, 0.0 is none."""

    configured: bool
    transport: str
    prefetch: int
    acks_late: bool
    cancels_on_connection_loss: bool
    time_limit: float
    visibility: float
    greenlets: bool
    reuse: int = 0
    """Tasks after which a worker closes its database connections; 0 is after each."""


def broker() -> Broker | None:
    """What DOORBELL knows of its broker; None without one, or where it does not say.

    Raises ConfigurationError where it cannot be imported.
    """
    told = getattr(_ringer(), "broker", None)
    return None if told is None else cast("Broker", told())


Ringer = Callable[[UUID, str], None]
"""Told the id of a row and whom it is for: its host, or RESOLVE for one in doubt.

The setting DOORBELL names one. Where it has a method `verify`, that is called, without arguments,
for keys that are marked to be verified. Where it has one `is_away`, a sweep that rings for many
asks it whether they got out.
"""

RESOLVE: Final = "resolve"


def whom_for(state: str, host: str) -> str:
    """Whom a ring for a row in that state is for."""
    return RESOLVE if state == RequestState.IN_DOUBT else host


def ring_after_commit(request: OutboundRequest) -> None:
    """Ring once the caller's transaction has committed, at once where there is none."""
    if conf.current().DOORBELL is None:
        return

    whom = whom_for(request.state, request.host)

    def committed() -> None:  # a partial has no name for Django to report
        ring(request.pk, whom)

    # Robust: the payment is committed by then, whatever happens to the ring.
    transaction.on_commit(committed, robust=True)


def ring_to_verify_after_commit() -> None:
    """The same for keys that were marked; where nobody is rung they wait for who looks for them."""
    if conf.current().DOORBELL is not None:
        transaction.on_commit(ring_to_verify, robust=True)


def ring(request_id: UUID, whom: str) -> bool:
    """Ring for one row; False when it did not work, which is logged and mends itself."""
    return _rung(lambda ringer: ringer(request_id, whom))


def is_away() -> bool:
    """True where what was rung last did not get out, as far as who rings can say."""
    return bool(getattr(_ringer(), "is_away", bool)())


def ring_to_verify() -> None:
    """Ring for the keys that are marked. Never raises, and does nothing where only rows ring."""
    _rung(lambda ringer: getattr(ringer, "verify", _say_nothing)())


def _say_nothing() -> None:
    """What a ringer without `verify` does: a tick finds the keys."""


def _rung(press: Callable[[Ringer], None]) -> bool:
    try:
        ringer = _ringer()
        if ringer is None:
            return False
        press(ringer)
    except ConfigurationError:
        logger.exception("The doorbell is not there")
        return False
    except Exception as error:  # noqa: BLE001  # whatever a broker's library raises
        _tell(error)
        return False
    return True


def _tell(error: Exception) -> None:
    """Aloud once in a while: a broker that is away fails every caller's ring."""
    global _silent_until  # noqa: PLW0603  # of two threads both may tell, which is no harm
    is_news = time.monotonic() >= _silent_until
    if is_news:
        _silent_until = time.monotonic() + _TELL_EVERY
    # Without its text: it may quote the broker's address and password.
    text = "The doorbell failed (%s); the sweeper will ring"
    logger.log(logging.WARNING if is_news else logging.DEBUG, text, type(error).__name__)


def _ringer() -> Ringer | None:
    name = conf.current().DOORBELL
    return None if name is None else cast("Ringer", conf.imported(name, "DOORBELL"))
