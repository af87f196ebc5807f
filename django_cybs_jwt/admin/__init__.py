"""The admin: what is stored, and screens that call one service each. No page opens a secret."""

from __future__ import annotations

from django.apps import apps
from django.contrib.admin import AdminSite, site

from django_cybs_jwt.admin.alerts import ExpiryAlertAdmin
from django_cybs_jwt.admin.approvals import ApprovalAdmin
from django_cybs_jwt.admin.audit import KeyEventAdmin
from django_cybs_jwt.admin.keys import CredentialAdmin, GatewayCertificateAdmin, KeySlotAdmin
from django_cybs_jwt.admin.organizations import OrganizationAdmin
from django_cybs_jwt.admin.outbound import OutboundRequestAdmin
from django_cybs_jwt.admin.recipients import AlertRecipientAdmin
from django_cybs_jwt.admin.staff import StaffScopeAdmin

__all__ = [
    "AlertRecipientAdmin",
    "ApprovalAdmin",
    "CredentialAdmin",
    "ExpiryAlertAdmin",
    "GatewayCertificateAdmin",
    "KeyEventAdmin",
    "KeySlotAdmin",
    "OrganizationAdmin",
    "OutboundRequestAdmin",
    "StaffScopeAdmin",
    "register_on",
]


def register_on(other: AdminSite) -> None:
    """Show the same pages on a site of the host's own."""
    for model in apps.get_app_config("cybs_jwt").get_models():
        if site.is_registered(model):
            other.register(model, type(site.get_model_admin(model)))
