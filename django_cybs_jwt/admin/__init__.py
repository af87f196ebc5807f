"""Read-only pages: what is stored, and nothing that opens a secret."""

from __future__ import annotations

from django_cybs_jwt.admin.keys import (
    CredentialAdmin,
    GatewayCertificateAdmin,
    KeyEventAdmin,
    KeySlotAdmin,
)
from django_cybs_jwt.admin.organizations import OrganizationAdmin

__all__ = [
    "CredentialAdmin",
    "GatewayCertificateAdmin",
    "KeyEventAdmin",
    "KeySlotAdmin",
    "OrganizationAdmin",
]
