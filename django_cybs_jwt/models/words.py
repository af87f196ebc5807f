"""What rows hold as a code, in words: rows, exports and commands keep the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django_cybs_jwt.texts import Text

OF_KEYS: Final = {
    "import": Text("Import"),
    "verify": Text("Verify"),
    "activate": Text("Activate"),
    "supersede": Text("Supersede"),
    "schedule": Text("Schedule"),
    "unschedule": Text("Take back the schedule"),
    "roll-back": Text("Roll back"),
    "close-overlap": Text("Close the overlap"),
    "retire": Text("Retire"),
    "suspend": Text("Suspend"),
    "resume": Text("Resume"),
    "compromise": Text("Mark as compromised"),
    "destroy": Text("Destroy"),
    "discard": Text("Discard"),
    "release": Text("Release the key ID"),
    "export": Text("Export"),
    "cover": Text("Cover more merchants"),
    "uncover": Text("Cover fewer merchants"),
    "choose": Text("Choose whom it covers"),
    "gateway-cert": Text("Add a request-MLE certificate"),
    "gateway-cert-remove": Text("Remove a request-MLE certificate"),
}
OF_ORGANIZATIONS: Final = {
    "add": Text("Add an organization"),
    "disable": Text("Disable an organization"),
    "enable": Text("Enable an organization"),
    "response-mle": Text("Set response MLE"),
    "offboard": Text("Offboard"),
}
OF_PEOPLE: Final = {
    "request-approval": Text("Ask for approval"),
    "approve": Text("Approve"),
    "reject": Text("Reject"),
    "break-glass": Text("Break the glass"),
    "limit-user": Text("Limit a user"),
    "lift-limit": Text("Lift a limit"),
}
OF_ALERTS: Final = {
    "ack-alert": Text("Acknowledge an alert"),
    "snooze-alert": Text("Put off an alert"),
    "reopen-alert": Text("Reopen an alert"),
    "add-recipient": Text("Add a recipient"),
    "remove-recipient": Text("Remove a recipient"),
    "test-recipient": Text("Test a recipient"),
}
OF_REQUESTS: Final = {
    "cancel-request": Text("Cancel a request"),
    "retry-request": Text("Retry a request"),
    "reconcile-request": Text("Reconcile a request"),
    "settle-request": Text("Settle a request"),
    "cancel": Text("Cancel"),
    "settle": Text("Settle"),
    "reconcile": Text("Reconcile"),
}
OF_THE_STORE: Final = {
    "kek-generate": Text("Make a key-encryption key"),
    "kek-add": Text("Add a key-encryption key"),
    "kek-promote": Text("Promote a key-encryption key"),
    "kek-block": Text("Block a key-encryption key"),
    "kek-unblock": Text("Unblock a key-encryption key"),
    "rewrap-begin": Text("Begin to re-encrypt"),
    "rewrap-end": Text("End re-encrypting"),
    "audit-verify": Text("Verify the audit trail"),
    "audit-export": Text("Export the audit trail"),
}
ACTIONS: Final[Mapping[str, Text]] = {
    **OF_KEYS,
    **OF_ORGANIZATIONS,
    **OF_PEOPLE,
    **OF_ALERTS,
    **OF_REQUESTS,
    **OF_THE_STORE,
}
ARTEFACTS: Final[Mapping[str, Text]] = {
    "signing-certificate": Text("Signing certificate"),
    "shared-secret": Text("Shared secret"),
    "response-mle-certificate": Text("Response MLE certificate"),
    "request-mle-certificate": Text("Request MLE certificate"),
    "kek": Text("Key-encryption key"),
    "overlap": Text("Overlap"),
    "approval": Text("Approval"),
}


def action(code: str) -> str:
    """What is done or asked for; a code that is not known stays one."""
    return ACTIONS.get(code, code)
