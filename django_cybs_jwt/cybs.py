"""The public face.

    from django_cybs_jwt import cybs

    reply = cybs.send("acme", "POST", "/pts/v2/payments", json=payment)

Name a merchant `ORG_ID`, or `ORG_ID@HOST` where one id exists on several hosts.
"""

from __future__ import annotations

from django_cybs_jwt.client import Reply
from django_cybs_jwt.services.queue.payloads import StoredReply
from django_cybs_jwt.services.queue.payloads import open_reply as reply_to
from django_cybs_jwt.services.queue.queueing import enqueue
from django_cybs_jwt.services.queue.submitting import asubmit, submit
from django_cybs_jwt.services.sending import (
    SignedRequest,
    aclient,
    adecrypt,
    aexplain,
    asend,
    asign,
    auth,
    client,
    decrypt,
    send,
    sign,
)
from django_cybs_jwt.services.signing import akeys_for, keys_for

__all__ = [
    "Reply",
    "SignedRequest",
    "StoredReply",
    "aclient",
    "adecrypt",
    "aexplain",
    "akeys_for",
    "asend",
    "asign",
    "asubmit",
    "auth",
    "client",
    "decrypt",
    "enqueue",
    "keys_for",
    "reply_to",
    "send",
    "sign",
    "submit",
]
