"""Take a key out of use, after a page that says what that does to which merchants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.admin.screens import ConfirmScreen, Consequences, ReasonForm
from django_cybs_jwt.models import Credential, Purpose
from django_cybs_jwt.services import lifecycle, withdrawal
from django_cybs_jwt.services.lifecycle import Action
from django_cybs_jwt.services.overview import impact
from django_cybs_jwt.services.overview.impact import Stake
from django_cybs_jwt.services.people import person
from django_cybs_jwt.services.permissions import Permission

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

    Effects = Mapping[str, Sequence[Text]]

_SIGNING, _RESPONSE = Purpose.SIGNING.value, Purpose.RESPONSE_MLE.value
_USED: Final = {
    _SIGNING: _("Requests for these merchants fail until another key signs."),
    _RESPONSE: _(
        "Until another key is active in its place, replies for these merchants come in clear, or "
        "their requests are refused: where RESPONSE_MLE is required, and where another key of its "
        "owner stands beside it."
    ),
}
_LOST: Final = {
    Stake.WAY_BACK: _(
        "The key that replaced it goes on for these merchants. What is lost is the way back: the "
        "switch cannot be rolled back without this key."
    ),
    Stake.WAY_OUT: _(
        "The key that replaced it is not in use. Rolling back to this key is the way out for "
        "these merchants, and it is lost."
    ),
    Stake.STOP: _(
        "Requests for these merchants fail now, and go on to until another key is active in its "
        "place."
    ),
    Stake.REPLIES: _(
        "Replies for these merchants that come in under its key ID cannot be decrypted without it."
    ),
}
_LET_GO: Final = _(
    "Requests for these merchants fail now. Once it is retired, the next key that is found for "
    "them signs."
)
_LOSING_CERTIFICATE: Final = _(
    "Only its file carried the gateway's certificate: requests of these merchants "
    "cannot be encrypted until a key file brings another, or one is added for the host."
)
_IDLE: Final = _("No merchant depends on it now.")


def losses(action: str, *rows: Credential) -> Consequences:
    """What *action* takes from which merchants; that it takes nothing is said, too."""
    now = timezone.now()
    found = [(row, impact.lost(action, row, now=now)) for row in rows]
    texts = dict.fromkeys(_loss(action, row, stake) for row, lost in found for stake in lost)
    merchants = {name for _row, lost in found for names in lost.values() for name in names}
    return Consequences(sentences=[*texts] or [_IDLE], merchants=sorted(merchants))


def _loss(action: str, row: Credential, stake: Stake) -> Text:
    if stake == Stake.USE:
        return _USED[row.slot.purpose]
    lets_go = stake == Stake.STOP and action == Action.RETIRE
    return _LET_GO if lets_go else _LOST[stake]


class NeededReasonForm(ReasonForm):
    """Why, which a withdrawal never goes without."""

    reason = forms.CharField(
        label=_("Reason"), max_length=500, help_text=_("Kept in the audit trail.")
    )


class WithdrawScreen(ConfirmScreen):
    """One verb of `services.withdrawal`."""

    action: ClassVar[Action]
    service: ClassVar[Callable[..., Credential]]
    effects: ClassVar[Effects]
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
        """The verb's effects, and what is lost to whom: that is another thing in each state."""
        found = losses(self.action, *self.rows())
        return Consequences(
            sentences=[*self.effects[self.purpose], *found.sentences], merchants=found.merchants
        )

    def rows(self) -> list[Credential]:
        """The keys that the verb moves."""
        return [self.row]

    @property
    def purpose(self) -> str:
        """What the key is for: taking it away does one thing or another."""
        return str(self.row.slot.purpose)

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
    effects: ClassVar = {
        _SIGNING: [
            _("The key signs nothing until it is resumed; that puts no other key in its place."),
            _("Every process obeys within five seconds. You can resume it."),
        ],
        _RESPONSE: [
            _("No reply is asked for under its key ID, and none is decrypted."),
            _("Every process obeys within five seconds. You can resume it."),
        ],
    }
    told = _("Suspended.")


class ResumeScreen(WithdrawScreen):
    """Bring it back."""

    name = "resume"
    title = _("Resume")
    dangerous = False
    asks_password = True
    action = Action.RESUME
    service = staticmethod(withdrawal.resume)
    effects: ClassVar = dict.fromkeys(
        Purpose.values, (_("The key is again what it was before it was suspended."),)
    )
    told = _("Resumed.")

    def consequences(self) -> Consequences:
        """Who gets it back."""
        merchants = impact.affected(self.action, self.row, now=timezone.now())
        return Consequences(sentences=self.effects[self.purpose], merchants=merchants)


class CompromiseScreen(WithdrawScreen):
    """Others know it. As an emergency has no time for it, this and suspending ask no password."""

    name = "compromise"
    title = _("Mark as compromised")
    action = Action.COMPROMISE
    service = staticmethod(withdrawal.compromise)
    effects: ClassVar = {
        _SIGNING: [
            _("Others know the key. It signs nothing any more; there is no way back."),
            _("Delete it in the Business Center too: whoever has it can sign with it until then."),
        ],
        _RESPONSE: [
            _("Others know the key. No reply is decrypted with it any more; there is no way back."),
            _("Delete it in the Business Center too: whoever has it can read what it encrypts."),
        ],
    }
    told = _("Marked as compromised. Delete it in the Business Center now.")

    def rows(self) -> list[Credential]:
        """With the same key on other hosts."""
        return [*super().rows(), *withdrawal.elsewhere(self.row)]

    def consequences(self) -> Consequences:
        """Its file is trusted no more, and what was in it neither."""
        found, now, rows = super().consequences(), timezone.now(), self.rows()
        losing = {name for row in rows for name in impact.losing_certificate(row, now=now)}
        return Consequences(
            sentences=[
                *found.sentences,
                *self._also(rows[1:]),
                *([_LOSING_CERTIFICATE] if losing else []),
            ],
            merchants=sorted({*found.merchants, *losing}),
        )

    def _also(self, twins: Sequence[Credential]) -> list[Text]:
        """Under whose names it is stored besides, as far as they are seen."""
        seen, hidden = scope_of(self.request).names(str(row.organization) for row in twins)
        if not twins:
            return []
        names = ", ".join([*seen, *(["…"] if hidden else [])])
        text = now_("The same key is stored for %(names)s too, and is marked there with it.")
        return [text % {"names": names}]


class RetireScreen(WithdrawScreen):
    """Out of use for good."""

    name = "retire"
    title = _("Retire")
    asks_password = True
    action = Action.RETIRE
    service = staticmethod(withdrawal.retire)
    effects: ClassVar = {
        _SIGNING: [_("The key signs nothing any more, for good.")],
        _RESPONSE: [
            _("No reply is asked for under its key ID any more, for good."),
            _("Replies that still come in under it are decrypted."),
        ],
    }
    told = _("Retired.")


_OVERWRITTEN: Final = _(
    "The sealed key is overwritten and cannot be brought back. Fingerprint and history stay."
)


class DestroyScreen(WithdrawScreen):
    """Overwritten."""

    name = "destroy"
    title = _("Destroy")
    permission = Permission.DESTROY
    asks_password = True
    action = Action.DESTROY
    service = staticmethod(withdrawal.destroy)
    effects: ClassVar = {
        _SIGNING: [_OVERWRITTEN],
        _RESPONSE: [_OVERWRITTEN],
    }
    told = _("Destroyed.")


class DiscardScreen(WithdrawScreen):
    """One's own upload, taken back."""

    name = "discard"
    title = _("Discard this upload")
    permission = Permission.IMPORT
    asks_password = True
    action = Action.DISCARD
    service = staticmethod(withdrawal.discard)
    effects: ClassVar = dict.fromkeys(
        Purpose.values, (_("The sealed key is overwritten. It was never in use."),)
    )
    told = _("Discarded.")

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Credential) -> bool:
        """To whoever uploaded it."""
        mine = person(row.uploaded_by) == person(request.user.get_username())
        return mine and row.activated_at is None and super().is_offered(admin, request, row)

    def initial(self) -> dict[str, Any]:
        """The usual reason."""
        return {"reason": str(_("Not the key that was meant"))}
