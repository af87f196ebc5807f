"""Import a key: upload a file or paste a secret; it is inspected, sealed and shown as STAGED."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any, ClassVar, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import business_center, misplaced, uploads
from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.admin.screens import FormScreen
from django_cybs_jwt.exceptions import (
    KeyMaterialError,
    OrganizationError,
    OrganizationNotFound,
    TooManyImports,
)
from django_cybs_jwt.models import Coverage, Credential, Organization, Purpose, State
from django_cybs_jwt.protocol.keys import RSA_ALGORITHMS
from django_cybs_jwt.services import importing, inspection, organizations
from django_cybs_jwt.services.inspection import Inspection, Wanted
from django_cybs_jwt.services.permissions import Permission
from django_cybs_jwt.tracebacks import forgetful

_ALGORITHMS: Final = [
    ("", _("RS256 for a P12, HS256 for a shared secret")),
    *((name, name) for name in (*RSA_ALGORITHMS, "HS256", "HS384", "HS512")),
]


def _never_kept(**attributes: Any) -> forms.PasswordInput:
    """A field that no browser remembers and no page shows again."""
    return forms.PasswordInput(
        render_value=False,
        attrs={"autocomplete": "new-password", "spellcheck": "false", **attributes},
    )


class ImportForm(forms.Form):
    """A key and where it belongs. *inspected* is what came in, once the form is valid."""

    organization = forms.CharField(
        label=_("Organization"), max_length=320, help_text=_("Its ID, or ID@HOST.")
    )
    purpose = forms.ChoiceField(
        label=_("What it is for"), choices=Purpose.choices, widget=forms.RadioSelect
    )
    file = forms.FileField(
        label=_("P12 or PEM file"),
        required=False,
        help_text=_("At most 64 KiB. It stays in memory and is sealed from there."),
    )
    password = forms.CharField(
        label=_("Password of the file"), required=False, strip=False, widget=_never_kept()
    )
    secret = forms.CharField(
        label=_("Shared secret"), required=False, strip=False, widget=_never_kept()
    )
    key_id = forms.CharField(
        label=_("Key ID"),
        max_length=128,
        required=False,
        help_text=_("A P12 of the gateway carries it; a shared secret or PEM key does not."),
    )
    expires_at = forms.DateField(
        label=_("Ends on"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=_("A shared secret carries no end; the gateway gives it three years."),
    )
    algorithm = forms.ChoiceField(label=_("Algorithm"), choices=_ALGORITHMS, required=False)
    slot = forms.CharField(
        label=_("Name of the slot"),
        max_length=60,
        required=False,
        help_text=_("Only where one organization has several keys for the same purpose."),
    )
    covers = forms.ChoiceField(
        label=_("Covers"),
        required=False,
        choices=[("", _("As the slot does already, or this organization")), *Coverage.choices],
        help_text=_("For a meta key of a portfolio or merchant account."),
    )

    groups: ClassVar = [
        (_("Where it belongs"), ["organization", "purpose"]),
        (_("A file"), ["file", "password"]),
        (_("Or a shared secret"), ["secret"]),
        (_("What it does not say itself"), ["key_id", "expires_at"]),
        (_("Rarely needed"), ["algorithm", "slot", "covers"]),
    ]
    hidden_boxes: ClassVar = ("password", "secret")
    open_boxes: ClassVar = ("organization", "key_id", "expires_at", "slot")

    def __init__(
        self, *args: Any, request: HttpRequest, replaces: Credential | None, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.request = request
        self.replaces = replaces
        self.inspected: Inspection | None = None
        if replaces is not None:
            for name in ("organization", "purpose", "slot", "covers"):
                del self.fields[name]
            if replaces.slot.purpose == Purpose.RESPONSE_MLE:
                del self.fields["secret"]

    def shown(self) -> list[dict[str, Any]]:
        """Its groups of fields, for the template."""
        groups = [
            {"title": title, "fields": [self[name] for name in names if name in self.fields]}
            for title, names in self.groups
        ]
        return [group for group in groups if group["fields"]]

    def clean_organization(self) -> Organization:
        """One that the visitor sees."""
        seen = scope_of(self.request).visible(Organization.objects.all())
        try:
            return organizations.find(self.cleaned_data["organization"], among=seen)
        except OrganizationNotFound:  # whose text repeats what may be a secret
            raise forms.ValidationError(
                _("No such organization. The list of organizations shows what is stored.")
            ) from None
        except OrganizationError as error:
            raise forms.ValidationError(str(error)) from None

    @forgetful
    def clean(self) -> dict[str, Any]:
        """Look into what came in; a wrong file is named here."""
        cleaned = super().clean() or {}
        self._take_out_misplaced(cleaned)
        if uploads.was_refused(self.request):
            self.add_error("file", _("Choose one file of at most 64 KiB."))
        elif bool(cleaned.get("file")) == bool(cleaned.get("secret")):
            self.add_error(None, _("Give either a file or a shared secret."))
        elif not self.errors:
            self._inspect(cleaned)
        return cleaned

    @forgetful
    def _take_out_misplaced(self, cleaned: dict[str, Any]) -> None:
        """Refuse what may be a secret where it could be read, and forget it."""
        secrets = {self.data.get(name) for name in self.hidden_boxes} - {None, ""}
        for name in self.open_boxes:
            typed = self.data.get(name, "")
            is_known = isinstance(cleaned.get(name), Organization)
            if not is_known and (typed in secrets or misplaced.may_be_secret(typed)):
                self.data = dict(self.data.items()) | {name: ""}
                self.add_error(name, _("This may be a secret, so it is not shown again."))

    def _inspect(self, cleaned: dict[str, Any]) -> None:
        field = "file" if cleaned.get("file") else "secret"
        owner = self.replaces.organization if self.replaces else cleaned["organization"]
        now = timezone.now()
        try:
            with importing.by_hand(owner, actor=actor(self.request), now=now):
                self.inspected = self._look(cleaned, now)
        except TooManyImports as error:
            self.add_error(None, str(error))
        except KeyMaterialError as error:
            self.add_error(field, str(error))
        except UnicodeError:
            self.add_error(field, _("The password is not text."))

    def _look(self, cleaned: dict[str, Any], now: datetime) -> Inspection:
        wanted = self._wanted(cleaned)
        if cleaned.get("secret"):
            return inspection.inspect_shared_secret(cleaned["secret"], wanted, now=now)
        data, password = cleaned["file"].read(), cleaned["password"].encode() or None
        return inspection.inspect_file(data, password, wanted, now=now)

    def _wanted(self, cleaned: dict[str, Any]) -> Wanted:
        ends = cleaned.get("expires_at")
        purpose = self.replaces.slot.purpose if self.replaces else cleaned["purpose"]
        owner = self.replaces.organization if self.replaces else cleaned["organization"]
        return Wanted(
            purpose=purpose,
            owner=owner.org_id,
            key_id=cleaned["key_id"].strip(),
            algorithm=cleaned["algorithm"],
            # The day as the site counts it: the page shows the same one again.
            expires_at=timezone.make_aware(datetime.combine(ends, time())) if ends else None,
        )


class ImportScreen(FormScreen):
    """Upload, look inside, seal. The page of the staged key is the preview, where one goes on."""

    name = "import"
    title = _("Import a key")
    template = "cybs_jwt/import.html"
    permission = Permission.IMPORT
    button = _("Upload")
    form_class = ImportForm

    @classmethod
    def pattern(cls, admin: Any) -> URLPattern:
        """With the upload handler in front, before anything reads the body."""
        pattern = super().pattern(admin)
        pattern.callback = uploads.in_memory(pattern.callback)
        return pattern

    def form(self) -> forms.Form:
        """Bound to what was posted; secrets are never put back into it."""
        data, files = (
            (self.request.POST, self.request.FILES)
            if self.request.method == "POST"
            else (None, None)
        )
        return ImportForm(
            data, files, initial=self.initial(), request=self.request, replaces=self.row
        )

    def initial(self) -> dict[str, Any]:
        """What another page's link knows already."""
        known = {name: self.request.GET.get(name, "") for name in ("organization", "purpose")}
        return {**known, "purpose": known["purpose"] or Purpose.SIGNING}

    def page(self, form: forms.Form) -> TemplateResponse:
        """The form, and where the gateway gives out such a key."""
        return self.render(
            form=form, button=self.button, steps=business_center.creating(self._wanted_of_row())
        )

    @forgetful
    def act(self, form: Any) -> HttpResponse:
        """Store it STAGED; nothing is sent before somebody looked at what it is."""
        credential = importing.import_key(
            inspection=form.inspected,
            actor=actor(self.request),
            now=timezone.now(),
            **self._place(form),
        )
        messages.success(self.request, _("Stored as staged: look at what is inside."))
        return HttpResponseRedirect(self.admin.url("change", credential.pk))

    def _place(self, form: Any) -> dict[str, Any]:
        if self.row is not None:
            return {"organization": self.row.organization, "slot": self.row.slot.name}
        cleaned = form.cleaned_data
        return {
            "organization": cleaned["organization"],
            "slot": cleaned["slot"],
            "covers": cleaned["covers"] or None,
        }

    def _wanted_of_row(self) -> Credential | None:
        return self.row if isinstance(self.row, Credential) else None


class ReplaceScreen(ImportScreen):
    """Import the successor of a key, into the same slot."""

    name = "replace"
    title = _("Replace this key")
    of_row = True
    in_use = (State.ACTIVE, State.SUSPENDED, State.COMPROMISED)

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Any) -> bool:
        """For a key in use."""
        return row.state in cls.in_use and cls.is_permitted(admin, request)
