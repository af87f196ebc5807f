"""Who of the staff sees only a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.admin.screens import Consequences, FormScreen
from django_cybs_jwt.exceptions import OrganizationError
from django_cybs_jwt.models import Organization, StaffScope
from django_cybs_jwt.services import organizations, scope
from django_cybs_jwt.services.permissions import Permission
from django_cybs_jwt.services.scope import EVERYTHING, Scope

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

_CONFIRMED = "cybs_confirmed"


class PartForm(forms.Form):
    """What is seen, as typed names: a list of 100,000 to choose from helps nobody."""

    organizations = forms.CharField(
        label=_("Organizations"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 8, "cols": 60, "spellcheck": "false"}),
        help_text=_("One ID, or ID@HOST, a line; what stands under them is seen too."),
    )

    def clean_organizations(self) -> list[Organization]:
        """Those that are meant, each once."""
        names = dict.fromkeys(self.cleaned_data["organizations"].split())
        try:
            return list({top.pk: top for top in map(organizations.find, names)}.values())
        except OrganizationError as error:
            raise forms.ValidationError(str(error)) from None


class LimitForm(PartForm):
    """Who, and what he sees."""

    user = forms.CharField(
        label=_("User"), max_length=254, help_text=_("The name that the user logs in with.")
    )
    field_order = ["user", "organizations"]

    def clean_user(self) -> Any:
        """The row of the host project's user model."""
        model = get_user_model()
        try:
            return model._default_manager.get_by_natural_key(self.cleaned_data["user"])  # noqa: SLF001  # public, for all its name
        except model.DoesNotExist:
            raise forms.ValidationError(_("There is no such user.")) from None


class ScopeScreen(FormScreen):
    """Says what the user would see, and changes nothing before the second button."""

    permission = Permission.LIMIT
    asks_password = True

    @classmethod
    def is_permitted(cls, admin: CybsAdmin, request: HttpRequest) -> bool:
        """Limits are set by those who are not limited themselves."""
        return super().is_permitted(admin, request) and not scope_of(request).is_limited

    def post(self) -> HttpResponseBase:
        """What would change, or the change; which, the button says."""
        form = self.form()
        if not form.is_valid() or _CONFIRMED in self.request.POST:
            return super().post()
        fields = [(name, self.request.POST.get(name, "")) for name in form.fields]
        return self.render(
            form=forms.Form(),
            consequences=self.changes(form).shown(self.request),
            button=_("Yes, save it"),
            hidden=[*fields, (_CONFIRMED, "1")],
        )

    def changes(self, form: Any) -> Consequences:
        """Who comes into sight, and who goes out of it."""
        tops = form.cleaned_data["organizations"]
        return _changes(self.user(form), Scope(tuple(top.pk for top in tops)), tops)

    def act(self, form: Any) -> Text:
        """Save it."""
        tops = form.cleaned_data["organizations"]
        scope.limit(self.user(form), tops, actor=actor(self.request))
        return now_("Saved.")

    def user(self, form: Any) -> Any:
        """Whose limit it is."""
        return form.cleaned_data["user"] if self.row is None else self.row.user


class LimitScreen(ScopeScreen):
    """Show somebody a part only."""

    name = "limit"
    title = _("Limit a user")
    button = _("Show what would change")
    form_class = LimitForm


class ChangeLimitScreen(ScopeScreen):
    """Another part, or more of it."""

    name = "change_limit"
    title = _("Change the limit")
    button = _("Show what would change")
    form_class = PartForm
    of_row = True

    def initial(self) -> dict[str, Any]:
        """As it is."""
        return {"organizations": "\n".join(map(str, self.row.organizations.all()))}


class LiftScreen(ScopeScreen):
    """Show him everything again."""

    name = "lift"
    title = _("Lift the limit")
    button = _("Yes, lift it")
    dangerous = True
    of_row = True

    def post(self) -> HttpResponseBase:
        """The page before has said what changes."""
        return FormScreen.post(self)

    def consequences(self) -> Consequences:
        """Everything comes into sight."""
        return _changes(self.row.user, EVERYTHING)

    def act(self, form: Any) -> Text:
        """Lift it; its row is gone then."""
        user = self.row.user
        scope.lift(user, actor=actor(self.request))
        self.row = None
        return now_("%(user)s sees everything again.") % {"user": user}


@admin.register(StaffScope)
class StaffScopeAdmin(CybsAdmin):
    """Who is limited to what; screens change it, each after the password."""

    list_display = ["user"]
    list_select_related = ["user"]
    fields = ["user", "organizations"]
    screens = [LimitScreen, ChangeLimitScreen, LiftScreen]

    def audited(self, row: StaffScope) -> dict[str, str]:
        """By the sentence that each event about a limit begins with."""
        return {"q": f'"{row.user} sees"'}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may limit: Django asks before it deletes the user, and the limit with him."""
        return LiftScreen.is_permitted(self, request)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Mapping[str, Any] | None = None
    ) -> HttpResponse:
        """Deleting a limit is lifting it."""
        row = self.get_object(request, object_id)
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        return HttpResponseRedirect(self.url(LiftScreen.name, row.pk))


def _changes(user: Any, after: Scope, tops: Sequence[Organization] = ()) -> Consequences:
    before = scope.of(user)
    everybody = Organization.objects.order_by("org_id", "host")
    numbers = {
        "user": user,
        "before": before.visible(everybody).count(),
        "after": after.visible(everybody).count(),
        "tops": ", ".join(map(str, tops)) or now_("nothing"),
    }
    part = now_("%(user)s sees these afterwards, and what stands under them: %(tops)s.")
    whole = now_("%(user)s sees everything afterwards.")
    counted = now_("Organizations in sight: %(before)d now, %(after)d afterwards.")
    changed = Q(pk__in=scope.gained(before, after)) | Q(pk__in=scope.gained(after, before))
    return Consequences(
        sentences=[(part if after.is_limited else whole) % numbers, counted % numbers],
        rows=everybody.filter(changed, kind=Organization.Kind.MERCHANT),
    )
