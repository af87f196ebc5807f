"""How alerts leave: mail, webhook and signal, and those that the host project adds.

`CYBS_JWT["ALERT_CHANNELS"] = {"pager": "acme.pager.PagerChannel"}`: a dotted path to a class that
has the two methods of `Channel` and takes no argument.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final, Protocol

from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ConfigurationError, CybsError
from django_cybs_jwt.models import AlertDelivery, AlertRecipient, ExpiryAlert
from django_cybs_jwt.services.alerts.digest import Digest
from django_cybs_jwt.services.batches import in_batches
from django_cybs_jwt.signals import key_ends_soon


class Channel(Protocol):
    """One way to tell somebody."""

    def check(self, address: str) -> None:
        """Raise ConfigurationError if nothing can be sent to *address*."""
        ...

    def send(self, recipient: AlertRecipient, digest: Digest) -> None:
        """Hand *digest* over, or raise anything: it is tried again later. May be called twice."""
        ...


class MailChannel:
    """Django's mail, plain text, one message for each recipient."""

    def check(self, address: str) -> None:
        """One mail address."""
        try:
            validate_email(address)
        except ValidationError:
            raise ConfigurationError(
                "{address!r} is no mail address.", address=address[:80]
            ) from None

    def send(self, recipient: AlertRecipient, digest: Digest) -> None:
        """Through the project's mailer, from ALERT_FROM."""
        EmailMessage(
            digest.subject,
            digest.body,
            conf.current().ALERT_FROM,
            [recipient.address],
            headers={"Auto-Submitted": "auto-generated"},
        ).send()


class SignalChannel:
    """`signals.key_ends_soon`, once for each alert."""

    def check(self, address: str) -> None:
        """The signal makes its own recipient."""
        raise ConfigurationError(
            "{address!r}: connect a receiver to signals.key_ends_soon; it needs no recipient.",
            address=address[:80],
        )

    def send(self, recipient: AlertRecipient, digest: Digest) -> None:  # noqa: ARG002
        """Every receiver hears every alert; if one raises, all hear them again later."""
        told = _told(digest)
        failed = [
            result
            for alert in digest.alerts
            for _, result in key_ends_soon.send_robust(
                ExpiryAlert, alert=alert, recipients=told[alert.pk]
            )
            if isinstance(result, Exception)
        ]
        if failed:
            raise CybsError(
                "{count} receivers of key_ends_soon failed.", count=len(failed)
            ) from failed[0]


BUILT_IN: Final = {
    "mail": "django_cybs_jwt.services.alerts.channels.MailChannel",
    "signal": "django_cybs_jwt.services.alerts.channels.SignalChannel",
    "webhook": "django_cybs_jwt.services.alerts.webhook.WebhookChannel",
}


def channel(name: str) -> Channel:
    """The channel of that name, or ConfigurationError."""
    paths = {**BUILT_IN, **conf.current().ALERT_CHANNELS}
    if name not in paths:
        raise ConfigurationError(
            "No channel {name!r}; there is {paths}. CYBS_JWT['ALERT_CHANNELS'] adds others.",
            name=name[:80],
            paths=", ".join(sorted(paths)),
        )
    made: Channel = conf.imported(paths[name], "ALERT_CHANNELS", name)()
    return made


def _told(digest: Digest) -> dict[object, list[AlertRecipient]]:
    """Who else hears of each alert."""
    told: dict[object, list[AlertRecipient]] = defaultdict(list)
    others = AlertDelivery.objects.select_related("recipient").exclude(
        recipient__channel=AlertRecipient.Channel.SIGNAL
    )
    for some in in_batches([alert.pk for alert in digest.alerts]):
        for delivery in others.filter(alert__in=some):
            if delivery.recipient not in told[delivery.alert_id]:  # a louder one has another row
                told[delivery.alert_id].append(delivery.recipient)
    return told
