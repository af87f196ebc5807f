"""The page that asks for the password again."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import authenticate, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import sudo
from django_cybs_jwt.admin.screens import Consequences, FormScreen


class PasswordForm(forms.Form):
    """One password, which is never put back into the page."""

    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


class PasswordScreen(FormScreen):
    """Asked before what raises exposure; the answer holds for ten minutes."""

    name = "password"
    title = _("Your password, please")
    template = "cybs_jwt/password.html"
    button = _("Continue")
    form_class = PasswordForm

    @classmethod
    def is_permitted(cls, admin: Any, request: HttpRequest) -> bool:
        """Everybody who may view the model."""
        return bool(admin.has_view_permission(request))

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Any) -> bool:
        """Nobody looks for it."""
        return False

    def consequences(self) -> Consequences:
        """None; the page says why it asks."""
        return Consequences()

    def act(self, form: Any) -> HttpResponse:
        """Go on where the visitor came from."""
        sudo.confirm(self.request)
        return HttpResponseRedirect(self.next_url())

    def form(self) -> forms.Form:
        """With the check of the password as the form's own."""
        form = super().form()
        if form.is_bound and form.is_valid() and not self._is_right(form.cleaned_data["password"]):
            form.add_error("password", _("That is not the password of this account."))
        return form

    def post(self) -> Any:
        """After five wrong ones the session is over."""
        answer = super().post()
        if answer.status_code == 200 and sudo.count_failure(self.request):
            logout(self.request)
            return HttpResponseRedirect(self.admin.url("changelist"))
        return answer

    def next_url(self) -> str:
        """Where to go on: an address of this site, else the list."""
        wanted = self.request.GET.get("next", "")
        is_ours = url_has_allowed_host_and_scheme(
            wanted, {self.request.get_host()}, require_https=self.request.is_secure()
        )
        return wanted if is_ours else self.admin.url("changelist")

    def _is_right(self, password: str) -> bool:
        name = self.request.user.get_username()
        user = authenticate(self.request, username=name, password=password)
        return user is not None and user.pk == self.request.user.pk
