"""The audit chain: read, verify, take out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import trail
from django_cybs_jwt.admin.badges import breakable
from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.filters import AboutFilter, ActionFilter
from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.admin.screens import Consequences, FormScreen
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import KeyEvent, State
from django_cybs_jwt.services.audit import chain, verdicts
from django_cybs_jwt.services.permissions import Permission
from django_cybs_jwt.services.scope import Scope

LONGEST_TOLD: Final = 500
AT_ONCE: Final = 200
STATES: Final = dict(State.choices)


class VerifyForm(forms.Form):
    """How much of the chain is read."""

    ALL, NEW = "all", "new"

    rows = forms.ChoiceField(
        label=_("What is read"),
        choices=[
            (ALL, _("The whole chain")),
            (NEW, _("What came since it was last found whole")),
        ],
        initial=ALL,
        help_text=_("Only the whole chain shows what was changed in old rows since."),
    )


class VerifyScreen(FormScreen):
    """Recompute the chain; the result is kept, with who asked."""

    name = "verify"
    title = _("Verify")
    button = _("Verify now")
    permission = Permission.AUDIT
    form_class = VerifyForm

    def act(self, form: Any) -> HttpResponse:
        """Show the faults, if any, naming nobody whom the visitor does not see; else the anchor."""
        found = verdicts.verify(
            actor=actor(self.request),
            now=timezone.now(),
            only_new=form.cleaned_data["rows"] == VerifyForm.NEW,
        )
        faults = scope_of(self.request).redact(map(str, found.faults))
        return self.render("cybs_jwt/audit_verified.html", found=replace(found, faults=faults))


class ExportScreen(FormScreen):
    """What the list shows, as JSON lines; that it was taken is an audit row itself."""

    name = "export"
    title = _("Export")
    template = "cybs_jwt/audit_export.html"
    button = _("Download JSON lines")
    permission = Permission.AUDIT
    keeps_filters = True

    def consequences(self) -> Consequences:
        """How it is chosen; the number of rows is on the list."""
        return Consequences(
            sentences=[_("The export itself is noted in the audit trail with your name.")]
        )

    def act(self, form: Any) -> StreamingHttpResponse:
        """Stream it: no row is held for longer than its page."""
        found = chain.export_rows(
            self._rows(), actor=actor(self.request), now=timezone.now(), told=self._told()
        )
        lines = _lines(found, scope_of(self.request))
        answer = StreamingHttpResponse(lines, content_type="application/jsonl")
        name = f"audit-{timezone.now():%Y-%m-%d}.jsonl"
        answer["Content-Disposition"] = f'attachment; filename="{name}"'
        return answer

    def _rows(self) -> QuerySet[KeyEvent]:
        """What the list shows under the same filters, to the same person."""
        try:
            listed = self.admin.get_changelist_instance(self.request)
        except IncorrectLookupParameters:
            raise CybsError(
                "One of the filters cannot be. Choose them again on the list."
            ) from None
        rows: QuerySet[KeyEvent] = listed.get_queryset(self.request)
        return rows

    def _told(self) -> str:
        """The filters as the address has them: escaped, so that it stays one printable line."""
        limit = " within-scope" if scope_of(self.request).is_limited else ""
        return self.request.GET.urlencode()[:LONGEST_TOLD] + limit


class EventList(ChangeList):
    """Leaves out of reasons who is not seen."""

    def get_results(self, request: HttpRequest) -> None:
        """The page's rows."""
        super().get_results(request)
        self.result_list = trail.told(request, self.result_list)


@admin.register(KeyEvent)
class KeyEventAdmin(CybsAdmin):
    """The chain, newest first."""

    list_display = ["seq", "at", "actor", "in_words", "outcome", "whom", "reason", "key_id"]
    readonly_fields = ["in_words", "before", "after"]
    fields = [
        *("seq", "at", "actor", "in_words", "outcome", "organization", "credential", "key_id"),
        *("fingerprint", "before", "after", "reason"),
    ]
    list_filter = ["outcome", ActionFilter, AboutFilter]
    date_hierarchy = "at"
    linked = ["credential", "organization"]
    search_fields = [
        "organization__istartswith",
        "key_id__istartswith",
        "actor__istartswith",
        "fingerprint__istartswith",
        "reason",
    ]
    search_help_text = _(
        "The beginning of an organization, key ID, actor or fingerprint, or part of a reason."
    )
    show_full_result_count = False
    screens = [VerifyScreen, ExportScreen]

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """Without names that the visitor does not see."""
        return EventList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> KeyEvent:
        """The row, without such names."""
        (event,) = trail.redacted(request, [super().get_object(request, object_id, from_field)])
        return event

    def get_search_fields(self, request: HttpRequest) -> Any:
        """A reason is not searched for what is left out of it."""
        fields = super().get_search_fields(request)
        is_limited = scope_of(request).is_limited
        return [name for name in fields if not (is_limited and name == "reason")]

    def audited(self, row: KeyEvent) -> dict[str, str]:
        """With those beside it: of the same key, or the same organization."""
        if row.credential is not None:
            return {"credential": str(row.credential)}
        return {"organization": row.organization}

    @admin.display(description=_("from"))
    def before(self, row: KeyEvent) -> str:
        """The state before, in words where it is one of a key."""
        return str(STATES.get(row.from_state, row.from_state)) or "-"

    @admin.display(description=_("to"))
    def after(self, row: KeyEvent) -> str:
        """The state after."""
        return str(STATES.get(row.to_state, row.to_state)) or "-"

    @admin.display(description=_("organization"), ordering="organization")
    def whom(self, row: KeyEvent) -> SafeString:
        """Whose event it is, in a narrow column."""
        return breakable(row.organization)

    def changelist_view(
        self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None
    ) -> HttpResponse:
        """With what the last verification said."""
        verdict = {"verdict": verdicts.last(), "whole": verdicts.WHOLE}
        return super().changelist_view(request, {**(extra_context or {}), **verdict})


def _lines(rows: Iterator[dict[str, Any]], scope: Scope) -> Iterator[str]:
    while some := list(islice(rows, AT_ONCE)):
        reasons = scope.redact(row["reason"] for row in some)
        for row, reason in zip(some, reasons, strict=True):
            yield json.dumps({**row, "reason": reason}) + "\n"
