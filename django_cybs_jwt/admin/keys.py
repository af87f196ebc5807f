"""Keys, slots and certificates as rows."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import ends, key_page
from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.choosing import CoverageScreen
from django_cybs_jwt.admin.exporting import RequestExportScreen
from django_cybs_jwt.admin.filters import AttentionFilter, CertificateEndsFilter
from django_cybs_jwt.admin.importing import ImportScreen, ReplaceScreen
from django_cybs_jwt.admin.rotating import ActivateScreen, RollBackScreen, UnscheduleScreen
from django_cybs_jwt.admin.verifying import ProgressScreen, VerifyMany, VerifyScreen
from django_cybs_jwt.admin.withdrawing import (
    CompromiseScreen,
    DestroyScreen,
    DiscardScreen,
    ResumeScreen,
    RetireScreen,
    SuspendScreen,
)
from django_cybs_jwt.models import Credential, GatewayCertificate, KeySlot


@admin.register(Credential)
class CredentialAdmin(CybsAdmin):
    """Every version of every key; sealed columns are never loaded."""

    # What is looked for first stands where a narrow screen still shows it.
    list_display = ["organization", "purpose", "key_id", "state", "expires_at", "verified", "kind"]
    list_display_links = ["key_id"]
    list_filter = [
        AttentionFilter,
        "state",
        "kind",
        "slot__purpose",
        "verify_outcome",
        "organization__live",
    ]
    show_full_result_count = False
    list_select_related = ["organization", "slot"]
    search_fields = ["organization__org_id", "key_id"]
    sealed = ["sealed_secret", "sealed_p12"]
    screens = [
        ImportScreen,
        ProgressScreen,
        VerifyScreen,
        ActivateScreen,
        UnscheduleScreen,
        RollBackScreen,
        ReplaceScreen,
        ResumeScreen,
        SuspendScreen,
        RetireScreen,
        CompromiseScreen,
        DiscardScreen,
        RequestExportScreen,
        DestroyScreen,
    ]
    bulk = [VerifyMany()]
    fieldsets = key_page.FIELDSETS
    readonly_fields = key_page.FIELDS

    @admin.display(description=_("purpose"), ordering="slot__purpose")
    def purpose(self, row: Credential) -> str:
        """What the key is for."""
        return str(row.slot.get_purpose_display())

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """With the way to a successor, for who may upload one."""
        may = ends.may_replace(request) and ReplaceScreen in self.screens
        return [*super().get_list_display(request), *(["replacement"] if may else [])]

    @admin.display(description=_("successor"))
    def replacement(self, row: Credential) -> str:
        """To its upload, from a key in use."""
        is_replaced = row.state in ReplaceScreen.in_use
        return ends.link(self.url(ReplaceScreen.name, row.pk), _("Replace")) if is_replaced else ""

    @admin.display(description=_("verified"), ordering="verify_outcome")
    def verified(self, row: Credential) -> str:
        """What the gateway said last, or that it is asked for."""
        if row.verify_requested_at is not None:
            return gettext("Requested")
        return row.get_verify_outcome_display()

    def facts(self, request: HttpRequest, row: Credential) -> dict[str, Any]:
        """The way from upload to the end of the rotation, and what comes next."""
        return key_page.facts(self, request, row)

    def audited(self, row: Credential) -> dict[str, str]:
        """By the key."""
        return {"credential": str(row.pk)}


@admin.register(KeySlot)
class KeySlotAdmin(CybsAdmin):
    """Where keys live, and whom they cover."""

    list_display = ["organization", "purpose", "name", "coverage"]
    list_display_links = ["purpose"]
    list_filter = ["purpose", "coverage"]
    list_select_related = ["organization"]
    search_fields = ["organization__org_id", "name"]
    fields = ["organization", "purpose", "name", "coverage"]
    screens = [CoverageScreen]

    def facts(self, request: HttpRequest, row: KeySlot) -> dict[str, Any]:
        """The keys in it, and whom they serve."""
        return key_page.slot_facts(self, request, row)

    def audited(self, row: KeySlot) -> dict[str, str]:
        """By the owner: whom a slot covers is his choice."""
        return {"organization": str(row.organization)}


@admin.register(GatewayCertificate)
class GatewayCertificateAdmin(CybsAdmin):
    """What requests are encrypted for."""

    list_display = ["host", "organization", "key_id", "common_name", "not_after", "preferred"]
    list_filter = [CertificateEndsFilter, "host", "preferred"]
    list_select_related = ["organization"]
    search_fields = ["organization__org_id", "key_id"]

    def audited(self, row: GatewayCertificate) -> dict[str, str]:
        """By the key whose file carried it, or by the host it was added for."""
        if row.credential_id is not None:
            return {"credential": str(row.credential_id)}
        return {"organization": f"@{row.host}"}
