"""Sign a request and show what would be sent; nothing is sent, and nothing is kept."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import uploads
from django_cybs_jwt.admin.requests import scope_of
from django_cybs_jwt.admin.screens import Consequences, FormScreen
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import Organization
from django_cybs_jwt.protocol.claims import METHODS
from django_cybs_jwt.services import sending
from django_cybs_jwt.services.overview import key_choice
from django_cybs_jwt.services.permissions import Permission
from django_cybs_jwt.tracebacks import forgetful

_FOREIGN: Final = _(
    "A meta key of an organization outside of what you see signs for it. Somebody who sees that "
    "can look."
)


class Unshown(forms.Textarea):
    """What is typed here is in no page again: it may be card data."""

    def format_value(self, value: Any) -> str:
        """Nothing."""
        return ""


class DryRunForm(forms.Form):
    """As the gateway's reference names a request."""

    method = forms.ChoiceField(
        label=_("Method"), choices=[(name.upper(), name.upper()) for name in sorted(METHODS)]
    )
    path = forms.CharField(
        label=_("Path"), max_length=2000, help_text=_("For example /pts/v2/payments.")
    )
    body = forms.CharField(
        label=_("Body"),
        required=False,
        strip=False,
        max_length=100_000,
        widget=Unshown(attrs={"rows": 6, "cols": 60, "spellcheck": "false"}),
        help_text=_("Optional: what is encrypted, and what the digest is of. It is not kept."),
    )


class DryRunScreen(FormScreen):
    """Claims and headers without token and signature; a screen of OrganizationAdmin."""

    name = "dry_run"
    title = _("What would be sent")
    template = "cybs_jwt/dry_run.html"
    permission = Permission.VERIFY
    button = _("Show it")
    of_row = True
    form_class = DryRunForm

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Organization) -> bool:
        """Where something can be sent."""
        return row.active and cls.is_permitted(admin, request)

    def initial(self) -> dict[str, Any]:
        """What is sent most."""
        return {"method": "POST", "path": "/pts/v2/payments"}

    def consequences(self) -> Consequences:
        """None."""
        return Consequences(sentences=[_("It is signed here, and sent to nobody.")])

    @classmethod
    def pattern(cls, admin: Any) -> URLPattern:
        """What is typed is on no error page."""
        pattern = super().pattern(admin)
        pattern.callback = uploads.hidden(pattern.callback)
        return pattern

    @forgetful
    def act(self, form: Any) -> HttpResponse:
        """Sign it as a send would."""
        self._check_is_seen()
        given = form.cleaned_data
        body = given["body"].encode()
        signed = sending.preview(str(self.row), given["method"], given["path"], body)
        return self.render(form=form, button=self.button, signed=signed.redacted())

    def _check_is_seen(self) -> None:
        """Claims name whose key signs."""
        choice = key_choice.of(self.row, scope=scope_of(self.request), now=timezone.now())
        if choice.is_foreign or choice.problem:
            raise CybsError(choice.problem or str(_FOREIGN))
