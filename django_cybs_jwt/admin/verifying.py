"""Verify keys with the gateway: one at once, many in the background."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
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
from django.utils.translation import ngettext

from django_cybs_jwt.admin.bulk import BulkAction
from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.admin.screens import Consequences, FormScreen, Screen
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import Coverage, Credential, Organization, State, Verdict
from django_cybs_jwt.services import verification
from django_cybs_jwt.services.overview import proving
from django_cybs_jwt.services.overview.proving import Trial, Trials
from django_cybs_jwt.services.permissions import Permission
from django_cybs_jwt.services.verification import Verification

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

THEN: Final = "then"
"""What the preview's button posts: the page to go on to once the key is accepted."""
HARMLESS: Final = _("One GET for a transaction that never is. It changes nothing at the gateway.")
_TAKEN_BACK: Final = _(
    "A switch to it is planned. If the gateway refuses this key, and nothing but the key explains "
    "that, the plan is taken back and the key before it goes on signing."
)
_SOME_TAKEN_BACK: Final = _(
    "Switches to some of them are planned. Where the gateway refuses a key, and nothing but the "
    "key explains that, its plan is taken back and the key before it goes on signing."
)
_BACKGROUND: Final = _("They are verified in the background, one after the other.")
_ONCE: Final = _(
    "For a merchant without a key of its own the meta key that signs for it is tried: once, as the "
    "first merchant that it serves."
)
_ELSEWHERE: Final = _(
    "A meta key of an organization outside of what you see signs for it. Somebody who sees that "
    "verifies it."
)
_NOTHING: Final = _(
    "There is nothing to verify: it has no key of its own, and none signs for it. Import one."
)
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
        """Next to none, but for a switch that is planned."""
        planned = [] if self.row.activate_at is None else [_TAKEN_BACK]
        return Consequences(sentences=[HARMLESS, *planned])

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
    """The keys that prove one organization, now; a screen of OrganizationAdmin."""

    name = "verify"
    title = _("Verify its keys")
    permission = Permission.VERIFY
    button = _("Verify")
    of_row = True

    def consequences(self) -> Consequences:
        """Which keys are tried, or why none is."""
        trials = self._trials()
        tried: list[Text] = [HARMLESS, *map(_tried, trials.seen)] if trials.seen else []
        is_planned = any(trial.credential.activate_at for trial in trials.seen)
        planned = [_SOME_TAKEN_BACK] if is_planned else []
        return Consequences(sentences=[*tried, *planned, *_not_tried(trials)])

    def act(self, form: Any) -> HttpResponse:
        """One message a key."""
        trials = self._trials()
        if not trials.seen:
            raise CybsError(" ".join(map(str, _not_tried(trials))))
        who = actor(self.request)
        for trial in trials.seen:
            outcome = verification.verify(
                trial.credential, actor=who, now=timezone.now(), acting_as=trial.acting_as
            )
            tell_outcome(self.request, outcome)
        return HttpResponseRedirect(self.done_url())

    def _trials(self) -> Trials:
        return proving.of(self.row, scope=scope_of(self.request), now=timezone.now())


def _tried(trial: Trial) -> str:
    key = trial.credential
    facts = {"key": key.key_id, "owner": key.organization, "merchant": trial.acting_as}
    if trial.acting_as is None:
        return now_("Tried: %(key)s.") % facts
    return now_("Tried: %(key)s, the meta key of %(owner)s, as %(merchant)s.") % facts


def _not_tried(trials: Trials) -> list[Text]:
    if trials.hidden:
        return [_ELSEWHERE]
    return [] if trials.seen else [_NOTHING]


class VerifyMany(BulkAction):
    """Mark the chosen keys; whoever ticks next verifies them."""

    name = "verify_many"
    label = _("Verify with the gateway")
    permission = Permission.VERIFY

    def consequences(self, rows: QuerySet[Any]) -> Consequences:
        """Which merchants' keys are tried."""
        name = Concat(F("organization__org_id"), Value("@"), F("organization__host"))
        tried = rows.filter(state__in=verification.TRIED).order_by()
        names = tried.values_list(name, flat=True)
        planned = [_SOME_TAKEN_BACK] if tried.exclude(activate_at=None).exists() else []
        return Consequences(
            sentences=[HARMLESS, _BACKGROUND, *planned],
            merchants=sorted(set(names)),
        )

    def act(self, request: HttpRequest, rows: QuerySet[Any], form: Any) -> Text | HttpResponse:
        """Show how far they are."""
        now = timezone.now()
        marked = verification.request(rows, actor=actor(request), now=now)
        return _progress(request, _marked(marked), since=now)


class VerifyOrganizations(BulkAction):
    """Mark the keys that prove the chosen organizations; an action of OrganizationAdmin."""

    name = "verify_many"
    label = _("Verify their keys with the gateway")
    permission = Permission.VERIFY

    def consequences(self, rows: QuerySet[Any]) -> Consequences:
        """Whose keys are tried, and how often one that serves many."""
        merchants = Organization.objects.filter(pk__in=rows.order_by().values("pk"))
        return Consequences(
            sentences=[HARMLESS, _BACKGROUND, _ONCE], rows=merchants.order_by("org_id", "host")
        )

    def act(self, request: HttpRequest, rows: QuerySet[Any], form: Any) -> Text | HttpResponse:
        """Show how far they are."""
        now = timezone.now()
        chosen = Organization.objects.filter(pk__in=rows.order_by().values("pk"))
        marked, without = proving.mark(
            chosen, actor=actor(request), scope=scope_of(request), now=now
        )
        text = ngettext(
            "%(count)d organization has no key that you see.",
            "%(count)d organizations have no key that you see.",
            without,
        )
        told = f"{_marked(marked)} {text % {'count': without}}" if without else _marked(marked)
        return _progress(request, told, since=now)


def _marked(count: int) -> str:
    text = ngettext(
        "%(count)d key is marked to be verified.",
        "%(count)d keys are marked to be verified.",
        count,
    )
    return text % {"count": count}


def _progress(request: HttpRequest, told: str, *, since: datetime) -> Text | HttpResponse:
    """The page that counts them, for who may see keys."""
    if not request.user.has_perm("cybs_jwt.view_credential"):
        return told
    messages.success(request, told)
    found = request.resolver_match
    site = found.namespace if found is not None else "admin"
    progress = reverse(f"{site}:cybs_jwt_credential_{ProgressScreen.name}")
    return HttpResponseRedirect(f"{progress}?{urlencode({'since': since.isoformat()})}")


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
