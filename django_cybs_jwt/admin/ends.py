"""From what ends to the page of its key, and to the import of the key's successor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from django_cybs_jwt.admin.importing import ReplaceScreen
from django_cybs_jwt.models import Credential, ExpiryAlert, GatewayCertificate
from django_cybs_jwt.services.expiry.endings import Artefact
from django_cybs_jwt.services.permissions import Permission

if TYPE_CHECKING:
    from django_cybs_jwt.admin.base import CybsAdmin

_KEYS: Final = (
    Artefact.SIGNING_CERTIFICATE,
    Artefact.SHARED_SECRET,
    Artefact.RESPONSE_MLE_CERTIFICATE,
)


def page_of(admin: CybsAdmin, request: HttpRequest, alert: ExpiryAlert) -> str:
    """The page of the row that ends, where it has one that the visitor may open."""
    if alert.artefact == Artefact.KEK:
        return ""
    is_certificate = alert.artefact == Artefact.REQUEST_MLE_CERTIFICATE
    model = GatewayCertificate if is_certificate else Credential
    may = request.user.has_perm(f"cybs_jwt.view_{model.__name__.lower()}")
    return admin.url_of(model, "change", alert.subject) if may else ""


def replacement_of(admin: CybsAdmin, alert: ExpiryAlert) -> str:
    """Where the successor of the key that ends is uploaded; empty for what is no key."""
    if alert.artefact not in _KEYS:
        return ""
    return admin.url_of(Credential, ReplaceScreen.name, alert.subject)


def may_replace(request: HttpRequest) -> bool:
    """True for whoever may upload a successor, and so is shown where."""
    return request.user.has_perm(Permission.IMPORT) and request.user.has_perm(
        "cybs_jwt.view_credential"
    )


def link(address: str, text: Any) -> SafeString | str:
    """A cell of a list; empty without an address."""
    return format_html('<a href="{}">{}</a>', address, text) if address else ""
