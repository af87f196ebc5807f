"""Who is told of ends: add, change, test, deactivate."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt import conf
from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.narrowing import OrganizationField
from django_cybs_jwt.admin.requests import actor, scope_of
from django_cybs_jwt.admin.screens import Consequences, FormScreen
from django_cybs_jwt.models import AlertRecipient
from django_cybs_jwt.services.alerts import channels, recipients, silence, trial, webhook
from django_cybs_jwt.services.permissions import Permission

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text
    from django_cybs_jwt.services.scope import Scope


class RecipientForm(forms.Form):
    """Which way, where to, about whom."""

    channel = forms.ChoiceField(label=_("Channel"))
    address = forms.CharField(
        label=_("Address"),
        max_length=recipients.LONGEST_ADDRESS,
        help_text=_("A mail address, or an https:// URL; of the URL only the host is shown again."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    organization = OrganizationField(
        label=_("Organization"),
        required=False,
        help_text=_("ORG_ID or ORG_ID@HOST: of it and what stands under it. Empty: everything."),
    )
    escalation = forms.BooleanField(
        label=_("Escalation"),
        required=False,
        help_text=_("Told only of what nobody acknowledged for a day."),
    )

    def __init__(self, *args: Any, scope: Scope, **options: Any) -> None:
        super().__init__(*args, **options)
        organization = self.fields["organization"]
        assert isinstance(organization, OrganizationField)  # noqa: S101  # declared above
        organization.scope = scope
        # Who sees a part only cannot have the rest sent out.
        organization.required = scope.is_limited
        names = {*channels.BUILT_IN, *conf.current().ALERT_CHANNELS}
        self.fields["channel"].choices = [  # type: ignore[attr-defined]
            (name, name) for name in sorted(names - {AlertRecipient.Channel.SIGNAL})
        ]
        self.fields["channel"].initial = AlertRecipient.Channel.MAIL

    def clean(self) -> dict[str, Any]:
        """What listens on this machine may trust it: to name that takes access to the machine."""
        cleaned = super().clean() or {}
        plain = str(cleaned.get("address", "")).lower().startswith("http:")
        if plain and cleaned.get("channel") == AlertRecipient.Channel.WEBHOOK:
            hint = _("https:// only; for one on this machine: manage.py cybs_alerts add-recipient.")
            self.add_error("address", hint)
        return cleaned


class AddScreen(FormScreen):
    """A new recipient. A webhook's signing key is on the answer's page, and on no other."""

    name = "add_recipient"
    title = _("Add a recipient")
    button = _("Add")
    permission = Permission.RECIPIENTS
    form_class = RecipientForm
    asks_password = True

    def form(self) -> forms.Form:
        """With what the visitor sees."""
        data = self.request.POST if self.request.method == "POST" else None
        return RecipientForm(data, scope=scope_of(self.request))

    def act(self, form: Any) -> Text | HttpResponse:
        """Add it, or change one that is there."""
        given = form.cleaned_data
        facts = {name: given[name] for name in ("channel", "address", "organization")}
        is_known = AlertRecipient.objects.filter(**facts).exists()
        recipient = recipients.add(
            **facts, escalation=given["escalation"], actor=actor(self.request)
        )
        if recipient.channel != AlertRecipient.Channel.WEBHOOK or is_known:
            return now_("%(recipient)s is told from now on.") % {"recipient": recipient}
        key = base64.b64encode(webhook.signing_key(recipient)).decode()
        return self.render("cybs_jwt/webhook_key.html", key=key, recipient=recipient)


class ChangeForm(forms.Form):
    """What can be changed; another address is another recipient."""

    escalation = forms.BooleanField(
        label=_("Escalation"),
        required=False,
        help_text=_("Told only of what nobody acknowledged for a day."),
    )


class ChangeScreen(FormScreen):
    """Of what it is told; one that was deactivated is told again."""

    name = "change_recipient"
    title = _("Change")
    permission = Permission.RECIPIENTS
    of_row = True
    asks_password = True
    form_class = ChangeForm

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """The signal's recipient comes and goes with its receivers."""
        return super().is_offered(admin, request, row) and not _is_signal(row)

    def initial(self) -> dict[str, Any]:
        """As it is."""
        return {"escalation": self.row.escalation}

    def consequences(self) -> Consequences:
        """What saving means for one that is told nothing."""
        if self.row.active:
            return Consequences()
        owner = self.row.organization
        again = now_("It is told nothing now; saved, it is told again of %(what)s.") % {
            "what": now_("everything") if owner is None else owner
        }
        return Consequences(sentences=[again], rows=silence.watched(self.row))

    def act(self, form: Any) -> Text:
        """Save it."""
        recipients.add(
            self.row.channel,
            self.row.address,
            organization=self.row.organization,
            escalation=form.cleaned_data["escalation"],
            actor=actor(self.request),
        )
        return now_("Saved.")


class TestScreen(FormScreen):
    """A message that says nothing but that it arrives."""

    name = "test"
    title = _("Send a test")
    button = _("Send it now")
    permission = Permission.RECIPIENTS
    of_row = True

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """To one that is told."""
        return super().is_offered(admin, request, row) and row.active and not _is_signal(row)

    def consequences(self) -> Consequences:
        """To whom."""
        told = _("%(recipient)s gets one message at once. It names no key.")
        return Consequences(sentences=[told % {"recipient": self.row}])

    def act(self, form: Any) -> Text:
        """Send it."""
        trial.send_test(self.row, actor=actor(self.request), now=timezone.now())
        return now_("Handed over. Look whether it arrived.")


class DeactivateScreen(FormScreen):
    """Tell it nothing any more."""

    name = "deactivate"
    title = _("Deactivate")
    button = _("Yes, do it")
    permission = Permission.RECIPIENTS
    dangerous = True
    of_row = True

    @classmethod
    def is_offered(cls, admin: CybsAdmin, request: HttpRequest, row: Any) -> bool:
        """While it is told."""
        return super().is_offered(admin, request, row) and row.active

    def consequences(self) -> Consequences:
        """Of whom nobody is told then."""
        gone = silence.silenced(self.row)
        sentences: list[Text] = [
            now_("%(recipient)s is told nothing any more.") % {"recipient": self.row}
        ]
        if gone.exists():
            sentences += _silent(self.row)
        elif silence.watched(self.row).exists():
            sentences.append(_("Others are told of all its merchants too."))
        if silence.silences_shared(self.row):
            sentences.append(_SHARED)
        return Consequences(sentences=sentences, rows=gone)

    def act(self, form: Any) -> Text:
        """Deactivate it; what it was told stays on record."""
        recipients.remove(self.row, actor=actor(self.request))
        return now_("Deactivated.")


@admin.register(AlertRecipient)
class AlertRecipientAdmin(CybsAdmin):
    """Recipients; addresses of webhooks are shown in part."""

    list_display = ["where", "channel", "organization", "escalation", "active"]
    list_filter = ["active", "escalation", "channel"]
    list_select_related = ["organization"]
    search_fields = ["organization__org_id__istartswith"]
    search_help_text = _("The beginning of an organization ID.")
    ordering = ["channel", "address"]
    fields = ["where", "channel", "organization", "escalation", "active"]
    readonly_fields = ["where"]
    screens = [AddScreen, ChangeScreen, TestScreen, DeactivateScreen]

    def audited(self, row: AlertRecipient) -> dict[str, str]:
        """By its id, which each event about it names."""
        return {"about": str(row.pk)}

    @admin.display(description=_("address"))
    def where(self, row: AlertRecipient) -> str:
        """As much of it as is no secret."""
        return row.shown_address


_SHARED: Final = _(
    "Nobody of its kind is told of what belongs to no merchant: certificates of whole hosts, and "
    "key-encryption keys."
)


def _silent(row: AlertRecipient) -> list[Text]:
    if row.escalation:
        return [_("What nobody acknowledges for these merchants is escalated to nobody then.")]
    silent = _("Nobody is told of what ends for these merchants then.")
    later = _("Recipients of escalations hear of it a day later, when nobody acknowledged it.")
    return [silent, later] if recipients.listing().filter(escalation=True).exists() else [silent]


def _is_signal(row: AlertRecipient) -> bool:
    return row.channel == AlertRecipient.Channel.SIGNAL
