"""Whom a meta key serves: choose, see what would change, save."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.admin.screens import FormScreen
from django_cybs_jwt.models import Coverage, KeySlot, Organization, Purpose
from django_cybs_jwt.services import choosing
from django_cybs_jwt.services.permissions import Permission

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

_MOST_FOUND: Final = 50
_LONGEST_LIST: Final = 1_000_000


class CoverageForm(forms.Form):
    """All, or a list; searching adds to the list."""

    covers = forms.ChoiceField(
        label=_("Covers"), choices=Coverage.choices, widget=forms.RadioSelect
    )
    merchants = forms.CharField(
        label=_("Merchants"),
        required=False,
        max_length=_LONGEST_LIST,
        widget=forms.Textarea(attrs={"rows": 12, "cols": 40, "spellcheck": "false"}),
        help_text=_("For selected merchants: one ID a line, or pasted with commas or spaces."),
    )
    search = forms.CharField(
        label=_("Find merchants"),
        max_length=100,
        required=False,
        help_text=_("Part of an ID or a name. What you tick is added to the list."),
    )
    found = forms.MultipleChoiceField(
        label=_("Found"), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, found: list[Organization], **options: Any) -> None:
        super().__init__(*args, **options)
        if found:
            choices = [(row.org_id, f"{row.org_id} {row.name}".strip()) for row in found]
            field = self.fields["found"]
            assert isinstance(field, forms.MultipleChoiceField)  # noqa: S101  # for the checker
            field.choices = choices
        else:
            del self.fields["found"]

    def names(self) -> list[str]:
        """The list with what was ticked, each once."""
        listed = re.split(r"[\s,;]+", self.cleaned_data["merchants"].strip())
        ticked = self.cleaned_data.get("found", [])
        return list(dict.fromkeys(name for name in [*listed, *ticked] if name))


class CoverageScreen(FormScreen):
    """Cover all or choose; nothing is saved before the second button."""

    name = "coverage"
    title = _("Choose whom it covers")
    template = "cybs_jwt/coverage.html"
    permission = Permission.ROTATE
    button = _("Show what would change")
    of_row = True
    asks_password = True

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: KeySlot) -> bool:
        """For owners that may have a meta key; a slot for replies follows the one that signs."""
        is_merchant = row.organization.kind == Organization.Kind.MERCHANT
        decides = row.purpose == Purpose.SIGNING and not is_merchant
        return decides and cls.is_permitted(admin, request)

    def form(self) -> forms.Form:
        """Bound to what was posted, with the merchants that were ticked."""
        if self.request.method != "POST":
            return CoverageForm(initial=self.initial(), found=[])
        ticked = self.request.POST.getlist("found")[:_MOST_FOUND]
        return CoverageForm(self.request.POST, found=list(self._below().filter(org_id__in=ticked)))

    def initial(self) -> dict[str, Any]:
        """As it is now; of the list what the visitor sees."""
        chosen = self._seen().filter(pk__in=self.row.merchants.values("pk")).order_by("org_id")
        names = chosen.values_list("org_id", flat=True)
        return {"covers": self.row.coverage, "merchants": "\n".join(names)}

    def post(self) -> HttpResponseBase:
        """Search, show what would change, or save; which, the button says."""
        form = self.form()
        if not form.is_valid():
            return self.page(form)
        if "_search" in self.request.POST:
            return self._searched(form)
        if "_save" in self.request.POST:
            return self.done(self._save(form))
        return self._preview(form)

    def page(self, form: forms.Form) -> TemplateResponse:
        """The form alone."""
        return self.render(form=form, button=self.button)

    def _searched(self, form: Any) -> HttpResponse:
        """The list with what was ticked before, and what is found now."""
        search = form.cleaned_data["search"].strip()
        match = Q(org_id__icontains=search) | Q(name__icontains=search)
        found = list(self._below().filter(match)[:_MOST_FOUND]) if search else []
        covers = form.cleaned_data["covers"]
        listed = {"covers": covers, "merchants": "\n".join(form.names()), "search": search}
        return self.render(
            form=CoverageForm(initial=listed, found=found),
            button=self.button,
            nothing_found=bool(search) and not found,
        )

    def _preview(self, form: Any) -> HttpResponse:
        names = form.names()
        plan = choosing.plan(
            self.row,
            covers=form.cleaned_data["covers"],
            names=names,
            now=timezone.now(),
            scope=scope_of(self.request),
        )
        shown = CoverageForm(
            initial={"covers": plan.covers, "merchants": "\n".join(names)}, found=[]
        )
        return self.render(
            form=shown,
            button=self.button,
            plan=plan,
            covers=Coverage(plan.covers).label,
            more=plan.unshown,
            hidden=[("covers", plan.covers), ("merchants", "\n".join(names)), ("_save", "1")],
        )

    def _save(self, form: Any) -> Text:
        plan = choosing.choose(
            self.row,
            covers=form.cleaned_data["covers"],
            names=form.names(),
            actor=actor(self.request),
            scope=scope_of(self.request),
            now=timezone.now(),
        )
        text = _("Saved: %(added)d merchants added, %(removed)d removed, %(kept)d as before.")
        counts = {"added": len(plan.added), "removed": len(plan.removed), "kept": plan.kept}
        return text % counts

    def _seen(self) -> QuerySet[Organization]:
        return scope_of(self.request).visible(Organization.objects.all())

    def _below(self) -> QuerySet[Organization]:
        owner = self.row.organization
        below = Q(parent=owner) | Q(parent__parent=owner)
        return self._seen().filter(below, host=owner.host).order_by("org_id")
