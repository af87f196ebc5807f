"""Put a key into use, now or later; take a plan back; switch back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin.requests import actor
from django_cybs_jwt.admin.screens import (
    ConfirmScreen,
    Consequences,
    FormScreen,
    ReasonForm,
)
from django_cybs_jwt.models import Credential, Purpose, State, Verdict
from django_cybs_jwt.services import lifecycle, overlaps, rotation
from django_cybs_jwt.services.lifecycle import Action
from django_cybs_jwt.services.overview import impact, watching
from django_cybs_jwt.services.permissions import Permission

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

_FIRST: Final = {
    Purpose.SIGNING.value: _("Active: it signs from now on."),
    Purpose.RESPONSE_MLE.value: _("Active: replies are asked for under it from now on."),
}
_REFUSED: Final = _(
    "Its last verification failed: mend that and verify it again. Activating it all the same takes "
    "force and a reason."
)
_CUSTOM: Final = "custom"
_OVERLAPS: Final = [
    ("now", _("None: the key before stops at once")),
    ("1h", _("1 hour")),
    ("24h", _("24 hours")),
    ("7d", _("7 days")),
    (_CUSTOM, _("Another number of hours")),
]


class ReplacingForm(ReasonForm):
    """What the page was about when it was shown: whoever switches in between makes it stale."""

    replaces = forms.CharField(required=False, widget=forms.HiddenInput)

    def replaced(self) -> str | None:
        """The id of the key that was active then, where the page said so."""
        return self.cleaned_data["replaces"] if "replaces" in self.data else None


class ActivateForm(ReplacingForm):
    """When, and how long the key before it stays at hand."""

    when = forms.DateTimeField(
        label=_("At"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S"],
    )
    overlap = forms.ChoiceField(
        label=_("Overlap"),
        choices=_OVERLAPS,
        initial="24h",
        widget=forms.RadioSelect,
        help_text=_("So long one step switches back."),
    )
    hours = forms.IntegerField(
        label=_("Hours"),
        required=False,
        min_value=0,
        max_value=int(overlaps.LONGEST / timedelta(hours=1)),
        help_text=_("For another number of hours."),
    )
    force = forms.BooleanField(
        label=_("Force it"),
        required=False,
        help_text=_("Not verified, refused, or inside an open overlap. It takes a reason."),
    )

    field_order = ("when", "overlap", "hours", "force", "reason")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        zone = timezone.get_current_timezone_name()
        self.fields["when"].help_text = now_("In %(zone)s. Empty: now.") % {"zone": zone}

    def clean(self) -> dict[str, Any]:
        """The number of hours is there when it is asked for."""
        cleaned = super().clean() or {}
        if cleaned.get("overlap") == _CUSTOM and cleaned.get("hours") is None:
            self.add_error("hours", _("How many hours?"))
        return cleaned

    def length(self) -> timedelta:
        """The overlap that was chosen."""
        chosen = self.cleaned_data["overlap"]
        if chosen == _CUSTOM:
            return timedelta(hours=self.cleaned_data["hours"])
        return overlaps.OVERLAPS[chosen]


class ActivateScreen(FormScreen):
    """Make a key the active one of its slot."""

    name = "activate"
    title = _("Activate")
    permission = Permission.ROTATE
    button = _("Yes, activate it")
    of_row = True
    asks_password = True
    form_class = ActivateForm

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Credential) -> bool:
        """From the states that lead there; inside an overlap one rolls back instead."""
        leads = row.state in lifecycle.TABLE[Action.ACTIVATE].sources
        in_overlap = row.state == State.RETIRING and row.overlap_until is not None
        return leads and not in_overlap and cls.is_permitted(admin, request)

    def form(self) -> forms.Form:
        """A first key has nothing to overlap with and nothing to wait for."""
        form = super().form()
        if self._before() is None:
            for name in ("overlap", "hours"):
                form.fields[name].required = False
                form.fields[name].widget = forms.HiddenInput()
        return form

    def initial(self) -> dict[str, Any]:
        """The usual overlap, and the key that is active now."""
        return {"overlap": "24h", "replaces": _active_id(self.row)}

    def consequences(self) -> Consequences:
        """Who signs with what from then on."""
        before = self._before()
        now = timezone.now()
        sentences: list[Text] = [self._effect()]
        if before is not None:
            text = now_("%(kid)s retires when the overlap ends.")
            sentences.append(text % {"kid": before.key_id})
        if self.row.verify_outcome == Verdict.REFUSED:
            sentences.append(_REFUSED)
        elif self.row.verify_outcome != Verdict.ACCEPTED:
            sentences.append(_("The gateway has not accepted this key yet: verify it first."))
        if self.row.expires_at:
            end = date_format(timezone.localtime(self.row.expires_at), "DATE_FORMAT")
            sentences.append(now_("It ends on %(end)s.") % {"end": end})
        return Consequences(sentences=sentences, merchants=impact.served(self.row, now=now))

    def act(self, form: Any) -> Text | HttpResponse:
        """Switch, or plan it."""
        now, at, who = timezone.now(), form.cleaned_data["when"], actor(self.request)
        reason, force = form.cleaned_data["reason"], form.cleaned_data["force"]
        if self._is_first() and self.row.verified_at is None and at is None and not force:
            rotation.activate(self.row, actor=who, now=now, reason=reason)
            return _FIRST[self.row.slot.purpose]
        row = rotation.rotate(
            self.row,
            actor=who,
            now=now,
            overlap=form.length() if form.cleaned_data["overlap"] else overlaps.DEFAULT,
            at=at,
            force=force,
            reason=reason,
            replaces=form.replaced(),
        )
        if row.activate_at is not None:
            return _("Planned. Until then you can take it back.")
        return _("Active. Watch its uses here, and switch back if anything goes wrong.")

    def _effect(self) -> str:
        if self.row.slot.purpose == Purpose.SIGNING:
            text = now_("Requests are signed with %(kid)s from then on.")
        else:
            text = now_("Replies are asked for under %(kid)s from then on.")
        return text % {"kid": self.row.key_id}

    def _before(self) -> Credential | None:
        row: Credential | None = self.row.slot.credentials.filter(state=State.ACTIVE).first()
        return row

    def _is_first(self) -> bool:
        return not self.row.slot.credentials.exclude(activated_at=None).exists()


class UnscheduleScreen(ConfirmScreen):
    """Take a planned switch back."""

    name = "unschedule"
    title = _("Take the plan back")
    permission = Permission.ROTATE
    of_row = True

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Credential) -> bool:
        """Where something is planned."""
        return row.activate_at is not None and cls.is_permitted(admin, request)

    def consequences(self) -> Consequences:
        """Nothing changes for anybody."""
        return Consequences(sentences=[_("The key stays as it is; nothing switches by itself.")])

    def act(self, form: Any) -> Text | HttpResponse:
        """Forget the time."""
        rotation.unschedule(
            self.row,
            actor=actor(self.request),
            now=timezone.now(),
            reason=form.cleaned_data["reason"],
        )
        return _("Nothing is planned any more.")


class RollBackScreen(ConfirmScreen):
    """Back to the key before, inside the overlap."""

    name = "rollback"
    title = _("Roll back")
    permission = Permission.ROTATE
    button = _("Yes, roll back")
    of_row = True
    form_class = ReplacingForm

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Credential) -> bool:
        """On both keys of an open overlap."""
        if row.state not in (State.ACTIVE, State.RETIRING) or not cls.is_permitted(admin, request):
            return False
        found = watching.watch(row, now=timezone.now())
        return found is not None and found.can_roll_back

    def initial(self) -> dict[str, Any]:
        """The key that is active now."""
        return {"replaces": _active_id(self.row)}

    def consequences(self) -> Consequences:
        """Which key signs again, and for whom."""
        now = timezone.now()
        found = watching.watch(self.row, now=now)
        if found is None or not found.can_roll_back:
            return Consequences(sentences=[_("There is no open overlap to roll back in.")])
        sentences = [
            now_("%(kid)s becomes active again, within five seconds everywhere.")
            % {"kid": found.old.credential.key_id},
            now_("%(kid)s retires, and the overlap is closed.")
            % {"kid": found.new.credential.key_id},
        ]
        if self.row.slot.purpose == Purpose.RESPONSE_MLE:
            sentences.append(now_("Replies under either key ID are still decrypted."))
        merchants = impact.dependents(found.new.credential, now=now)
        return Consequences(sentences=sentences, merchants=merchants)

    def act(self, form: Any) -> Text | HttpResponse:
        """Switch back."""
        row = rotation.roll_back(
            self.row.slot,
            actor=actor(self.request),
            now=timezone.now(),
            reason=form.cleaned_data["reason"],
            replaces=form.replaced(),
        )
        return now_("%(kid)s is active again.") % {"kid": row.key_id}


def _active_id(row: Credential) -> str:
    return rotation.active_id(row.slot, now=timezone.now())
