"""A message to one recipient that says nothing but that it arrives."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from django_cybs_jwt.exceptions import ConfigurationError, CybsError
from django_cybs_jwt.models import AlertRecipient
from django_cybs_jwt.services import audit
from django_cybs_jwt.services.alerts import channels
from django_cybs_jwt.services.alerts.digest import Digest
from django_cybs_jwt.services.alerts.failures import describe
from django_cybs_jwt.services.languages import house_language
from django_cybs_jwt.texts import Text

logger = logging.getLogger(__name__)


def send_test(recipient: AlertRecipient, *, actor: str, now: datetime) -> None:
    """Hand a test over at once, as alerts are; audited, also where it fails.

    Raises CybsError, ConfigurationError for an address that cannot be. How it failed the log says
    alone: to whoever may name addresses the answer would tell which ports of this network are open.
    """
    entry = audit.Entry(
        action="test-recipient",
        actor=actor,
        organization=str(recipient.organization or ""),
        reason=f"{recipient} {recipient.pk}",
    )
    audit.record(entry, now=now)
    try:
        channels.channel(recipient.channel).send(recipient, _digest(actor, now))
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a channel raises
        logger.warning("A test was not handed over to %s: %s", recipient, describe(error))
        raise CybsError(
            "It was not handed over; the log says why. Check the address and the network, and try "
            "again."
        ) from None


def _digest(actor: str, now: datetime) -> Digest:
    at = now.astimezone(UTC).isoformat()
    body = Text("{actor} sent this test at {at}. Nothing ends because of it.", actor=actor, at=at)
    with house_language():
        subject, told = str(Text("Test: alerts about keys reach you")), f"{body}\n"
    return Digest(
        at=now,
        alerts=(),
        subject=subject,
        body=told,
        payload={"type": "cybs.test", "at": at, "alerts": []},
    )
