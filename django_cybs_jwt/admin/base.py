"""What every page of this app shares: scope, permissions, and no change but by services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.translation import gettext_lazy as _

from django_cybs_jwt.admin import trail, words
from django_cybs_jwt.admin.badges import breakable
from django_cybs_jwt.admin.bulk import BulkAction
from django_cybs_jwt.admin.ends import link
from django_cybs_jwt.admin.password import PasswordScreen
from django_cybs_jwt.admin.requests import scope_of
from django_cybs_jwt.admin.screens import Screen
from django_cybs_jwt.exceptions import CybsError
from django_cybs_jwt.models import KeySlot, Organization
from django_cybs_jwt.services import scope
from django_cybs_jwt.texts import on_page

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin  # generic for the type checker only


class CybsAdmin(_ModelAdmin):
    """Rows are seen by who may view them, inside his scope, and changed here by screens only.

    *screens* are pages of their own, *bulk* what can be done to many rows of the list.
    *sealed* columns stay in the database. *linked* are columns that other pages' links filter by.
    """

    screens: Sequence[type[Screen]] = ()
    bulk: Sequence[BulkAction] = ()
    sealed: Sequence[str] = ()
    linked: Sequence[str] = ()
    # Django's counts beside the filters take a query for each choice: `?_facets` asks for them.
    show_facets = admin.ShowFacets.NEVER

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """What the visitor sees; lists, autocomplete, actions, filters and pages all start here."""
        rows = scope_of(request).visible(super().get_queryset(request))
        return rows.defer(*self.sealed) if self.sealed else rows

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """The row, or 404: what is out of scope is not told from what is not there."""
        row = super().get_object(request, object_id, from_field)
        if row is None:
            raise Http404
        return row

    def get_urls(self) -> list[URLPattern]:
        """Screens come first: Django's own patterns end with one that takes anything."""
        screens: list[type[Screen]] = [*self.screens, PasswordScreen]
        return [*(screen.pattern(self) for screen in screens), *super().get_urls()]

    def url(self, page: str, *arguments: Any) -> str:
        """The address of a page of this model on this site, wherever the host has put it."""
        return self.url_of(self.model, page, *arguments)

    def url_of(self, model: type[Model], page: str, *arguments: Any) -> str:
        """The address of a page of another model of this app."""
        name = f"admin:cybs_jwt_{model.__name__.lower()}_{page}"
        return reverse(name, args=arguments, current_app=self.admin_site.name)

    def signed_for(self, request: HttpRequest, slot: KeySlot) -> str:
        """The list of all whom a slot's keys may sign for; empty where it may not be seen."""
        if not request.user.has_perm("cybs_jwt.view_organization"):
            return ""
        return f"{self.url_of(Organization, 'changelist')}?{urlencode({'signer': slot.pk})}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only the filters this page shows: any other lookup could guess at a column."""
        items = (item[0] if isinstance(item, tuple) else item for item in self.list_filter)
        shown = {item if isinstance(item, str) else _parameter(item) for item in items}
        parts = ("year", "month", "day") if self.date_hierarchy else ()
        dates = {f"{self.date_hierarchy}__{part}" for part in parts}
        return lookup.removesuffix("__exact").removesuffix("__isnull") in {
            *shown,
            *self.linked,
            *dates,
            "id",
        }

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Offer only what the visitor sees."""
        return super().formfield_for_foreignkey(
            db_field, request, **_limited(db_field, request, options)
        )

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Offer only what the visitor sees."""
        return super().formfield_for_manytomany(
            db_field, request, **_limited(db_field, request, options)
        )

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """With organizations as links, for whoever may open their pages."""
        columns = list(super().get_list_display(request))
        if not request.user.has_perm("cybs_jwt.view_organization"):
            return columns
        is_row = "organization" in columns and self.opts.get_field("organization").is_relation
        return ["to_organization" if is_row and c == "organization" else c for c in columns]

    @admin.display(description=_("organization"), ordering="organization", empty_value="-")
    def to_organization(self, row: Any) -> str:
        """The organization of a row, as a link to its page."""
        if row.organization is None:
            return ""
        place = self.url_of(Organization, "change", row.organization.pk)
        return link(place, breakable(row.organization))

    @admin.display(description=_("action"), ordering="action")
    def in_words(self, row: Any) -> str:
        """The action of a row, which holds it in English."""
        return words.action(row)

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """The *bulk* actions that the visitor may take; Django's own deletion is none of them.

        Django 6.1 asks for those of a row's page too: there are none, its screens are links.
        """
        on_list = action_location is None or action_location.name == "CHANGE_LIST"
        if not self.bulk or not on_list or "_popup" in request.GET:
            return {}
        allowed = [action for action in self.bulk if request.user.has_perm(action.permission)]
        return {action.name: (action.run, action.name, action.label) for action in allowed}

    def changelist_view(
        self, request: HttpRequest, extra_context: Mapping[str, Any] | None = None
    ) -> HttpResponse:
        """The list, with its screens as tools."""
        context = {**(extra_context or {}), "cybs_tools": self._tools(request, None)}
        return self._told(request, lambda: super(CybsAdmin, self).changelist_view(request, context))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: Mapping[str, Any] | None = None,
    ) -> HttpResponse:
        """The row, with its screens as tools and what `facts` adds."""
        row = self.get_object(request, object_id)
        if not self.has_view_permission(request, row):
            return super().change_view(request, object_id, form_url)  # which refuses
        return self._told(
            request,
            lambda: super(CybsAdmin, self).change_view(
                request,
                object_id,
                form_url,
                {
                    **(extra_context or {}),
                    "cybs_tools": [*self._tools(request, row), *self.links(request, row)],
                    "audit_url": trail.url(self, request, row),
                    **self.facts(request, row),
                },
            ),
        )

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What a row's page shows besides its columns, for a template of its own."""
        return {}

    def links(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Links beside the screens, each a *title* and a *url*."""
        return []

    def audited(self, row: Any) -> dict[str, str]:
        """How the list of audit events is narrowed to those of *row*; empty where it cannot be."""
        return {}

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The row's audit events: services write these, and nothing into Django's own history."""
        row = self.get_object(request, object_id)
        if self.has_view_permission(request, row) and (place := trail.url(self, request, row)):
            return HttpResponseRedirect(place)
        return super().history_view(request, object_id, extra_context)

    def _tools(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Links to the screens that the visitor may open here."""
        return [
            {
                "title": screen.title,
                "is_dangerous": getattr(screen, "dangerous", False),
                "url": self.url(screen.name, *([row.pk] if screen.of_row else []))
                + (f"?{request.GET.urlencode()}" if screen.keeps_filters and request.GET else ""),
            }
            for screen in self.screens
            if screen.of_row == (row is not None) and screen.is_offered(self, request, row)
        ]

    def _told(self, request: HttpRequest, respond: Callable[[], HttpResponse]) -> HttpResponse:
        """A refusal of ours is a page that names the cure."""
        try:
            with on_page():
                answer = respond()
                return answer.render() if isinstance(answer, TemplateResponse) else answer
        except CybsError as error:
            context = {**self.admin_site.each_context(request), "error": error}
            return TemplateResponse(request, "cybs_jwt/refused.html", context, status=409)


def _parameter(item: Any) -> str:
    """What a filter of our own takes from the query string."""
    return str(getattr(item, "parameter_name", ""))


def _limited(db_field: Any, request: HttpRequest, options: dict[str, Any]) -> dict[str, Any]:
    model = db_field.remote_field.model
    if "queryset" in options or not scope.has_rule(model):
        return options
    rows = model._default_manager.all()  # noqa: SLF001  # public, for all its name
    return {**options, "queryset": scope_of(request).visible(rows)}
