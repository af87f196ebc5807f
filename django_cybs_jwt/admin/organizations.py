"""Organizations: who sends, what each is ready for, and which key signs for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import filters, trail
from django_cybs_jwt.admin.badges import badge, breakable, days_tone
from django_cybs_jwt.admin.base import CybsAdmin
from django_cybs_jwt.admin.dry_run import DryRunScreen
from django_cybs_jwt.admin.importing import ImportScreen
from django_cybs_jwt.admin.readiness import ReadinessScreen
from django_cybs_jwt.admin.requests import scope_of
from django_cybs_jwt.admin.verifying import VerifyOrganizations, VerifyOrganizationScreen
from django_cybs_jwt.models import (
    Coverage,
    Credential,
    KeySlot,
    Organization,
    OutboundRequest,
)
from django_cybs_jwt.services import coverage, readiness
from django_cybs_jwt.services.overview import key_choice, timeline
from django_cybs_jwt.services.permissions import Permission
from django_cybs_jwt.services.readiness import Readiness
from django_cybs_jwt.services.readiness.standing import joined
from django_cybs_jwt.services.scope import Scope

NEWEST_SENDS = 20
MOST_MERCHANTS = 50


class OrganizationList(ChangeList):
    """Judges the rows of the page, all at once."""

    def get_results(self, request: HttpRequest) -> None:
        """The page's rows, each with its `standing`."""
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        judged = list(readiness.of(rows, now=timezone.now()))
        named = _signers_seen(rows, judged, scope_of(request))
        for row, one in zip(rows, judged, strict=True):
            row.standing = one
            row.signer = one.owner if _signer(one) in named else ""
            row.above = row.parent if row.parent and scope_of(request).sees(row.parent) else ""
        self.result_list = rows


@admin.register(Organization)
class OrganizationAdmin(CybsAdmin):
    """Who sends, and where to."""

    # What is looked for first stands where a narrow screen still shows it.
    list_display = [
        "org_id",
        "name",
        "signing",
        "days_left",
        "request_mle",
        "response_mle_key",
        "verified",
        "meta_key",
        "above",
        "gateway",
    ]
    list_filter = [
        filters.SignerFilter,
        filters.LacksFilter,
        filters.HasFilter,
        filters.EndsFilter,
        filters.KeyStateFilter,
        filters.UseFilter,
        "kind",
        "live",
        "active",
        filters.HostFilter,
        filters.PortfolioFilter,
    ]
    list_select_related = ["parent__parent"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["org_id", "name"]
    screens = [ReadinessScreen, VerifyOrganizationScreen, DryRunScreen]
    bulk = [VerifyOrganizations()]

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """Rows with their standing."""
        return OrganizationList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Ready for the filters; whose key signs for others is read with the page's rows alone."""
        slots = KeySlot.objects.filter(organization=OuterRef("pk")).exclude(coverage=Coverage.OWN)
        return joined(super().get_queryset(request)).annotate(owns_meta_key=Exists(slots))

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """The parent too, where the visitor does not see it."""
        parent = obj.parent if obj else None
        return ["parent"] if parent and not scope_of(request).sees(parent) else []

    @admin.display(description=_("parent"), ordering="parent")
    def above(self, row: Any) -> SafeString | str:
        """What it is, if no merchant, and what it stands under, as far as the visitor sees."""
        parent = str(row.above and row.above.org_id)
        if row.kind == Organization.Kind.MERCHANT:
            return parent
        return format_html("{} {}", badge("plain", row.get_kind_display()), parent)

    @admin.display(description=_("host"), ordering="host")
    def gateway(self, row: Any) -> SafeString:
        """Which gateway it sends to."""
        host = breakable(row.host)
        return format_html("{} {}", host, badge("plain", _("live"))) if row.live else host

    @admin.display(description=_("signing key"))
    def signing(self, row: Any) -> SafeString:
        """Which kind of key signs, or that none does, and whether that is a fault."""
        if not row.active:
            return badge("plain", _("disabled"))
        if not _is_judged(row):
            return badge("plain", _("not needed"))
        if not row.standing.jwt_v2:
            return badge("bad", _("none"))
        return badge("good", _("meta key") if row.standing.meta else _("own"))

    @admin.display(description=_("days left"))
    def days_left(self, row: Any) -> SafeString | str:
        """Until the first end that stops something."""
        days = row.standing.days_left
        return "" if days is None else badge(days_tone(days), str(days))

    @admin.display(description=_("request MLE"))
    def request_mle(self, row: Any) -> SafeString | str:
        """Whether requests can be encrypted."""
        return _yes(row, row.standing.request_mle, _("ready"), _("none"))

    @admin.display(description=_("response MLE"))
    def response_mle_key(self, row: Any) -> SafeString | str:
        """Whether replies arrive encrypted."""
        if row.response_mle == "never":
            return badge("plain", _("never"))
        return _yes(row, row.standing.response_mle, _("ready"), _("none"))

    @admin.display(description=_("verified"))
    def verified(self, row: Any) -> SafeString | str:
        """Whether the gateway has accepted the keys."""
        return _yes(row, row.standing.verified, _("verified"), _("untested"))

    @admin.display(description=_("meta key"))
    def meta_key(self, row: Any) -> SafeString | str:
        """Whose key signs for it, or that its own signs for others."""
        if row.owns_meta_key:
            return badge("plain", _("serves others"))
        if not row.standing.meta:
            return ""
        return badge("plain", row.signer or _("of another organization"))

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Which key signs and why, all its keys along time, whom they cover, what happened."""
        now, scope = timezone.now(), scope_of(request)
        (standing,) = readiness.of([row], now=now)
        along = timeline.of(row, now=now)
        sees_keys = request.user.has_perm("cybs_jwt.view_credential")
        return {
            "sees_keys": sees_keys,
            "needs_key": row.kind == Organization.Kind.MERCHANT or bool(along.bars),
            "standing": standing,
            "choice": key_choice.of(row, scope=scope, now=now) if sees_keys else None,
            "timeline": along if sees_keys else None,
            "coverage": [_covered(slot, request) for slot in _meta_slots(row)],
            "events": trail.newest(self, request, row),
            "sends": self._sends(request, row),
            "children": Organization.objects.filter(Q(parent=row) | Q(parent__parent=row)).count(),
        }

    def links(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """To the import of a key for it."""
        may = request.user.has_perm(Permission.IMPORT)
        if not (may and row.active and request.user.has_perm("cybs_jwt.view_credential")):
            return []
        place = self.url_of(Credential, ImportScreen.name)
        address = f"{place}?{urlencode({'organization': str(row)})}"
        return [{"title": ImportScreen.title, "url": address}]

    def audited(self, row: Any) -> dict[str, str]:
        """By its name."""
        return {"organization": str(row)}

    def _sends(self, request: HttpRequest, row: Organization) -> list[OutboundRequest]:
        """The newest, as facts: what was sent and what came back stays in the database."""
        if not request.user.has_perm("cybs_jwt.view_outboundrequest"):
            return []
        facts = row.requests.only("operation", "state", "http_status", "outcome", "created_at")
        return list(facts.order_by("-created_at")[:NEWEST_SENDS])


def _signer(standing: Readiness) -> str:
    return f"{standing.owner}@{standing.host}"


def _signers_seen(
    rows: Sequence[Organization], judged: Sequence[Readiness], scope: Scope
) -> set[str]:
    """Whose keys sign and who may be named; asks the database only about who stands apart."""
    near = {str(one): scope.sees(one) for row in rows for one in row.chain()}
    signers = {_signer(one) for one in judged if one.owner}
    apart, _hidden = scope.names(signers - near.keys())
    return {name for name in signers if near.get(name)} | set(apart)


def _is_judged(row: Any) -> bool:
    """Only merchants need a key; what stands above them is judged once it has one."""
    return row.kind == Organization.Kind.MERCHANT or bool(row.standing.jwt_v2)


def _yes(row: Any, is_so: bool, yes: Any, no: Any) -> SafeString | str:
    if not _is_judged(row):
        return ""
    return badge("good", yes) if is_so else badge("warn", no)


def _meta_slots(row: Organization) -> Sequence[KeySlot]:
    return list(row.slots.exclude(coverage=Coverage.OWN).order_by("-purpose", "name"))


def _covered(slot: KeySlot, request: HttpRequest) -> dict[str, Any]:
    merchants = coverage.covered_rows(slot)
    seen = scope_of(request).visible(merchants)
    total, visible = merchants.count(), list(seen[: MOST_MERCHANTS + 1])
    return {
        "slot": slot,
        "merchants": visible[:MOST_MERCHANTS],
        "count": total,
        "more": len(visible) > MOST_MERCHANTS,
    }
