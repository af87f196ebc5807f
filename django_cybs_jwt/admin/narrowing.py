"""The form above a page that narrows what it shows: by host, and by portfolio. GET, no script."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django import forms
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.exceptions import OrganizationAmbiguous, OrganizationError
from django_cybs_jwt.models import Organization
from django_cybs_jwt.services import organizations
from django_cybs_jwt.services.scope import Scope


class OrganizationField(forms.CharField):
    """An organization by its name, if *scope*, which a form sets, sees it."""

    scope: Scope

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=320, **options)

    def clean(self, value: Any) -> Any:
        """The row, or None for an empty field; what is not seen is not told from what is not."""
        name = super().clean(value)
        if not name:
            return None
        try:
            found = organizations.find(name)
        except OrganizationAmbiguous as error:
            found = None
            if not self.scope.is_limited:
                raise forms.ValidationError(str(error)) from None
        except OrganizationError:
            found = None
        if found is None or not self.scope.sees(found):
            raise forms.ValidationError(
                now_("There is no such organization. Give ORG_ID, or ORG_ID@HOST.")
            )
        return found


class NarrowForm(forms.Form):
    """Of one host, under one portfolio or account."""

    host = forms.ChoiceField(label=_("Host"), required=False)
    portfolio = OrganizationField(
        label=_("Portfolio"),
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "ORG_ID", "autocomplete": "off"}),
    )

    def __init__(self, *args: Any, scope: Scope, **options: Any) -> None:
        super().__init__(*args, **options)
        portfolio = self.fields["portfolio"]
        assert isinstance(portfolio, OrganizationField)  # noqa: S101  # declared above
        portfolio.scope = scope
        everywhere = [("", now_("All")), *((host, host) for host in sorted(_hosts(scope)))]
        self.fields["host"].choices = everywhere  # type: ignore[attr-defined]

    def chosen(self) -> dict[str, Any]:
        """*host* and *portfolio*; of an invalid form nothing is shown, so this is not asked."""
        portfolio: Organization | None = self.cleaned_data["portfolio"]
        return {"host": self.cleaned_data["host"], "portfolio": portfolio}


def _hosts(scope: Scope) -> Collection[str]:
    if scope.is_limited:
        return scope.hosts
    return set(Organization.objects.order_by().values_list("host", flat=True).distinct())
