from __future__ import annotations

from django_cybs_jwt.models.alerts import AlertDelivery, AlertRecipient, ExpiryAlert, JobRun
from django_cybs_jwt.models.approvals import Approval
from django_cybs_jwt.models.events import AuditHead, Epoch, KeyEvent
from django_cybs_jwt.models.keys import (
    Coverage,
    Credential,
    GatewayCertificate,
    KeySlot,
    KeyUse,
    Purpose,
    State,
    Verdict,
)
from django_cybs_jwt.models.organizations import Organization
from django_cybs_jwt.models.requests import (
    ACTED_ON,
    OPEN,
    Attempt,
    OutboundRequest,
    RequestState,
    Safety,
)
from django_cybs_jwt.models.staff import StaffScope

__all__ = [
    "ACTED_ON",
    "OPEN",
    "AlertDelivery",
    "AlertRecipient",
    "Approval",
    "Attempt",
    "AuditHead",
    "Coverage",
    "Credential",
    "Epoch",
    "ExpiryAlert",
    "GatewayCertificate",
    "JobRun",
    "KeyEvent",
    "KeySlot",
    "KeyUse",
    "Organization",
    "OutboundRequest",
    "Purpose",
    "RequestState",
    "Safety",
    "StaffScope",
    "State",
    "Verdict",
]
