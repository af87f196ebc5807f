"""The page that asks for the password again."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import sudo
from django_cybs_jwt.admin.requests import of_this_site
from django_cybs_jwt.admin.screens import FormScreen


class PasswordScreen(FormScreen):
    """Asked before what raises exposure; the answer holds for ten minutes."""

    name = "password"
    title = _("Your password, please")
    template = "cybs_jwt/password.html"
    button = _("Continue")

    @classmethod
    def is_permitted(cls, admin: Any, request: HttpRequest) -> bool:
        """Everybody who may view the model."""
        return bool(admin.has_view_permission(request))

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Any) -> bool:
        """Nobody looks for it."""
        return False

    def act(self, form: Any) -> HttpResponse:
        """Go on where the visitor came from."""
        sudo.confirm(self.request)
        return HttpResponseRedirect(self.next_url())

    def form(self) -> forms.Form:
        """One password."""
        data = self.request.POST if self.request.method == "POST" else None
        return sudo.PasswordForm(data, request=self.request)

    def post(self) -> Any:
        """After five wrong ones the session is over."""
        answer = super().post()
        return self.wrong_password(answer) if answer.status_code == 200 else answer

    def next_url(self) -> str:
        """Where to go on: an address of this site, else the list."""
        wanted = of_this_site(self.request, self.request.GET.get("next", ""))
        return wanted or self.admin.url("changelist")
