"""Take a key out of use, after a page that says what that does to which merchants."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin.requests import actor
from django_cybs_jwt.admin.screens import ConfirmScreen, Consequences, ReasonForm
from django_cybs_jwt.models import Credential, State
from django_cybs_jwt.services import lifecycle, withdrawal
from django_cybs_jwt.services.lifecycle import Action
from django_cybs_jwt.services.overview import impact
from django_cybs_jwt.services.permissions import Permission

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text


class NeededReasonForm(ReasonForm):
    """Why, which a withdrawal never goes without."""

    reason = forms.CharField(
        label=_("Reason"), max_length=500, help_text=_("Kept in the audit trail.")
    )


class WithdrawScreen(ConfirmScreen):
    """One verb of `services.withdrawal`."""

    action: ClassVar[Action]
    service: ClassVar[Callable[..., Credential]]
    effects: ClassVar[list[Text]]
    told: ClassVar[Text]
    permission = Permission.ROTATE
    of_row = True
    dangerous = True
    form_class = NeededReasonForm

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Credential) -> bool:
        """From the states that lead there."""
        leads = row.state in lifecycle.TABLE[cls.action].sources
        return leads and cls.is_permitted(admin, request)

    def consequences(self) -> Consequences:
        """The verb's effects, and whoever depends on the key now."""
        merchants = impact.dependents(self.row, now=timezone.now())
        sentences = list(self.effects)
        if merchants and self.action != Action.RESUME:
            sentences.append(_("Requests for these merchants fail until another key signs."))
        elif self.action != Action.RESUME:
            sentences.append(_("No merchant depends on it now."))
        return Consequences(sentences=sentences, merchants=merchants)

    def act(self, form: Any) -> Text | HttpResponse:
        """Call the service."""
        type(self).service(
            self.row,
            actor=actor(self.request),
            now=timezone.now(),
            reason=form.cleaned_data["reason"],
        )
        return self.told


class SuspendScreen(WithdrawScreen):
    """Stop it for now."""

    name = "suspend"
    title = _("Suspend")
    action = Action.SUSPEND
    service = staticmethod(withdrawal.suspend)
    effects: ClassVar = [
        _("The key signs nothing, and no other key takes its place."),
        _("Every process obeys within five seconds. You can resume it."),
    ]
    told = _("Suspended.")


class ResumeScreen(WithdrawScreen):
    """Bring it back."""

    name = "resume"
    title = _("Resume")
    dangerous = False
    asks_password = True
    action = Action.RESUME
    service = staticmethod(withdrawal.resume)
    effects: ClassVar = [_("The key is again what it was before it was suspended.")]
    told = _("Resumed.")

    def consequences(self) -> Consequences:
        """Who gets it back."""
        merchants: list[str] = []
        if self.row.suspended_from == State.ACTIVE:
            merchants = impact.covered(self.row)
        return Consequences(sentences=self.effects, merchants=merchants)


class CompromiseScreen(WithdrawScreen):
    """Others know it."""

    name = "compromise"
    title = _("Mark as compromised")
    action = Action.COMPROMISE
    service = staticmethod(withdrawal.compromise)
    effects: ClassVar = [
        _("Others know the key. It signs nothing and opens nothing any more; no way back."),
        _("Delete it in the Business Center too: whoever has it can use it until then."),
    ]
    told = _("Marked as compromised. Delete it in the Business Center now.")


class RetireScreen(WithdrawScreen):
    """Out of use for good."""

    name = "retire"
    title = _("Retire")
    action = Action.RETIRE
    service = staticmethod(withdrawal.retire)
    effects: ClassVar = [
        _("The key signs nothing any more, for good."),
        _("A Response MLE key still opens replies that come in under its key ID."),
    ]
    told = _("Retired.")


class DestroyScreen(WithdrawScreen):
    """Overwritten."""

    name = "destroy"
    title = _("Destroy")
    permission = Permission.DESTROY
    asks_password = True
    action = Action.DESTROY
    service = staticmethod(withdrawal.destroy)
    effects: ClassVar = [
        _("The sealed key is overwritten and cannot be brought back."),
        _("Replies under its key ID can no longer be decrypted. Fingerprint and history stay."),
    ]
    told = _("Destroyed.")


class DiscardScreen(WithdrawScreen):
    """One's own upload, taken back."""

    name = "discard"
    title = _("Discard this upload")
    permission = Permission.IMPORT
    action = Action.DISCARD
    service = staticmethod(withdrawal.discard)
    effects: ClassVar = [_("The sealed key is overwritten. It was never in use.")]
    told = _("Discarded.")

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Credential) -> bool:
        """To whoever uploaded it."""
        mine = row.uploaded_by == request.user.get_username()
        return mine and row.activated_at is None and super().is_offered(admin, request, row)

    def initial(self) -> dict[str, Any]:
        """The usual reason."""
        return {"reason": str(_("Not the key that was meant"))}
