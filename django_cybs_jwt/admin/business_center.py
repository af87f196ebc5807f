"""What to do in the gateway's Business Center, where this app cannot reach."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext as _

from django_cybs_jwt.models import Credential, Purpose

TEST: Final = "https://businesscentertest.cybersource.com"
PRODUCTION: Final = "https://businesscenter.cybersource.com"


def creating(credential: Credential | None) -> list[str]:
    """How to get a new key; with *credential* its successor, of the same type."""
    return [
        _log_in(credential),
        _("Payment Configuration > Key Management > + Generate key."),
        _("Under REST APIs choose %(type)s, then Generate key.") % {"type": _type_of(credential)},
        _("Download it, and upload or paste it here."),
    ]


def deleting(credential: Credential, keep: Credential | None) -> list[str]:
    """How to remove *credential* there, and not *keep*, its successor."""
    steps = [
        _log_in(credential),
        _("Payment Configuration > Key Management, for organization %(organization)s.")
        % {"organization": credential.organization.org_id},
        _("Find key ID %(kid)s, of type %(type)s.")
        % {"kid": credential.key_id, "type": _type_of(credential)},
    ]
    if keep is not None:
        steps.append(_("Not %(kid)s: that one is in use.") % {"kid": keep.key_id})
    steps.append(_("Delete that key there; it takes the permission Manage Keys."))
    return steps


def _log_in(credential: Credential | None) -> str:
    if credential is None:
        return _("Log in to the Business Center: %(test)s for tests, %(production)s.") % {
            "test": TEST,
            "production": PRODUCTION,
        }
    address = PRODUCTION if credential.organization.live else TEST
    return _("Log in to the Business Center that belongs to %(host)s, for example %(address)s.") % {
        "host": credential.organization.host,
        "address": address,
    }


def _type_of(credential: Credential | None) -> str:
    if credential is None:
        return _("REST - Certificate, REST - Shared Secret or REST - API Response MLE")
    if credential.slot.purpose == Purpose.RESPONSE_MLE:
        return "REST - API Response MLE"
    if credential.kind == Credential.Kind.SHARED_SECRET:
        return "REST - Shared Secret"
    return "REST - Certificate"
