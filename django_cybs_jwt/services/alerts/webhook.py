"""Alerts as a signed POST.

    Cybs-Timestamp: 1796040000
    Cybs-Signature: v1=<hex HMAC-SHA256 of "1796040000." and the body, under the recipient's key>

The receiver compares in constant time and refuses an old timestamp; a repeated alert id is the
same alert again.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import ssl
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
)

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ConfigurationError
from django_cybs_jwt.models import AlertRecipient
from django_cybs_jwt.services.alerts.digest import Digest

TIMEOUT: Final = 10.0  # seconds, for each step of the connection


class WebhookChannel:
    """POST to https, or to this machine; a redirect is an error."""

    def check(self, address: str) -> None:
        """An https URL, or http on loopback, without user name."""
        if not (address.isprintable() and _is_allowed(address)):
            raise ConfigurationError(
                "A webhook is an https:// URL without a user name; http:// reaches 127.0.0.1 only."
            )

    def send(self, recipient: AlertRecipient, digest: Digest) -> None:
        """Done with any 2xx answer; its body is not read."""
        self.check(recipient.address)
        body = json.dumps(digest.payload, separators=(",", ":")).encode()
        request = Request(  # noqa: S310  # the scheme was checked
            recipient.address,
            data=body,
            headers=_headers(recipient, body, digest.at),
            method="POST",
        )
        # Any other answer than 2xx is raised.
        _opener().open(request, timeout=TIMEOUT).close()


def signing_key(recipient: AlertRecipient) -> bytes:
    """The 32 bytes that sign for *recipient*; the receiver needs them too."""
    return conf.keyring().index_key(f"alert-webhook:{recipient.pk}")


def signature(key: bytes, timestamp: str, body: bytes) -> str:
    """The value of Cybs-Signature."""
    return "v1=" + hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _opener() -> OpenerDirector:
    """Two schemes and nothing else: no redirect, no proxy from the environment, no file."""
    bundle = conf.current().CA_BUNDLE
    context = ssl.create_default_context(cafile=str(bundle) if bundle else None)
    opener = OpenerDirector()
    for handler in (
        HTTPHandler(),
        HTTPSHandler(context=context),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _headers(recipient: AlertRecipient, body: bytes, at: datetime) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    return {
        "Content-Type": "application/json",
        "User-Agent": "django-cybs-jwt",
        "Cybs-Timestamp": timestamp,
        "Cybs-Signature": signature(signing_key(recipient), timestamp, body),
    }


def _is_allowed(address: str) -> bool:
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    plain = parts.scheme == "http" and _is_loopback(parts.hostname)
    return named and (parts.scheme == "https" or plain) and "@" not in parts.netloc


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
