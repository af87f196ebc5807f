"""What the last verification of the audit chain said: kept as a row of the chain itself."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from django.db import Error, transaction

from django_cybs_jwt.models import KeyEvent
from django_cybs_jwt.services import audit
from django_cybs_jwt.services.audit import chain
from django_cybs_jwt.services.audit.chain import Anchor, Verification

logger = logging.getLogger(__name__)

ACTION: Final = "audit-verify"
WHOLE: Final = "WHOLE"
BROKEN: Final = "BROKEN"


def verify(*, actor: str, now: datetime, only_new: bool = False) -> Verification:
    """`audit_chain.verify`, whose result is kept as a row; with *only_new* since the last one.

    What an earlier verification found whole may have been changed since: only the whole tells.
    """
    since = _anchor(last()) if only_new else None
    found = chain.verify(since=since)
    try:
        with transaction.atomic():
            _record(found, actor=actor, now=now)
    except Error as error:  # a broken chain may not take another row
        logger.error("The verdict about the audit chain was not kept: %s", type(error).__name__)
    return found


def last() -> KeyEvent | None:
    """The newest verdict; its `to_state` is WHOLE or BROKEN."""
    # Verdicts belong to no organization, and that column has an index.
    verdicts = KeyEvent.objects.filter(organization="", action=ACTION)
    return verdicts.order_by("-seq").first()


def _anchor(event: KeyEvent | None) -> Anchor | None:
    """The newest row that *event* found whole.

    It stands before *event*, so that the row which names it is among those that are read again.
    """
    if event is None or event.to_state != WHOLE:
        return None
    try:
        anchor = Anchor.parse(event.reason.rpartition(" ")[2])
    except ValueError:
        return None
    return anchor if anchor.seq < event.seq else None


def _record(found: Verification, *, actor: str, now: datetime) -> None:
    faults = len(found.faults) + found.more
    told = f"{faults} faults" if faults else f"anchor {found.anchor}"
    entry = audit.Entry(
        action=ACTION,
        actor=actor,
        organization="",
        to_state=BROKEN if faults else WHOLE,
        reason=f"{found.rows} rows read: {told}",
    )
    audit.record(entry, now=now)
