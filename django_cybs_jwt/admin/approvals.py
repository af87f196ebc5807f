"""Four eyes: what waits for a second person, and his answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import words
from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.choices import ChoiceFilter
from django_cybs_jwt.admin.ends import link
from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.admin.screens import ConfirmScreen, Consequences
from django_cybs_jwt.admin.withdrawing import losses
from django_cybs_jwt.models import Approval, Credential
from django_cybs_jwt.models.words import ACTIONS
from django_cybs_jwt.services import approvals, keys, resolution
from django_cybs_jwt.services.lifecycle import Action
from django_cybs_jwt.services.overview import dashboard, impact
from django_cybs_jwt.services.people import person
from django_cybs_jwt.services.permissions import Permission

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

_LONGEST: Final = 2_000

_DOES: Final = {
    "activate": _("The key becomes active: requests are signed, or replies decrypted, with it."),
    "resume": _("The suspended key is used again as before."),
    "destroy": _("The key is overwritten. Nothing brings it back."),
    "export": _("The key may be written to a file outside of this system."),
    "cover": _("The key may sign for more merchants than it does now."),
}

_FORCED: Final = _(
    "An activation by force is covered, too: without a verification, and inside an open overlap."
)


class ApproveScreen(ConfirmScreen):
    """Grant what somebody else asks for; the service binds it to the key as it is."""

    name = "approve"
    title = _("Approve")
    button = _("Yes, approve")
    permission = Permission.APPROVE
    of_row = True
    asks_password = True

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """To everybody who might be the second person."""
        if not super().is_offered(admin, request, row):
            return False
        return _waiting_for(request).filter(pk=row.pk).exists()

    def consequences(self) -> Consequences:
        """What is asked, by whom, of which key, and the merchants that depend on it."""
        return _consequences(self.row, [_DOES[self.row.action]])

    def act(self, form: Any) -> Text:
        """Grant it."""
        row = approvals.approve(
            self.row.pk,
            actor=actor(self.request),
            now=timezone.now(),
            reason=form.cleaned_data["reason"],
        )
        text = now_("Approved: %(action)s, %(key)s. It can be carried out once, until %(until)s")
        return text % {
            "action": words.action(row),
            "key": row.credential.key_id,
            "until": words.until(row.expires_at),
        }


class RejectScreen(ConfirmScreen):
    """Turn a request down, or take an unused approval back."""

    name = "reject"
    title = _("Reject")
    button = _("Yes, reject")
    permission = "cybs_jwt.view_approval"
    of_row = True

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """While there is something to turn down."""
        return (
            _may_reject(request, row)
            and approvals.usable(now=timezone.now()).filter(pk=row.pk).exists()
        )

    def get(self) -> HttpResponseBase:
        """For approvers, and for the one who asked."""
        self._check()
        return super().get()

    def post(self) -> HttpResponseBase:
        """For approvers, and for the one who asked."""
        self._check()
        return super().post()

    def consequences(self) -> Consequences:
        """What will not be done."""
        return _consequences(self.row, [_("The request ends; nothing is done to the key.")])

    def act(self, form: Any) -> Text:
        """Turn it down."""
        approvals.reject(
            self.row.pk,
            actor=actor(self.request),
            now=timezone.now(),
            reason=form.cleaned_data["reason"],
        )
        return now_("Rejected.")

    def _check(self) -> None:
        if not _may_reject(self.request, self.row):
            raise PermissionDenied


class WaitingFilter(ChoiceFilter):
    """What waits, and what waits for the one who looks."""

    title = _("waiting")
    parameter_name = "waiting"
    choices_offered = (
        ("me", _("For me")),
        ("decision", _("For a decision")),
        ("use", _("Granted, not used")),
        ("mine", _("Granted to me, not used")),
    )

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """As the service tells it."""
        now = timezone.now()
        if self.value() == "me":
            return queryset.filter(pk__in=_waiting_for(request).values("pk"))
        if self.value() == "decision":
            return queryset.filter(pk__in=approvals.waiting(now=now).values("pk"))
        if self.value() == "use":
            return queryset.filter(pk__in=approvals.granted(now=now).values("pk"))
        if self.value() == "mine":
            mine = approvals.granted(now=now).filter(requester=person(actor(request)))
            return queryset.filter(pk__in=mine.values("pk"))
        return queryset


class AskedFilter(ChoiceFilter):
    """What is asked for."""

    title = _("action")
    parameter_name = "action"
    choices_offered = tuple((action, ACTIONS[action]) for action in _DOES)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """By the word that the row has."""
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(Approval)
class ApprovalAdmin(CybsAdmin):
    """Every request, newest first."""

    list_display = ["in_words", "key", "status", "requested_by", "requested_at", "expires_at"]
    list_filter = [WaitingFilter, "status", AskedFilter]
    list_select_related = ["credential__organization", "credential__slot"]
    search_fields = ["credential__organization__org_id__istartswith", "credential__key_id"]
    search_help_text = _("The beginning of an organization ID, or a key ID.")
    readonly_fields = ["in_words", "key"]
    fields = [
        *("key", "in_words", "detail", "fingerprint", "status", "requested_by"),
        *("requested_at", "decided_by", "decided_at", "expires_at", "break_glass", "reason"),
    ]
    sealed = ["credential__sealed_secret", "credential__sealed_p12", "credential__certificate"]
    screens = [ApproveScreen, RejectScreen]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the keys, without what is sealed in them."""
        joined = ("credential__organization", "credential__slot")
        return super().get_queryset(request).select_related(*joined)

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Approval:
        """The row, whose words name nobody that the visitor does not see."""
        row: Approval = super().get_object(request, object_id, from_field)
        row.detail, row.reason = scope_of(request).redact([row.detail, row.reason])
        return row

    def audited(self, row: Approval) -> dict[str, str]:
        """By the key."""
        return {"credential": str(row.credential_id)}

    @admin.display(description=_("key"), ordering="credential__key_id")
    def key(self, row: Approval) -> str:
        """Of whom, what for, which; its page is a click away."""
        return link(self.url_of(Credential, "change", row.credential_id), str(row.credential))


def _waiting_for(request: HttpRequest) -> QuerySet[Approval]:
    waiting = approvals.waiting(now=timezone.now())
    if not request.user.has_perm(Permission.APPROVE):
        return waiting.none()
    return waiting.filter(dashboard.waits_for(actor(request)))


def _may_reject(request: HttpRequest, row: Approval) -> bool:
    mine = row.requester == person(actor(request))
    return mine or request.user.has_perm(Permission.APPROVE)


def _consequences(row: Approval, what: list[Text]) -> Consequences:
    key = row.credential
    facts = {
        "who": row.requested_by,
        "action": words.action(row),
        "key": str(key),
        "fingerprint": row.fingerprint[:16],
        "uploader": key.uploaded_by or "-",
    }
    asked = now_("%(who)s asks for this: %(action)s. The key: %(key)s.") % facts
    which = now_("Its fingerprint begins with %(fingerprint)s; %(uploader)s uploaded it.") % facts
    detail = [now_("Exactly: %(detail)s") % {"detail": row.detail[:_LONGEST]}] if row.detail else []
    reasons = [now_("Reason given: %(reason)s") % {"reason": row.reason}] if row.reason else []
    lost = losses(row.action, key).sentences if row.action == Action.DESTROY else []
    return Consequences(
        sentences=[asked, *what, *lost, *detail, which, *_standing(row.action, key), *reasons],
        merchants=impact.affected(row.action, key, now=timezone.now()),
    )


def _standing(action: str, key: Credential) -> list[Text]:
    """What a second person wants to know of a key before he agrees that it is used."""
    if action == Action.DESTROY:
        return []
    known = [_verified(key), _ends(key)]
    return [*known, _replaces(key), _FORCED] if action == Action.ACTIVATE else known


def _verified(key: Credential) -> Text:
    if not key.verify_outcome or key.verify_checked_at is None:
        return now_("It was never verified with the gateway.")
    facts = {"outcome": key.get_verify_outcome_display(), "at": words.until(key.verify_checked_at)}
    return now_("Last verified with the gateway: %(outcome)s, %(at)s") % facts


def _ends(key: Credential) -> Text:
    if key.expires_at is None:
        return now_("No end of it is known.")
    return now_("It ends: %(at)s") % {"at": words.until(key.expires_at)}


def _replaces(key: Credential) -> Text:
    before = resolution.in_slot(keys.listing().filter(slot=key.slot_id), timezone.now())
    if before is None:
        return now_("No key is in use in its place now.")
    return now_("It replaces %(kid)s.") % {"kid": before.key_id}
