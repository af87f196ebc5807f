"""The message on the wire: bytes in, bytes out. No Django, no settings, no clock of its own."""

from __future__ import annotations

from django_cybs_jwt.protocol.keys import (
    GatewayCertificate,
    MerchantKeys,
    ReplyKeys,
    ResponseKey,
    SigningKey,
)
from django_cybs_jwt.protocol.message import (
    OpenedResponse,
    SealedRequest,
    open_response,
    seal_request,
)
from django_cybs_jwt.protocol.operations import Operations, default_operations
from django_cybs_jwt.protocol.profiles import DEFAULT, PROFILES, Profile

__all__ = [
    "DEFAULT",
    "PROFILES",
    "GatewayCertificate",
    "MerchantKeys",
    "OpenedResponse",
    "Operations",
    "Profile",
    "ReplyKeys",
    "ResponseKey",
    "SealedRequest",
    "SigningKey",
    "default_operations",
    "open_response",
    "seal_request",
]
