"""What a request says about its visitor."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from django_cybs_jwt.exceptions import ApprovalRequired, CybsError
from django_cybs_jwt.services import approvals, scope
from django_cybs_jwt.services.readiness.standing import Standing

LONGEST_ACTOR: Final = 150


def scope_of(request: HttpRequest) -> scope.Scope:
    """What the visitor sees; asked of the database once for each request."""
    known: dict[str, Any] = request.__dict__.setdefault("cybs_jwt", {})
    if "scope" not in known:
        known["scope"] = scope.of(request.user)
    found: scope.Scope = known["scope"]
    return found


def of_this_site(request: HttpRequest, address: str) -> str:
    """*address* where it leads to a page of this site, else nothing."""
    hosts, is_secure = {request.get_host()}, request.is_secure()
    return address if url_has_allowed_host_and_scheme(address, hosts, is_secure) else ""


def actor(request: HttpRequest) -> str:
    """Who the audit trail will name."""
    name = request.user.get_username()
    if not 0 < len(name) <= LONGEST_ACTOR:
        raise CybsError(
            "A user name of 1 to {most} characters is needed for the audit.",
            most=LONGEST_ACTOR,
        )
    return name


def tell(request: HttpRequest, error: CybsError, *, reason: str = "") -> None:
    """Show a refusal with its cure; where a second person is needed, ask for one.

    It may be about what somebody has whom the visitor does not see: that name is left out.
    """
    if isinstance(error, ApprovalRequired):
        requested = approvals.request_missing(
            error, actor=actor(request), now=timezone.now(), reason=reason
        )
        if requested:
            keys = ", ".join(approval.credential.key_id for approval in requested)
            text = _(
                "This takes a second person. Approval is requested for %(keys)s; repeat it then."
            )
            messages.warning(request, text % {"keys": keys})
            return
    (told,) = scope_of(request).redact([str(error)])
    messages.error(request, told)


def standing_of(request: HttpRequest) -> Standing:
    """The conditions of this request; several filters share what was read for them."""
    known: dict[str, Any] = request.__dict__.setdefault("cybs_jwt", {})
    if "standing" not in known:
        known["standing"] = Standing(timezone.now())
    found: Standing = known["standing"]
    return found
