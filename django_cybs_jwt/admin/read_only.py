"""What every page of this app shares: changes are made by services, not by forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin  # generic for the type checker only


class ReadOnlyAdmin(_ModelAdmin):
    """Rows can be seen by who may view them, and changed here by nobody."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only the filters this page shows: any other lookup could guess at a column."""
        shown = set(map(str, self.list_filter))
        field = lookup.removesuffix("__exact").removesuffix("__isnull")
        return field in shown or field == "id"
