"""Who of the staff sees only a part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.exceptions import OrganizationError
from django_cybs_jwt.models import Organization, StaffScope
from django_cybs_jwt.services import organizations, scope
from django_cybs_jwt.services.permissions import Permission

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[StaffScope]
else:
    _ModelForm = forms.ModelForm  # generic for the type checker only


class ScopeForm(_ModelForm):
    """A user, and what he sees as typed names: a list of 100,000 to choose from helps nobody."""

    organizations = forms.CharField(
        label=_("Organizations"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 8, "cols": 60, "spellcheck": "false"}),
        help_text=_("One ID, or ID@HOST, a line; what stands under them is seen too."),
    )

    class Meta:
        model = StaffScope
        fields = ["user"]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if row := options.get("instance"):
            names = (str(top) for top in row.organizations.all())
            self.initial["organizations"] = "\n".join(names)

    def clean_organizations(self) -> list[Organization]:
        """Those that are meant, each once."""
        names = dict.fromkeys(self.cleaned_data["organizations"].split())
        try:
            return list({top.pk: top for top in map(organizations.find, names)}.values())
        except OrganizationError as error:
            raise forms.ValidationError(str(error)) from None


@admin.register(StaffScope)
class StaffScopeAdmin(CybsAdmin):
    """Limits are set by those who are not limited themselves."""

    list_display = ["user"]
    list_select_related = ["user"]
    form = ScopeForm
    fields = ["user", "organizations"]

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
        tops = form.cleaned_data["organizations"]
        obj.pk = scope.limit(obj.user, tops, actor=actor(request)).pk

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Done by the service already."""

    def delete_model(self, request: HttpRequest, obj: StaffScope) -> None:
        """Lift the limit."""
        scope.lift(obj.user, actor=actor(request))

    def _may(self, request: HttpRequest) -> bool:
        return request.user.has_perm(Permission.LIMIT) and not scope_of(request).is_limited
