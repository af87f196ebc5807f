"""Who of the staff sees only a part."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.models import StaffScope
from django_cybs_jwt.services import scope
from django_cybs_jwt.services.permissions import Permission


@admin.register(StaffScope)
class StaffScopeAdmin(CybsAdmin):
    """Limits are set by those who are not limited themselves."""

    list_display = ["user"]
    list_select_related = ["user"]
    autocomplete_fields = ["organizations"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Who may limit."""
        return self._may(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may limit."""
        return self._may(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may limit; it lifts the limit."""
        return self._may(request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """A limit stays with its user."""
        return ["user"] if obj else []

    def save_model(self, request: HttpRequest, obj: StaffScope, form: Any, change: bool) -> None:
        """Leave it to the service, which needs the organizations too."""
        tops = list(form.cleaned_data["organizations"])
        obj.pk = scope.limit(obj.user, tops, actor=actor(request)).pk

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Done by the service already."""

    def delete_model(self, request: HttpRequest, obj: StaffScope) -> None:
        """Lift the limit."""
        scope.lift(obj.user, actor=actor(request))

    def _may(self, request: HttpRequest) -> bool:
        return request.user.has_perm(Permission.LIMIT) and not scope_of(request).is_limited
