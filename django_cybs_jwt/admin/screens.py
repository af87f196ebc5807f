"""Screens: pages of this app beside Django's lists and rows. docs/admin.md tells how one is built.

Who may not, gets 403; a row out of scope is 404; what changes something is POST with a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.auth import logout
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters

from django_cybs_jwt.admin import sudo
from django_cybs_jwt.admin.requests import scope_of, tell
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import Approval, Coverage, Credential, Organization
from django_cybs_jwt.services.scope import Scope
from django_cybs_jwt.texts import on_page

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

    from django_cybs_jwt.admin.base import CybsAdmin

    Text = str | _StrPromise

MOST_NAMES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequences:
    """What a step will do, said before it is done: a sentence for each effect, and to whom.

    *merchants* are `MID@HOST`; where they may be very many, *rows* are they instead, unread.
    Those that the visitor may not see are only counted.
    """

    sentences: Sequence[Text] = ()
    merchants: Sequence[str] = ()
    rows: QuerySet[Organization] | None = None

    def shown(self, request: HttpRequest, all_url: str = "") -> dict[str, Any]:
        """For the template; *all_url* is where those of whom there are more are listed."""
        named, seen, count = self._named(scope_of(request))
        return {
            "sentences": self.sentences,
            "merchants": named,
            "more": seen - len(named),
            "hidden": count - seen,
            "count": count,
            "all_url": all_url,
        }

    def _named(self, scope: Scope) -> tuple[Sequence[str], int, int]:
        """The first hundred that are seen, how many are, and how many there are."""
        if self.rows is None:
            seen, _hidden = scope.names(self.merchants)
            return seen[:MOST_NAMES], len(seen), len(self.merchants)
        rows = scope.visible(self.rows)
        return list(map(str, rows[:MOST_NAMES])), rows.count(), self.rows.count()


class Screen:
    """One page of a model's admin: GET shows it. It lives for one request.

    *name* makes its address: `admin:cybs_jwt_<model>_<name>`. *permission* is one of
    `services.permissions.Permission` or VIEW's. *of_row* puts it under a row. *asks_password* is
    for what raises exposure or cannot be undone. *keeps_filters* is for one about the shown list.
    """

    name: ClassVar[str]
    title: ClassVar[Text]
    template: ClassVar[str]
    permission: ClassVar[str]
    of_row: ClassVar[bool] = False
    asks_password: ClassVar[bool] = False
    keeps_filters: ClassVar[bool] = False

    def __init__(self, admin: CybsAdmin, request: HttpRequest, row: Any = None) -> None:
        self.admin = admin
        self.request = request
        self.row = row

    @classmethod
    def pattern(cls, admin: CybsAdmin) -> URLPattern:
        """Where it is found; named as Django names its own."""
        route = f"<path:object_id>/{cls.name}/" if cls.of_row else f"{cls.name}/"

        @sensitive_post_parameters()
        def view(request: HttpRequest, object_id: str | None = None) -> HttpResponseBase:
            return cls.answer(admin, request, object_id)

        name = f"cybs_jwt_{admin.opts.model_name}_{cls.name}"
        return path(route, admin.admin_site.admin_view(view), name=name)

    @classmethod
    def answer(
        cls, admin: CybsAdmin, request: HttpRequest, object_id: str | None
    ) -> HttpResponseBase:
        """Check who asks for what, then get or post."""
        if not cls.is_permitted(admin, request):
            raise PermissionDenied
        row = admin.get_object(request, object_id) if object_id is not None else None
        screen = cls(admin, request, row)
        respond = getattr(screen, (request.method or "").lower().replace("head", "get"), None)
        if request.method not in ("GET", "HEAD", "POST") or respond is None:
            return HttpResponseNotAllowed(["GET", "POST"] if hasattr(cls, "post") else ["GET"])
        if cls.asks_password and not sudo.is_fresh(request) and (asked := screen.ask_password()):
            return asked
        with on_page():
            try:
                return _rendered(respond())
            except CybsError as error:
                return screen.refused(error)

    @classmethod
    def is_permitted(cls, admin: CybsAdmin, request: HttpRequest) -> bool:
        """True for whoever has the permission and may view the model."""
        return request.user.has_perm(cls.permission) and admin.has_view_permission(request)

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """True where a list's or row's page should show a link to it."""
        return cls.is_permitted(admin, request)

    def get(self) -> HttpResponseBase:
        """Show the page; it changes nothing."""
        return self.render()

    def refused(self, error: CybsError) -> HttpResponseBase:
        """The error's message, which names the cure, on a page of ours."""
        tell(self.request, error, reason=self.request.POST.get("reason", ""))
        if self.request.method == "POST":
            return HttpResponseRedirect(self.request.get_full_path())
        return self.render("cybs_jwt/refused.html", status=409)

    def render(
        self, template: str | None = None, *, status: int = 200, **context: Any
    ) -> TemplateResponse:
        """A template that extends `cybs_jwt/base.html`, with what it needs for its breadcrumbs."""
        return TemplateResponse(
            self.request,
            template or self.template,
            {
                **self.admin.admin_site.each_context(self.request),
                "title": self.title,
                "subtitle": self.row,
                "screen": self,
                "row": self.row,
                "original": self.row,  # so that a theme's breadcrumbs name it
                "opts": self.admin.opts,
                "list_url": self.admin.url("changelist"),
                "row_url": self.admin.url("change", self.row.pk) if self.row else "",
                **context,
            },
            status=status,
        )

    def done(self, text: Text, url: str = "") -> HttpResponse:
        """Tell what was done, on the row's page unless *url* says otherwise."""
        messages.success(self.request, text)
        return HttpResponseRedirect(url or self.done_url())

    def done_url(self) -> str:
        """The row, or the list."""
        if self.row is None:
            return self.admin.url("changelist")
        return self.admin.url("change", self.row.pk)

    def ask_password(self) -> HttpResponseBase | None:
        """Send the visitor to the password page, and back here; None once it is typed."""
        back = urlencode({"next": self.request.get_full_path()})
        return HttpResponseRedirect(f"{self.admin.url('password')}?{back}")


class FormScreen(Screen):
    """A form: GET shows it, a valid POST goes to `act`, which calls one service."""

    template = "cybs_jwt/form.html"
    button: ClassVar[Text] = _("Save")
    dangerous: ClassVar[bool] = False
    form_class: ClassVar[type[forms.Form]] = forms.Form

    def act(self, form: Any) -> Text | HttpResponseBase:
        """Do it and say what was done, or answer with a page of its own; CybsError is shown."""
        raise NotImplementedError

    def consequences(self) -> Consequences:
        """What will happen to which merchants."""
        return Consequences()

    def form(self) -> forms.Form:
        """Bound to what was posted, if anything was."""
        data, files = (
            (self.request.POST, self.request.FILES)
            if self.request.method == "POST"
            else (None, None)
        )
        return self.form_class(data, files, initial=self.initial())

    def initial(self) -> dict[str, Any]:
        """What the empty form shows."""
        return {}

    def get(self) -> HttpResponseBase:
        """The empty form."""
        return self.page(self.form())

    def post(self) -> HttpResponseBase:
        """Act on a valid form, show an invalid one again."""
        form = self.form()
        if not form.is_valid():
            return self.page(form)
        done = self.act(form)
        return done if isinstance(done, HttpResponseBase) else self.done(done)

    def page(self, form: forms.Form) -> TemplateResponse:
        """The form, and what it will do."""
        shown = self.consequences().shown(self.request, self._all_url())
        return self.render(form=form, consequences=shown, button=self.button)

    def refused(self, error: CybsError) -> HttpResponseBase:
        """The error with its cure, over what was typed."""
        if self.request.method != "POST":
            return super().refused(error)
        tell(self.request, error, reason=self.request.POST.get("reason", ""))
        if self.row is not None:  # as it is, not as the service left it
            self.row = self.admin.get_object(self.request, str(self.row.pk))
        try:
            return _rendered(self.page(self._typed_again()))
        except CybsError:
            return HttpResponseRedirect(self.request.get_full_path())

    def ask_password(self) -> HttpResponseBase | None:
        """Over what was typed, if it was: the page that asks hands it on and keeps nothing."""
        if self.request.method != "POST" or not sudo.has_password(self.request):
            return super().ask_password()
        is_typed = sudo.OverlaidPasswordForm.NAME in self.request.POST
        data = self.request.POST if is_typed else None
        form = sudo.OverlaidPasswordForm(data, request=self.request)
        if form.is_valid():
            sudo.confirm(self.request)
            return None
        page = self.render(
            "cybs_jwt/password.html", form=form, button=_("Continue"), hidden=self._handed_on()
        )
        return self.wrong_password(page) if is_typed else page

    def wrong_password(self, page: HttpResponseBase) -> HttpResponseBase:
        """*page* once more; after the fifth the session is over."""
        if not sudo.count_failure(self.request):
            return page
        logout(self.request)
        return HttpResponseRedirect(self.admin.url("changelist"))

    def _all_url(self) -> str:
        """Whom the key that this is about may sign for."""
        key = self.row.credential if isinstance(self.row, Approval) else self.row
        if not isinstance(key, Credential) or key.slot.coverage == Coverage.OWN:
            return ""
        return self.admin.signed_for(self.request, key.slot)

    def _typed_again(self) -> forms.Form:
        """The form as it was typed. What is hidden in it is new: it may be what was refused."""
        form = self.form()
        typed = {one.name: one.data for one in form.visible_fields() if not _is_secret(one)}
        form.is_bound, form.initial = False, {**self.initial(), **typed}
        return form

    def _handed_on(self) -> list[tuple[str, str]]:
        """What was posted, without secrets."""
        left = {one.html_name for one in self.form() if _is_secret(one)}
        left |= {"csrfmiddlewaretoken", sudo.OverlaidPasswordForm.NAME}
        lists = self.request.POST.lists()
        return [(name, str(one)) for name, some in lists if name not in left for one in some]


class ReasonForm(forms.Form):
    """Why, for the audit trail."""

    reason = forms.CharField(
        label=_("Reason"), max_length=500, required=False, help_text=_("Kept in the audit trail.")
    )


class ConfirmScreen(FormScreen):
    """A step that says what it will do to which merchants, and waits for a button."""

    button = _("Yes, do it")
    form_class = ReasonForm

    def consequences(self) -> Consequences:
        """What will happen to which merchants."""
        raise NotImplementedError


def _is_secret(field: forms.BoundField) -> bool:
    return isinstance(field.field.widget, (forms.PasswordInput, forms.FileInput))


def _rendered(response: HttpResponseBase) -> HttpResponseBase:
    """Render here, where texts know of their page and a refusal in a template is still caught."""
    return response.render() if isinstance(response, TemplateResponse) else response
