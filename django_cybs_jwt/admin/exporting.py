"""Ask for the export of a key. No page writes one: that is left to the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as now_
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt import conf
from django_cybs_jwt.admin.requests import actor
from django_cybs_jwt.admin.screens import ConfirmScreen, Consequences
from django_cybs_jwt.admin.withdrawing import NeededReasonForm
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import Credential, State
from django_cybs_jwt.services import approvals, export
from django_cybs_jwt.services.permissions import Permission

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text


class RequestExportScreen(ConfirmScreen):
    """A request that a second person decides."""

    name = "request_export"
    title = _("Ask for an export")
    button = _("Yes, ask for it")
    permission = Permission.EXPORT
    of_row = True
    form_class = NeededReasonForm

    @classmethod
    def is_offered(cls, admin: Any, request: HttpRequest, row: Credential) -> bool:
        """Where it takes an approval, and for a key that can be written to a file."""
        can = row.state != State.DESTROYED and row.kind != Credential.Kind.SHARED_SECRET
        return can and conf.current().FOUR_EYES and cls.is_permitted(admin, request)

    def consequences(self) -> Consequences:
        """What it leads to."""
        if not conf.current().FOUR_EYES:
            return Consequences(sentences=[_NEEDS_NONE])
        facts = {
            "hours": approvals.LIFETIME // timedelta(hours=1),
            "command": f"manage.py cybs_export {self.row.pk} FILE",
        }
        then = now_(
            "Once it is granted, whoever works on the machine writes the file, once and within "
            "%(hours)d hours of now: %(command)s"
        )
        return Consequences(sentences=[_ASKED, then % facts])

    def act(self, form: Any) -> Text:
        """Ask."""
        if not conf.current().FOUR_EYES:
            raise CybsError(str(_NEEDS_NONE))
        export.check_writable(self.row)
        approvals.request(
            approvals.EXPORT,
            self.row,
            actor=actor(self.request),
            now=timezone.now(),
            reason=form.cleaned_data["reason"],
        )
        return now_("Asked for. It waits for a second person under Approvals.")


_ASKED = _("A second person decides. Nothing leaves this system by asking.")
_NEEDS_NONE = _("FOUR_EYES is off: an export takes no approval. `manage.py cybs_export` writes it.")
