"""Filters of the lists of organizations and keys; what they find is decided by services."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin import SimpleListFilter
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin.requests import scope_of, standing_of
from django_cybs_jwt.models import (
    Credential,
    GatewayCertificate,
    KeySlot,
    Organization,
    State,
    words,
)
from django_cybs_jwt.services import coverage, organizations, usage
from django_cybs_jwt.services.organizations import Places
from django_cybs_jwt.services.overview import dashboard
from django_cybs_jwt.services.readiness.standing import Fact
from django_cybs_jwt.services.scope import Scope

if TYPE_CHECKING:
    from django_cybs_jwt.admin.screens import Text

MOST_PORTFOLIOS: Final = 100
NEWEST_EVENTS: Final = 5000

FACTS: Final = {
    Fact.READY: _("ready"),
    Fact.JWT_V2: _("JWT v2 signing key"),
    Fact.REQUEST_MLE: _("request MLE"),
    Fact.RESPONSE_MLE: _("response MLE"),
    Fact.VERIFIED: _("verified"),
}


class _Choice(SimpleListFilter):
    """A filter whose unknown values find nothing, instead of everything."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of the chosen value."""
        value = self.value()
        if value is None:
            return queryset
        condition = self.condition(request, value)
        return queryset.none() if condition is None else queryset.filter(condition)

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """What *value* means; None for what means nothing."""
        raise NotImplementedError


class HostFilter(_Choice):
    """One gateway host."""

    title = _("host")
    parameter_name = "host"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """The hosts of what the visitor sees."""
        return [(host, host) for host in _places(request, model_admin).hosts]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """Rows on that host."""
        return Q(host=value)


class PortfolioFilter(_Choice):
    """A portfolio with all that stands under it."""

    title = _("portfolio")
    parameter_name = "portfolio"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """The first hundred portfolios that the visitor sees; a portfolio's page links to all."""
        portfolios = _places(request, model_admin).portfolios[:MOST_PORTFOLIOS]
        return [(str(pk), name) for pk, name in portfolios]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """The portfolio and its descendants."""
        try:
            top = uuid.UUID(value)
        except ValueError:
            return None
        return Q(pk=top) | Q(parent=top) | Q(parent__parent=top)

    def has_output(self) -> bool:
        """Also where the chosen one is not among the first hundred."""
        return super().has_output() or self.value() is not None


class SignerFilter(_Choice):
    """Whom the keys of one slot speak for, to the last: other pages name the first of them."""

    title = _("may be signed for by")
    parameter_name = "signer"

    def __init__(self, request: HttpRequest, *arguments: Any) -> None:
        self._slot: KeySlot | None = None
        super().__init__(request, *arguments)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """What a page's link asked for, if the visitor sees it."""
        value = self.used_parameters.get(self.parameter_name, "")
        if _is_uuid(value):
            slots = scope_of(request).visible(KeySlot.objects.select_related("organization"))
            self._slot = slots.filter(pk=value).first()
        return [] if self._slot is None else [(value, str(self._slot))]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """Those whom the slot covers."""
        return None if self._slot is None else coverage.speaks_for(self._slot)

    def has_output(self) -> bool:
        """Once a link has led here, also to nobody: the slots are too many to choose from."""
        return self.value() is not None


class HasFilter(_Choice):
    """Merchants of which a fact is true."""

    title = _("what is there")
    parameter_name = "has"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """Every fact."""
        return [(fact.value, text) for fact, text in FACTS.items()]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """Merchants that have it."""
        if value not in FACTS:
            return None
        return _is_merchant() & standing_of(request).has(Fact(value))


class LacksFilter(HasFilter):
    """Merchants of which a fact is not true."""

    title = _("what is missing")
    parameter_name = "lacks"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """Every fact; where the gateway has not accepted a key its badge says so in this word."""
        names = {**FACTS, Fact.VERIFIED: _("verification (untested)")}
        return [(fact.value, text) for fact, text in names.items()]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """Merchants that do not have it."""
        if value not in FACTS:
            return None
        return _is_merchant() & ~standing_of(request).has(Fact(value))


class EndsFilter(_Choice):
    """Merchants that an end stops soon, of their own key or of the one that signs for them."""

    title = _("days left")
    parameter_name = "ends"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """The days of the front page."""
        return [
            (str(days), _("less than %(days)d days") % {"days": days}) for days in dashboard.SOON
        ]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """Merchants that stop within so many days."""
        if value not in map(str, dashboard.SOON):
            return None
        standing = standing_of(request)
        return standing.ends_by(standing.now + timedelta(days=int(value)))


class KeyStateFilter(_Choice):
    """Owners of a key in some state."""

    title = _("own key is")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """Every state, and none."""
        return [*State.choices, ("none", _("none"))]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """Owners of such a key."""
        keys = Credential.objects.filter(organization=OuterRef("pk"))
        if value == "none":
            return ~Q(Exists(keys.exclude(state=State.DESTROYED)))
        return Q(Exists(keys.filter(state=value))) if value in State.values else None


class UseFilter(_Choice):
    """Owners whose active key nobody uses."""

    title = _("use")
    parameter_name = "use"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """Unused or not."""
        return [("unused", _("active key unused")), ("used", _("active key used"))]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """Owners of an active key that was, or was not, used lately."""
        long_ago = timezone.now() - timedelta(days=usage.IDLE_DAYS)
        idle = Q(last_used_at=None) | Q(last_used_at__lt=long_ago)
        keys = Credential.objects.filter(active_slot__organization=OuterRef("pk"))
        if value not in ("unused", "used"):
            return None
        return Q(Exists(keys.filter(idle if value == "unused" else ~idle)))


class AttentionFilter(_Choice):
    """Keys that somebody should look at: what the front page counts."""

    title = _("attention")
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """What the front page counts."""
        return [
            ("ended", _("in use and ended")),
            *((str(days), _("ends in %(days)d days") % {"days": days}) for days in dashboard.SOON),
            ("overlap", _("in an open overlap")),
            ("failed", _("not accepted when last verified")),
        ]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """The condition that the number was counted with."""
        now = timezone.now()
        if value in map(str, dashboard.SOON):
            return dashboard.ends_within(now, int(value))
        conditions = {
            "ended": dashboard.has_ended(now),
            "overlap": dashboard.in_overlap(now),
            "failed": dashboard.was_not_accepted(),
        }
        return conditions.get(value)


class CertificateEndsFilter(_Choice):
    """Certificates in whose place nothing goes on: what the front page counts."""

    title = _("end")
    parameter_name = "ends"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """What the front page counts."""
        soon = [(str(days), _("ends in %(days)d days") % {"days": days}) for days in dashboard.SOON]
        return [("ended", _("ended")), *soon]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """The condition that the number was counted with."""
        now = timezone.now()
        if value == "ended":
            return dashboard.certificate_has_ended(now)
        is_known = value in map(str, dashboard.SOON)
        return dashboard.certificate_ends_within(now, int(value)) if is_known else None


class ActionFilter(_Choice):
    """What an event tells of; the chain is never read whole for its choices."""

    title = _("action")
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """The actions of the newest events; any other can be put into the address."""
        rows = model_admin.get_queryset(request).order_by("-seq")
        return [
            (action, words.action(action))
            for action in sorted(set(rows.values_list("action", flat=True)[:NEWEST_EVENTS]))
        ]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """Events of that action."""
        return Q(action=value)


class AboutFilter(_Choice):
    """Events that name one row: by its id, or by a key ID.

    For limited staff nothing else is looked for in reasons: they may name what he does not see.
    """

    title = _("row")
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Text]]:
        """What a page's link asked for."""
        value = self.value()
        return [] if value is None else [(value, value)]

    def condition(self, request: HttpRequest, value: str) -> Q | None:
        """Events whose reason names it."""
        scope = scope_of(request)
        is_named = not scope.is_limited or _is_uuid(value) or _is_seen(scope, value)
        return Q(key_id=value) | Q(reason__contains=value) if is_named else None


def _is_seen(scope: Scope, key_id: str) -> bool:
    return any(
        scope.visible(model.objects.filter(key_id=key_id)).exists()
        for model in (Credential, GatewayCertificate)
    )


def _is_uuid(value: str) -> bool:
    try:
        return str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _places(request: HttpRequest, model_admin: Any) -> Places:
    """Read once for both filters."""
    known: dict[str, Any] = request.__dict__.setdefault("cybs_jwt", {})
    if "places" not in known:
        known["places"] = organizations.places(model_admin.get_queryset(request))
    found: Places = known["places"]
    return found


def _is_merchant() -> Q:
    return Q(kind=Organization.Kind.MERCHANT, active=True)
