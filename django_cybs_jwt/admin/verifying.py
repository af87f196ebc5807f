"""Verify keys with the gateway: one at once, many in the background."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Concat
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin.bulk import BulkAction
from django_cybs_jwt.admin.requests import actor
from django_cybs_jwt.admin.screens import Consequences, FormScreen, Screen
from django_cybs_jwt.models import Coverage, Credential, State, Verdict
from django_cybs_jwt.services import verification
from django_cybs_jwt.services.permissions import Permission
from django_cybs_jwt.services.verification import Verification

THEN: Final = "then"
"""What the preview's button posts: the page to go on to once the key is accepted."""
HARMLESS: Final = _("One GET for a transaction that never is. It changes nothing at the gateway.")
_LEVELS: Final = {
    Verdict.ACCEPTED: messages.SUCCESS,
    Verdict.REFUSED: messages.ERROR,
    Verdict.INCONCLUSIVE: messages.WARNING,
}


def tell_outcome(request: HttpRequest, outcome: Verification) -> None:
    """What came out, as loud as it is; the report is on the key's page."""
    text = f"{Verdict(outcome.verdict).label}: {outcome.detail}"
    messages.add_message(request, _LEVELS[outcome.verdict], text)


class VerifyForm(forms.Form):
    """For whom a meta key speaks when it is tried."""

    acting_as = forms.CharField(
        label=_("As merchant"),
        max_length=60,
        required=False,
        help_text=_("For a meta key. Empty: the first merchant without a key of its own."),
    )


class VerifyScreen(FormScreen):
    """One key, now."""

    name = "verify"
    title = _("Verify with the gateway")
    permission = Permission.VERIFY
    button = _("Verify")
    of_row = True
    form_class = VerifyForm

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Credential) -> bool:
        """For keys that may sign."""
        return row.state in verification.TRIED and cls.is_permitted(admin, request)

    def form(self) -> forms.Form:
        """Without the merchant where there is no choice."""
        form = super().form()
        if self.row.slot.coverage == Coverage.OWN:
            del form.fields["acting_as"]
        return form

    def consequences(self) -> Consequences:
        """Next to none."""
        return Consequences(sentences=[HARMLESS])

    def act(self, form: Any) -> HttpResponse:
        """Wait for the gateway's answer and tell it on the row's page."""
        outcome = verification.verify(
            self.row,
            actor=actor(self.request),
            now=timezone.now(),
            acting_as=form.cleaned_data.get("acting_as") or None,
        )
        tell_outcome(self.request, outcome)
        return HttpResponseRedirect(self._next(outcome) or self.done_url())

    def _next(self, outcome: Verification) -> str:
        """From the preview of an upload straight to its activation, for who may do that."""
        goes_on = self.row.state == State.STAGED and outcome.verdict == Verdict.ACCEPTED
        wanted = self.request.POST.get(THEN) == "activate"
        may = self.request.user.has_perm(Permission.ROTATE)
        return self.admin.url("activate", self.row.pk) if goes_on and wanted and may else ""


class VerifyOrganizationScreen(FormScreen):
    """The newest key of each purpose of one organization, now; a screen of OrganizationAdmin."""

    name = "verify"
    title = _("Verify its keys")
    permission = Permission.VERIFY
    button = _("Verify")
    of_row = True

    def consequences(self) -> Consequences:
        """Which keys are tried."""
        keys = ", ".join(row.key_id for row in verification.newest(self.row))
        tried = now_("Tried: %(keys)s.") % {"keys": keys} if keys else now_("No key to verify.")
        return Consequences(sentences=[HARMLESS, tried])

    def act(self, form: Any) -> HttpResponse:
        """One message a key."""
        for row in verification.newest(self.row):
            outcome = verification.verify(row, actor=actor(self.request), now=timezone.now())
            tell_outcome(self.request, outcome)
        return HttpResponseRedirect(self.done_url())


class VerifyMany(BulkAction):
    """Mark the chosen keys; whoever ticks next verifies them."""

    name = "verify_many"
    label = _("Verify with the gateway")
    permission = Permission.VERIFY

    def consequences(self, rows: QuerySet[Any]) -> Consequences:
        """Which merchants' keys are tried."""
        name = Concat(F("organization__org_id"), Value("@"), F("organization__host"))
        names = rows.filter(state__in=verification.TRIED).order_by().values_list(name, flat=True)
        return Consequences(
            sentences=[HARMLESS, _("They are verified in the background, one after the other.")],
            merchants=sorted(set(names)),
        )

    def act(self, request: HttpRequest, rows: QuerySet[Any], form: Any) -> HttpResponse:
        """Show how far they are."""
        now = timezone.now()
        marked = verification.request(rows, actor=actor(request), now=now)
        text = now_("%(marked)d keys are marked to be verified.") % {"marked": marked}
        messages.success(request, text)
        found = request.resolver_match
        site = found.namespace if found is not None else "admin"
        progress = reverse(f"{site}:cybs_jwt_credential_{ProgressScreen.name}")
        return HttpResponseRedirect(f"{progress}?{urlencode({'since': now.isoformat()})}")


class ProgressScreen(Screen):
    """How far marked keys are, counted from the rows at each look."""

    name = "verifying"
    title = _("Verification progress")
    template = "cybs_jwt/verifying.html"
    permission = Permission.VERIFY

    def get(self) -> HttpResponseBase:
        """The counts; of limited staff those of what they see."""
        since = self._since()
        rows = self.admin.get_queryset(self.request)
        tried = rows.filter(verify_requested_at=None, verify_checked_at__gte=since)
        failed = tried.exclude(verify_outcome=Verdict.ACCEPTED).order_by("-verify_checked_at")[:100]
        return self.render(
            progress=verification.progress(rows, since=since),
            since=since,
            failed=[(row, self.admin.url("change", row.pk)) for row in failed],
            again=self.request.get_full_path(),
        )

    def _since(self) -> datetime:
        try:
            wanted = parse_datetime(self.request.GET.get("since", ""))
        except ValueError:
            wanted = None
        if wanted is None or timezone.is_naive(wanted):
            return timezone.now() - timedelta(hours=1)
        return wanted
