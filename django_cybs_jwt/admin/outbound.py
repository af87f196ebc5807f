"""The queue: what waits, what came of it, and what is left to a person. No payload, ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_cybs_jwt.admin.badges import Tone, badge
from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.bulk import BulkAction, BulkForm
from django_cybs_jwt.admin.choices import ChoiceFilter
from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.admin.screens import ConfirmScreen, Consequences, ReasonForm
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import OPEN, Organization, OutboundRequest, RequestState
from django_cybs_jwt.services.permissions import Permission
from django_cybs_jwt.services.queue import database_clock, operating, operating_many, parking
from django_cybs_jwt.services.queue.states import TABLE, Step

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

TONES: Final[dict[str, Tone]] = {
    RequestState.ANSWERED: "good",
    RequestState.IN_DOUBT: "warn",
    RequestState.EXPIRED: "warn",
    RequestState.PARKED: "bad",
}
_RETRY: Final = _("It is signed anew and sent by the next worker, with all its tries.")
_CANCEL: Final = _("It is never sent, and its payload is overwritten.")
_RECONCILE: Final = _(
    "The gateway is asked again what became of it. It is sent again only where the settings say so."
)
_SETTLE: Final = _("It ends with what you say, and its payload is overwritten.")


class Reasoned(ReasonForm):
    """A reason that must be given."""

    reason = forms.CharField(
        label=_("Reason"), max_length=500, help_text=_("Kept in the audit trail.")
    )


class DecideScreen(ConfirmScreen):
    """One decision about one request."""

    permission = Permission.OPERATE
    form_class = Reasoned
    of_row = True
    step: ClassVar[Step]
    effect: ClassVar[Text]

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """In the states that the step starts from."""
        return super().is_offered(admin, request, row) and row.state in TABLE[cls.step].sources

    def consequences(self) -> Consequences:
        """What it is, and what becomes of it."""
        return Consequences(
            sentences=[_about(self.row), self.effect],
            merchants=[str(self.row.organization)],
        )

    def act(self, form: Any) -> Text:
        """Decide; the service refuses what could move money twice."""
        verb: Callable[..., None] = getattr(operating, self.name)
        verb(
            self.row,
            actor=actor(self.request),
            now=database_clock.now(),
            **form.cleaned_data,
        )
        return now_("It is %(state)s now.") % {"state": self.row.get_state_display()}


class SafeScreen(DecideScreen):
    """For what is not *risky*; nothing is forced here, only by the command."""

    risky: ClassVar[Callable[[OutboundRequest], bool]]

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """Not where the service would ask for force."""
        return super().is_offered(admin, request, row) and not cls.risky(row)


class RetryScreen(SafeScreen):
    """The cause is mended."""

    name = "retry"
    title = _("Retry")
    step = Step.RESUME
    effect = _RETRY
    risky = operating.may_have_moved_money


class CancelScreen(SafeScreen):
    """It shall not be sent."""

    name = "cancel"
    title = _("Cancel")
    step = Step.CANCEL
    effect = _CANCEL
    dangerous = True
    asks_password = True
    risky = operating.may_have_worked


class ReconcileScreen(DecideScreen):
    """Look it up once more."""

    name = "reconcile"
    title = _("Reconcile")
    step = Step.RECONCILE
    effect = _RECONCILE

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """Only where something may have been sent."""
        return super().is_offered(admin, request, row) and row.maybe_sent


class SettleForm(Reasoned):
    """What somebody found at the gateway."""

    outcome = forms.CharField(
        label=_("Outcome"), max_length=64, help_text=_("The gateway's word, like AUTHORIZED.")
    )
    gateway_id = forms.CharField(
        label=_("Gateway id"), max_length=64, required=False, help_text=_("Of the transaction.")
    )
    field_order = ["outcome", "gateway_id", "reason"]


class SettleScreen(DecideScreen):
    """Somebody looked at the gateway."""

    name = "settle"
    title = _("Settle")
    asks_password = True
    step = Step.SETTLE
    effect = _SETTLE
    form_class = SettleForm


class DecideMany(BulkAction):
    """One decision about many requests."""

    permission = Permission.OPERATE
    form_class = type("ReasonedBulkForm", (Reasoned, BulkForm), {})
    verb: ClassVar[Callable[..., None]]
    effect: ClassVar[Text]

    def consequences(self, rows: QuerySet[Any]) -> Consequences:
        """How many, and of whom."""
        count = rows.count()
        told = ngettext("%(count)d request.", "%(count)d requests.", count) % {"count": count}
        owners = Organization.objects.filter(pk__in=rows.order_by().values("organization"))
        return Consequences(sentences=[told, self.effect], merchants=list(map(str, owners)))

    def act(self, request: HttpRequest, rows: QuerySet[Any], form: Any) -> Text:
        """Decide on each; what is refused is told with its reason."""
        decided = operating_many.each(
            type(self).verb,
            rows.values_list("pk", flat=True),
            actor=actor(request),
            now=database_clock.now(),
            reason=form.cleaned_data["reason"],
        )
        refused = " ".join(f"{count}x: {reason}" for reason, count in decided.refused.items())
        if refused and not decided.done:
            raise CybsError(refused)
        done = ngettext("%(count)d is done.", "%(count)d are done.", decided.done)
        text = done % {"count": decided.done}
        return f"{text} {now_('Not done:')} {refused}" if refused else text


class RetryMany(DecideMany):
    """Their cause is mended."""

    name = "retry_many"
    label = _("Retry")
    verb = operating.retry
    effect = _RETRY


class ReconcileMany(DecideMany):
    """Look them up once more."""

    name = "reconcile_many"
    label = _("Reconcile")
    verb = operating.reconcile
    effect = _RECONCILE


class CancelMany(DecideMany):
    """They shall not be sent."""

    name = "cancel_many"
    asks_password = True
    label = _("Cancel")
    verb = operating.cancel
    effect = _CANCEL
    typed_count = True


class StateFilter(ChoiceFilter):
    """A state, or all that has not ended."""

    title = _("state")
    parameter_name = "state"
    choices_offered = (("open", _("Not ended")), *RequestState.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """In that state."""
        if self.value() == "open":
            return queryset.filter(state__in=OPEN)
        return queryset.filter(state=self.value()) if self.value() in RequestState else queryset


class AgeFilter(ChoiceFilter):
    """Stored longer ago than."""

    title = _("age")
    parameter_name = "age"
    choices_offered = (
        ("60", _("over a minute")),
        ("600", _("over 10 minutes")),
        ("3600", _("over an hour")),
        ("86400", _("over a day")),
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Older than that."""
        if self.value() not in dict(self.choices_offered):
            return queryset
        ago = timedelta(seconds=int(self.value() or 0))
        return queryset.filter(created_at__lte=database_clock.now() - ago)


class HostFilter(admin.SimpleListFilter):
    """One gateway host; the choices are those of the organizations, not read from the queue."""

    title = _("host")
    parameter_name = "host"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The hosts of the organizations that the visitor sees."""
        rows = scope_of(request).visible(Organization.objects.order_by())
        return [(host, host) for host in sorted(set(rows.values_list("host", flat=True)))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """For that host."""
        return queryset.filter(Q(host=self.value()) if self.value() else Q())


@admin.register(OutboundRequest)
class OutboundRequestAdmin(CybsAdmin):
    """Requests as facts; what was sent and what came back stays sealed."""

    list_display = [
        "idempotency_key",
        "standing",
        "result",
        "reason",
        "organization",
        "operation",
        "attempt",
        "created_at",
    ]
    list_filter = [StateFilter, HostFilter, AgeFilter]
    list_select_related = ["organization"]
    search_fields = [
        "organization__org_id__istartswith",
        "idempotency_key__exact",
        "transaction_id__exact",
        "gateway_id__exact",
    ]
    search_help_text = _("The beginning of an organization ID; or a whole key or id.")
    show_full_result_count = False
    linked = ["organization"]
    sealed = ["sealed_payload", "sealed_reply"]
    screens = [RetryScreen, ReconcileScreen, SettleScreen, CancelScreen]
    bulk = [RetryMany(), ReconcileMany(), CancelMany()]
    fieldsets = [
        (None, {"fields": [
            "standing", "reason", "organization", "host", "operation", "safety",
            "idempotency_key", "transaction_id",
        ]}),
        (_("What came back"), {"fields": [
            "http_status", "outcome", "found", "gateway_id", "correlation_id",
        ]}),
        (_("When"), {"fields": [
            "created_at", "waiting_since", "due_at", "deadline", "sent_at", "fence_at",
            "finished_at",
        ]}),
        (_("Work"), {"fields": [
            "attempt", "failures", "looks", "maybe_sent", "priority", "owner", "caller_id",
        ]}),
    ]  # fmt: skip
    readonly_fields = ["standing"]

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Every try at the wire, and what a person should do."""
        return {"attempts": list(row.attempts.all()), "advice": parking.advice(row)}

    def audited(self, row: OutboundRequest) -> dict[str, str]:
        """By its id, which each decision about it names."""
        return {"about": str(row.pk)}

    @admin.display(description=_("state"), ordering="state")
    def standing(self, row: OutboundRequest) -> SafeString:
        """A badge."""
        return badge(TONES.get(row.state, "plain"), row.get_state_display())

    @admin.display(description=_("result"), ordering="outcome")
    def result(self, row: OutboundRequest) -> str:
        """The gateway's status and word."""
        return f"{row.http_status or ''} {row.outcome}".strip()


def _about(row: OutboundRequest) -> str:
    said = now_("%(operation)s, key %(key)s, is %(state)s.") % {
        "operation": row.operation,
        "key": row.idempotency_key,
        "state": row.get_state_display(),
    }
    return f"{said} {parking.advice(row)}".rstrip()
