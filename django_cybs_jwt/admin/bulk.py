"""What can be done to many rows of a list at once, after a page that says what will happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import sudo
from django_cybs_jwt.admin.requests import of_this_site, tell
from django_cybs_jwt.admin.screens import Consequences
from django_cybs_jwt.exceptions import CybsError

if TYPE_CHECKING:
    from django_cybs_jwt.admin.base import CybsAdmin
    from django_cybs_jwt.admin.screens import Text

_CONFIRMED = "cybs_confirmed"
_BACK = "cybs_back"
"""The page that the rows were chosen on, where it is not the list."""


class BulkForm(forms.Form):
    """The number of rows, typed where a slip would cost much."""

    count = forms.IntegerField(label=_("Number of rows"), required=False)

    def __init__(self, *args: Any, rows: int, typed: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self.rows = rows
        if typed:
            self.fields["count"].help_text = now_("Type %(rows)d to go on.") % {"rows": rows}
        else:
            del self.fields["count"]

    def clean_count(self) -> int:
        """The number that was shown, and that still is."""
        count: int | None = self.cleaned_data["count"]
        if count != self.rows:
            raise forms.ValidationError(now_("%(rows)d rows are chosen.") % {"rows": self.rows})
        return count


class BulkAction:
    """One entry of a list's action menu. *typed_count* asks for the number of rows, from two on."""

    name: ClassVar[str]
    label: ClassVar[Text]
    permission: ClassVar[str]
    button: ClassVar[Text] = _("Yes, do it")
    asks_password: ClassVar[bool] = False
    typed_count: ClassVar[bool] = False
    form_class: ClassVar[type[BulkForm]] = BulkForm

    def consequences(self, rows: QuerySet[Any]) -> Consequences:
        """What will happen to which merchants."""
        raise NotImplementedError

    def act(self, request: HttpRequest, rows: QuerySet[Any], form: Any) -> Text | HttpResponse:
        """Call one service and say what was done, or answer with a page; CybsError is shown."""
        raise NotImplementedError

    def run(
        self, admin: CybsAdmin, request: HttpRequest, rows: QuerySet[Any]
    ) -> HttpResponse | None:
        """Say what will happen; once that is confirmed, do it and show the page of before."""
        if self.asks_password and not sudo.is_fresh(request):
            messages.info(request, now_("After the password, choose the rows again."))
            back = urlencode({"next": request.get_full_path()})
            return HttpResponseRedirect(f"{admin.url('password')}?{back}")
        is_confirmed = _CONFIRMED in request.POST
        count = rows.count()
        form = self.form_class(
            request.POST if is_confirmed else None, rows=count, typed=self.typed_count and count > 1
        )
        if not (is_confirmed and form.is_valid()):
            return self._page(admin, request, rows, form)
        try:
            done = self.act(request, rows, form)
        except CybsError as error:
            tell(request, error)
            return self._page(admin, request, rows, form)
        if isinstance(done, HttpResponse):
            return done
        messages.success(request, done)
        back = _back(request)
        return HttpResponseRedirect(back) if back else None

    def _page(
        self, admin: CybsAdmin, request: HttpRequest, rows: QuerySet[Any], form: BulkForm
    ) -> HttpResponse:
        context = {
            **admin.admin_site.each_context(request),
            "title": self.label,
            "opts": admin.opts,
            "list_url": admin.url("changelist"),
            "row_url": _back(request),
            "consequences": self.consequences(rows).shown(request),
            "form": form,
            "button": self.button,
            "hidden": [
                ("action", self.name),
                ("index", "0"),
                ("select_across", request.POST.get("select_across", "0")),
                (_CONFIRMED, "1"),
                (_BACK, _back(request)),
                *((ACTION_CHECKBOX_NAME, pk) for pk in request.POST.getlist(ACTION_CHECKBOX_NAME)),
            ],
        }
        return TemplateResponse(request, "cybs_jwt/form.html", context)


def _back(request: HttpRequest) -> str:
    return of_this_site(request, request.POST.get(_BACK, ""))
