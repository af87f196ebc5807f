"""The password asked again before what raises exposure: a session left open is not enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from django import forms
from django.contrib.auth import authenticate
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

VALID_FOR: Final = timedelta(minutes=10)
MOST_FAILURES: Final = 5
_STAMP: Final = "cybs_jwt_password_at"
_FAILURES: Final = "cybs_jwt_password_failures"


class PasswordForm(forms.Form):
    """One password, which is never put back into the page."""

    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )

    def __init__(self, *args: Any, request: HttpRequest, **options: Any) -> None:
        super().__init__(*args, **options)
        self.request = request

    def clean_password(self) -> str:
        """That of the account that is logged in."""
        password: str = self.cleaned_data["password"]
        name = self.request.user.get_username()
        user = authenticate(self.request, username=name, password=password)
        if user is None or user.pk != self.request.user.pk:
            raise forms.ValidationError(_("That is not the password of this account."))
        return password


class OverlaidPasswordForm(PasswordForm):
    """The same on top of another form, which may have a password of its own.

    Reporters of errors mask what is posted under this name, as they do a password.
    """

    NAME: ClassVar = "passwd"

    def add_prefix(self, field_name: str) -> str:
        """The name, for the one field that there is."""
        return self.NAME


def is_fresh(request: HttpRequest) -> bool:
    """True for ten minutes after the password was typed.

    Without a password here (single sign-on) the login itself counts as long.
    """
    now = timezone.now()
    user = request.user
    if user.is_authenticated and not user.has_usable_password():
        at = user.last_login
    else:
        stamp = request.session.get(_STAMP)
        at = datetime.fromtimestamp(stamp, UTC) if isinstance(stamp, int | float) else None
    return at is not None and timedelta() <= now - at <= VALID_FOR


def has_password(request: HttpRequest) -> bool:
    """False for who logs in elsewhere."""
    return request.user.is_authenticated and request.user.has_usable_password()


def confirm(request: HttpRequest) -> None:
    """Note that the password was right just now."""
    request.session[_STAMP] = timezone.now().timestamp()
    request.session.pop(_FAILURES, None)


def count_failure(request: HttpRequest) -> bool:
    """Note a wrong password; True when it was one too many."""
    failures = request.session.get(_FAILURES, 0) + 1
    request.session[_FAILURES] = failures
    return bool(failures >= MOST_FAILURES)
