"""Page everyone at once: the glass was broken."""

from __future__ import annotations

import logging

from django.core.mail import send_mail

from django_cybs_jwt.models import AlertRecipient, Approval
from django_cybs_jwt.signals import break_glass_used

logger = logging.getLogger(__name__)


def page(approval: Approval, *, actor: str, reason: str) -> None:
    """Log at CRITICAL, send the signal, mail every active recipient, whatever it watches.

    A mail that fails is logged and keeps no other one back.
    """
    credential = approval.credential
    what = f"{approval.action} of {credential.key_id} ({credential.organization})"
    logger.critical("Break glass: %s by %r: %r", what, actor, reason)
    break_glass_used.send_robust(Approval, approval=approval, actor=actor, reason=reason)
    text = (
        f"{actor} granted this alone, without a second person:\n\n{what}\n"
        f"Reason: {reason}\nValid until: {approval.expires_at.isoformat()}\n"
        f"Approval: {approval.pk}\n\n"
        f"Not right? manage.py cybs_approvals reject {approval.pk} --user NAME, at once.\n"
    )
    for address in _addresses():
        try:
            send_mail(f"Break glass: {what}", text, None, [address])
        except Exception:  # whatever a mail backend raises, the others are told
            logger.exception("Break glass: no mail to %s", address)


def _addresses() -> list[str]:
    """One mail each: nobody reads who else is told, and one bad address stops none."""
    mail = AlertRecipient.objects.filter(channel=AlertRecipient.Channel.MAIL, active=True)
    return sorted(set(mail.values_list("address", flat=True)))
