"""Keys, slots and certificates as rows."""

from __future__ import annotations

from django.contrib import admin

from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.filters import AttentionFilter
from django_cybs_jwt.models import Credential, GatewayCertificate, KeySlot


@admin.register(Credential)
class CredentialAdmin(CybsAdmin):
    """Every version of every key; sealed columns are never loaded."""

    # What is looked for first stands where a narrow screen still shows it.
    list_display = ["organization", "purpose", "key_id", "state", "expires_at", "kind"]
    list_filter = [AttentionFilter, "state", "kind", "slot__purpose", "organization__live"]
    show_full_result_count = False
    list_select_related = ["organization", "slot"]
    search_fields = ["organization__org_id", "key_id"]
    exclude = ["live_key_id", "active_slot", "lock_version"]
    sealed = ["sealed_secret", "sealed_p12"]

    @admin.display(ordering="slot__purpose")
    def purpose(self, row: Credential) -> str:
        """What the key is for."""
        return row.slot.get_purpose_display()


@admin.register(KeySlot)
class KeySlotAdmin(CybsAdmin):
    """Where keys live, and whom they cover."""

    list_display = ["organization", "purpose", "name", "coverage"]
    list_filter = ["purpose", "coverage"]
    list_select_related = ["organization"]
    search_fields = ["organization__org_id", "name"]


@admin.register(GatewayCertificate)
class GatewayCertificateAdmin(CybsAdmin):
    """What requests are encrypted for."""

    list_display = ["host", "organization", "key_id", "common_name", "not_after", "preferred"]
    list_filter = ["host", "preferred"]
    list_select_related = ["organization"]
    search_fields = ["organization__org_id", "key_id"]
