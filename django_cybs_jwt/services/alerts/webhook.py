"""Alerts as a signed POST.

    Cybs-Timestamp: 1796040000
    Cybs-Signature: v1=<hex HMAC-SHA256 of "1796040000." and the body, under the recipient's key>

The receiver compares in constant time and refuses an old timestamp; an alert whose id and severity
both came before is the same alert again. One that became louder keeps its id.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
import socket
import ssl
from contextlib import suppress
from datetime import datetime
from http.client import HTTPConnection, HTTPSConnection
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final
from urllib.parse import SplitResult, urlsplit

from django_cybs_jwt import conf
from django_cybs_jwt.exceptions import ConfigurationError, CybsError
from django_cybs_jwt.models import AlertRecipient
from django_cybs_jwt.services.alerts.digest import Digest

TIMEOUT: Final = 10.0  # seconds, for each step of the connection
DEADLINE: Final = 20.0  # seconds, for all of them: an answer may drip in, byte by byte

_SENDABLE: Final = re.compile(r"[!-~]+")
"""What a request line can hold: ASCII without spaces and control characters."""


class WebhookChannel:
    """POST to https, or to this machine; a redirect is an error."""

    def check(self, address: str) -> None:
        """An https URL, or http on loopback, without user name and fragment."""
        if not (_SENDABLE.fullmatch(address) and _is_allowed(address)):
            raise ConfigurationError(
                "A webhook is an https:// URL without a user name, a fragment, spaces or letters "
                "beyond ASCII (write them as %20); http:// reaches 127.0.0.1 only."
            )

    def send(self, recipient: AlertRecipient, digest: Digest) -> None:
        """Done with any 2xx answer; its body is not read."""
        self.check(recipient.address)
        body = json.dumps(digest.payload, separators=(",", ":")).encode()
        status = _Call(recipient.address, body, _headers(recipient, body, digest.at)).status()
        if not 200 <= status < 300:
            raise CybsError("The receiver answered {status}, which is no 2xx.", status=status)


class _Call(Thread):
    """One POST in a thread of its own, which is left behind and cut off at the deadline."""

    def __init__(self, address: str, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(name="cybs-webhook", daemon=True)
        parts = urlsplit(address)
        self._connection = _connection(parts)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._body, self._headers = body, headers
        self._result: SimpleQueue[int | Exception] = SimpleQueue()
        self._given_up = Event()

    def status(self) -> int:
        """What was answered. Raises what went wrong, or TimeoutError."""
        self.start()
        try:
            result = self._result.get(timeout=DEADLINE)
        except Empty:
            self._give_up()
            raise TimeoutError from None
        if isinstance(result, Exception):
            raise result
        return result

    def run(self) -> None:
        """In the thread."""
        try:
            self._result.put(self._post())
        except Exception as error:  # noqa: BLE001  # told to whoever waits
            self._result.put(error)
        finally:
            self._connection.close()

    def _post(self) -> int:
        self._connection.connect()
        if self._given_up.is_set():
            raise TimeoutError  # nobody waits: a message now would come twice
        self._connection.request("POST", self._path, self._body, self._headers)
        return self._connection.getresponse().status

    def _give_up(self) -> None:
        self._given_up.set()
        # Wakes a thread that reads; before there is a connection the timeouts of its steps do.
        if (open_one := self._connection.sock) is not None:
            with suppress(OSError):
                open_one.shutdown(socket.SHUT_RDWR)


def signing_key(recipient: AlertRecipient) -> bytes:
    """The 32 bytes that sign for *recipient*; the receiver needs them too."""
    return conf.keyring().index_key(f"alert-webhook:{recipient.pk}")


def signature(key: bytes, timestamp: str, body: bytes) -> str:
    """The value of Cybs-Signature."""
    return "v1=" + hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _connection(parts: SplitResult) -> HTTPConnection:
    """Straight to the host: no redirect, no proxy from the environment."""
    host = parts.hostname or ""
    if parts.scheme == "http":
        return HTTPConnection(host, parts.port, timeout=TIMEOUT)
    bundle = conf.current().CA_BUNDLE
    context = ssl.create_default_context(cafile=str(bundle) if bundle else None)
    return HTTPSConnection(host, parts.port, timeout=TIMEOUT, context=context)


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
        named = bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:  # a bad port or bracket, a label that is empty or too long
        return False
    plain = parts.scheme == "http" and _is_loopback(parts.hostname)
    bare = "@" not in parts.netloc and "#" not in address
    return named and bare and (parts.scheme == "https" or plain)


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
