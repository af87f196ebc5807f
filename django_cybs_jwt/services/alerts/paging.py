"""Page everyone at once: the glass was broken."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from django_cybs_jwt.models import AlertRecipient, Approval
from django_cybs_jwt.services.alerts import channels, recipients
from django_cybs_jwt.services.alerts.digest import Digest, one_line
from django_cybs_jwt.services.alerts.failures import describe
from django_cybs_jwt.services.languages import house_language
from django_cybs_jwt.signals import break_glass_used
from django_cybs_jwt.texts import Text

logger = logging.getLogger(__name__)

ADD_SOMEBODY: Final = "Add somebody with `cybs_alerts add-recipient`."


def page(approval: Approval, *, actor: str, now: datetime, reason: str) -> None:
    """Log at CRITICAL, send the signal, tell every active recipient, whatever it watches.

    Over the channels of alerts, once and at once; one that fails is logged and keeps no other back.
    """
    credential = approval.credential
    what = f"{approval.action} of {credential.key_id} ({credential.organization})"
    logger.critical("Break glass: %s by %r: %r", what, actor, reason)
    facts = {"approval": approval, "actor": actor, "reason": reason}
    heard = [answer for _, answer in break_glass_used.send_robust(Approval, **facts)]
    digest = _digest(approval, what, actor=actor, now=now, reason=reason)
    told = sum(_tell(recipient, digest) for recipient in _everyone())
    if not told and all(isinstance(answer, Exception) for answer in heard):
        logger.critical("Break glass: nobody was told of %s. %s", what, ADD_SOMEBODY)


def finds_somebody() -> bool:
    """False where a page would end in the log alone."""
    return bool(_everyone()) or break_glass_used.has_listeners()


def _tell(recipient: AlertRecipient, digest: Digest) -> bool:
    try:
        channels.channel(recipient.channel).send(recipient, digest)
    except Exception as error:  # noqa: BLE001  # whatever a channel raises, the others are told
        logger.error("Break glass: not told to %s: %s", recipient, describe(error))
        return False
    return True


def _everyone() -> list[AlertRecipient]:
    """Each address once, however many organizations it watches; the signal has one of its own."""
    told = recipients.listing().exclude(channel=AlertRecipient.Channel.SIGNAL)
    return list({(row.channel, row.address): row for row in told}.values())


def _body(approval: Approval, what: str, actor: str, reason: str) -> Text:
    return Text(
        "{actor} granted this alone, without a second person:\n\n{what}\n"
        "Reason: {reason}\nValid until: {until}\nApproval: {approval}\n\n"
        "Not right? manage.py cybs_approvals reject {approval} --user NAME, at once.\n",
        actor=actor,
        what=what,
        reason=reason,
        until=approval.expires_at.isoformat(),
        approval=approval.pk,
    )


def _digest(approval: Approval, what: str, *, actor: str, now: datetime, reason: str) -> Digest:
    credential = approval.credential
    with house_language():
        subject = str(Text("Break glass: {what}", what=one_line(what)))
        body = str(_body(approval, what, actor, reason))
    return Digest(
        at=now,
        alerts=(),
        subject=subject,
        body=body,
        payload={
            "type": "cybs.break_glass",
            "at": now.isoformat(),
            "approval": str(approval.pk),
            "action": approval.action,
            "organization": credential.organization.org_id,
            "host": credential.organization.host,
            "key_id": credential.key_id,
            "actor": actor,
            "reason": reason,
            "valid_until": approval.expires_at.isoformat(),
        },
    )
