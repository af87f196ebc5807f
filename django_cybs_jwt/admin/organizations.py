"""Organizations as rows."""

from __future__ import annotations

from django.contrib import admin

from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.models import Organization


@admin.register(Organization)
class OrganizationAdmin(CybsAdmin):
    """Who sends, and where to."""

    list_display = ["org_id", "name", "kind", "parent", "host", "live", "active"]
    list_filter = ["kind", "live", "active", "host"]
    list_select_related = ["parent"]
    search_fields = ["org_id", "name"]
